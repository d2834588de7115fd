"""Regions: the bound is that of theory for any partition, pixels in no region are not covered, and words count."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import norm

from lit_certattr.budgets import PatchBudget, RegionBudget
from lit_certattr.budgets.masks import filled
from lit_certattr.budgets.patches import cells_of
from lit_certattr.errors import InputError

STRIPES = torch.tensor([[0, 0, 1, -1], [2, 2, 1, -1], [2, 2, 1, 3]])


def budget_of(labels, keep=0.25, sigma=0.0):
    return RegionBudget(keep, "stripes", sigma=sigma).placed(labels)


@st.composite
def pairs(draw):
    """A partition of six pixels, some in no region, and two images that may differ anywhere."""
    count = draw(st.integers(2, 4))
    labels = [*range(count), *draw(st.lists(st.integers(-1, count - 1), min_size=6 - count, max_size=6 - count))]
    labels = torch.tensor(draw(st.permutations(labels))).view(2, 3)
    values = st.sampled_from([0.1, 0.5, 0.9])
    image = torch.tensor(draw(st.lists(values, min_size=6, max_size=6)), dtype=torch.float64).view(1, 2, 3)
    changed = torch.tensor(draw(st.lists(values, min_size=6, max_size=6)), dtype=torch.float64).view(1, 2, 3)
    same = torch.tensor(draw(st.lists(st.booleans(), min_size=6, max_size=6))).view(1, 2, 3)
    return labels, image, torch.where(same, image, changed)


def least_vote(labels, image, changed, keep, low):
    """Brute force: a linear programme over all functions of the masked images that the noise of the law can show."""
    count = int(labels.max()) + 1
    masks = torch.tensor(list(itertools.product((False, True), repeat=count)))
    chances = [math.prod(keep if kept else 1 - keep for kept in mask) for mask in masks.tolist()]
    views = [filled(one[None].expand(len(masks), -1, -1, -1), masks, labels, 0.5) for one in (image, changed)]
    keys = [[tuple(view.flatten().tolist()) for view in shown] for shown in views]
    place = {key: number for number, key in enumerate(sorted({*keys[0], *keys[1]}))}
    clean, new = (np.zeros(len(place)) for _ in keys)
    for law, shown in ((clean, keys[0]), (new, keys[1])):
        for key, chance in zip(shown, chances, strict=True):
            law[place[key]] += chance
    return linprog(new, A_ub=-clean[None], b_ub=[-low], bounds=(0, 1), method="highs").fun


HELD: Counter[str] = Counter()
"""How often the condition of a guarded assertion held: one that never holds proves nothing."""


@settings(max_examples=60)
@given(pair=pairs(), keep=st.sampled_from([0.1, 0.25, 0.5]), low=st.sampled_from([0.55, 0.7, 0.9, 0.99]))
def test_no_function_has_a_smaller_vote_than_the_bound(pair, keep, low):
    labels, image, changed = pair
    budget = budget_of(labels, keep)
    length, majority = budget.length(image, changed), budget.majority_length(image, changed)
    exact = least_vote(labels, image, changed, keep, low)
    touched = {int(label) for label in labels[(image != changed)[0]]}
    assert length == (math.inf if -1 in touched else len(touched))
    assert majority <= length
    HELD["pair"] += 1
    if length < math.inf:
        HELD["length"] += 1
        assert float(budget.votes.lower(low, length)) <= exact + 1e-7
    if budget.votes.radius(low) > majority:
        HELD["majority"] += 1
        assert exact > 0.5


def test_the_bound_is_attained_by_new_content_and_broken_beyond():
    image = torch.full((1, 3, 4), 0.2, dtype=torch.float64)
    budget, low = budget_of(STRIPES), 0.96
    for number in (0, 1, 2):
        changed = torch.where(torch.isin(STRIPES, torch.arange(number)), 0.9, image)
        assert budget.length(image, changed) == number
        exact = least_vote(STRIPES, image, changed, 0.25, low)
        assert float(budget.votes.lower(low, number)) == pytest.approx(exact, abs=1e-7)
    radius = float(budget.votes.radius(low))
    assert radius == 2.5 - (0.75**2 - 0.04 <= 0.5)
    beyond = torch.where(torch.isin(STRIPES, torch.arange(math.floor(radius) + 1)), 0.9, image)
    assert least_vote(STRIPES, image, beyond, 0.25, low) < 0.5


def test_a_change_of_a_pixel_in_no_region_has_no_length():
    image = torch.full((1, 3, 4), 0.2)
    changed = image.clone()
    changed[0, 0, 3] += 1e-6
    assert budget_of(STRIPES).length(image, changed) == math.inf
    assert budget_of(STRIPES).majority_length(image, changed) == math.inf
    assert budget_of(STRIPES, sigma=0.25).length(image, changed) == math.inf


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), rest=st.floats(0, 0.4), level=st.floats(-0.5, 1.5), keep=st.floats(0.05, 0.6))
def test_majorities_stand_under_regions_and_a_rest_anywhere(seed, rest, level, keep):
    rng, sigma = np.random.default_rng(seed), 0.25
    labels = torch.tensor([[0, 0, 1], [2, -1, -1]])
    budget = budget_of(labels, keep, sigma)
    image, weights, direction = rng.uniform(size=6), rng.normal(size=6), rng.normal(size=6)
    changed = image + rest * direction / np.linalg.norm(direction)
    touched = labels.flatten().numpy() == rng.integers(0, 4)  # none of them for 3
    changed[touched] = np.where(rng.uniform() < 0.4, 0.5, rng.uniform(size=touched.sum()))

    def vote(one):
        total = 0.0
        for mask in itertools.product((False, True), repeat=3):
            seen = filled(torch.from_numpy(one).view(1, 1, 2, 3), torch.tensor([mask]), labels, 0.5).numpy().ravel()
            chance = math.prod(keep if kept else 1 - keep for kept in mask)
            total += chance * norm.cdf((level - seen @ weights) / (sigma * np.linalg.norm(weights)))
        return float(total)

    pair = (torch.from_numpy(one).view(1, 2, 3) for one in (image, changed))
    HELD["vote"] += 1
    if budget.votes.radius(vote(image)) > budget.majority_length(*pair):
        HELD["rest"] += 1
        assert vote(changed) > 0.5


def test_the_conditions_of_the_last_tests_held():
    for condition, tried in (("length", "pair"), ("majority", "pair"), ("rest", "vote")):
        assert HELD[condition] >= min(5, HELD[tried])  # 0 if the test did not run in this process


def test_a_rest_outside_is_covered_for_majorities_with_pixel_noise():
    image = torch.full((1, 3, 4), 0.2, dtype=torch.float64)
    changed = torch.where(STRIPES == 0, 0.9, image)
    changed[0, 0, 3] += 0.01
    budget = budget_of(STRIPES, 0.1, sigma=0.25)
    assert budget.length(image, changed) == math.inf
    assert 1 <= budget.majority_length(image, changed) <= 2
    changed[0, 0, 3] = 5.2
    assert budget.majority_length(image, changed) == math.inf


def test_a_grid_has_the_lengths_of_patches():
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(3, 9, 10, generator=rng)
    patches = PatchBudget(0.25, 3, 0.25)
    regions = RegionBudget(0.25, "a grid", sigma=0.25).placed(cells_of(9, 10, 3))
    for number in range(5):
        changed = torch.where(torch.isin(cells_of(9, 10, 3), torch.randperm(9, generator=rng)[:number]), 0.5, image)
        changed = changed + 0.01 * (number % 2)
        assert patches.length(image, changed) == regions.length(image, changed)
        assert patches.majority_length(image, changed) == regions.majority_length(image, changed)


def test_a_difference_whose_square_underflows_is_a_change():
    image = torch.zeros(1, 3, 4, dtype=torch.float64)
    changed = image.clone()
    changed[0, 0, 0] = 1e-200
    assert budget_of(STRIPES).majority_length(image, changed) == 1


def test_words_count_the_regions_of_the_image_and_say_that_they_are_fixed():
    budget = budget_of(STRIPES)
    assert "one of the 4 regions of the clean image (stripes), fixed before sampling" in budget.definition
    assert "Pixels in no region may not change." in budget.definition
    assert "no region" not in budget_of(STRIPES.clamp(min=0)).definition
    assert budget.below(2.5) == "at most 2 changed regions"
    assert budget.below(1.5) == "at most 1 changed region"
    assert budget.axes(9.5)[0].words == "any new content of up to 4 of the 4 regions"
    split = budget.split(torch.zeros(1, 3, 4), torch.ones(1, 3, 4))
    assert split == {"changed regions": 4, "changed pixels in no region": 2}
    assert budget.split(torch.zeros(1, 3, 4), (STRIPES == 2)[None].float()) == {"changed regions": 1}
    image = torch.rand(1, 3, 4, generator=torch.Generator().manual_seed(0))
    assert [edge.words for edge in budget.edges(image, 2.5)] == [
        "2 of 4 regions repainted, an example",
        "2 of 4 regions repainted, an example",
        "2 of 4 regions hidden, an example",
    ]
    for changed in (*(edge.image for edge in budget.edges(image, 2.5)), *budget.candidates(image, 2.5, 8)):
        assert budget.length(image.double(), changed.double()) <= 2


def test_regions_that_are_not_known_or_do_not_fit_are_refused():
    unknown, image = RegionBudget(0.25, "stripes"), torch.zeros(1, 3, 4)
    with pytest.raises(InputError, match=r"regions of the image \(stripes\) are not known here: use the noise law"):
        unknown.length(image, image + 1)
    with pytest.raises(InputError, match="the regions have 3 x 4 pixels, but the image has 5 x 5"):
        budget_of(STRIPES).length(torch.zeros(1, 5, 5), torch.ones(1, 5, 5))
    for labels in (torch.tensor([[0, 2]]), torch.tensor([[0, -2]]), STRIPES.int(), torch.ones(2, 3, 4).bool()):
        with pytest.raises(InputError):
            unknown.placed(labels)


def test_budgets_are_equal_where_their_regions_are():
    assert budget_of(STRIPES) == budget_of(STRIPES.clone())
    assert budget_of(STRIPES) != budget_of(STRIPES.clamp(min=0))
    assert budget_of(STRIPES) != RegionBudget(0.25, "stripes")
    assert len({budget_of(STRIPES), budget_of(STRIPES.clone())}) == 1
