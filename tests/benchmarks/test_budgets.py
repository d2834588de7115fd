"""The tables of budgets: lengths of the changes, their grids, and an attack that finds labels that are wrong."""

import math

import pytest
import torch

from benchmarks.budget_changes import all_changes
from benchmarks.budgets import REGIONS, Effort, all_laws, attacked
from lit_certattr.budgets import AffineBudget

CELLS = 4
LAWS = all_laws(CELLS)
CHANGES = {change.name: change for change in all_changes(CELLS)}
IMAGE = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("exposure +-1/2 stop", 0.5),
        ("gamma .8 to 1.25", math.log(1.25)),
        ("blur 1 px", 1.0),
        ("2 of 16 patches", 2.0),
        ("brightness +-0.1", 0.1 * 16 * 0.25 / math.hypot(0.25, 0.2 * 16)),  # sigma^2 b^2 d / (sigma^2 + tau^2 d)
    ],
)
def test_lengths_are_the_amounts(name, expected):
    change = CHANGES[name]
    assert change.length(LAWS[change.law].budget, IMAGE) == pytest.approx(expected, rel=1e-5)


def test_under_gaussian_noise_the_length_is_the_l2_norm():
    assert CHANGES["brightness +-0.1"].length(LAWS["l2 alone"].budget, IMAGE) == pytest.approx(1.6, rel=1e-5)


def test_a_range_of_contrast_is_covered_without_a_gap():
    budget = LAWS["contrast"].budget
    assert isinstance(budget, AffineBudget)
    length = CHANGES["contrast 1/1.2 to 1.2"].length(budget, IMAGE)
    low, high = (budget.axes(length)[1][part] for part in (1, 2))
    assert low <= 1 / 1.2
    assert high >= 1.2
    shorter = budget.axes(0.99 * length)[1]
    assert shorter.low > 1 / 1.2 or shorter.high < 1.2
    # The ends alone are shorter.
    ends = CHANGES["contrast 1/1.2 to 1.2"].ends(IMAGE)
    assert max(budget.length(IMAGE, end) for end in ends) <= length


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_grids_reach_the_ends_and_nothing_beyond(change):
    budget = LAWS[change.law].budget
    length = change.length(budget, IMAGE)
    lengths = [budget.length(IMAGE, point) for point in change.points(budget, IMAGE, length, 7)]
    assert len(lengths) in (6, 7)  # of contrast three for each factor
    assert max(lengths) <= length * (1 + 1e-5)
    assert max(lengths) >= length * (1 - 1e-3)


def test_an_attack_finds_the_worst_image_and_counts_what_is_false():
    kept = torch.zeros(REGIONS**2, dtype=torch.bool)
    kept[:5] = True
    effort = Effort(100, 10, points=3, search=10, fresh=100, attacked=1)

    def votes(image, name, count):
        share = torch.ones(REGIONS**2)
        share[:3] -= image.mean()  # three regions lose votes as the image becomes brighter
        return (share * count).round()

    points = [IMAGE * 0 + value for value in (0.1, 0.6, 0.3)]
    assert attacked(votes, points, kept, effort) == (2, 0)  # 40 of 100: no majority, but no proof of it
    assert attacked(votes, [*points, IMAGE * 0 + 0.9], kept, effort) == (2, 3)
    assert attacked(votes, points[:1], kept, effort) == (5, 0)
