"""Soft stability against all revealings by brute force, and what its samples and intervals owe a reader."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import beta, chisquare
from torch import nn

from lit_certattr.errors import InputError
from lit_certattr.metrics import SoftStability
from lit_certattr.metrics.functional import soft_stability, top_features
from lit_certattr.metrics.functional.soft_stability import SoftStabilities, revealings, size_probabilities

CELLS = torch.arange(8).reshape(2, 4)
SHOWN = torch.tensor([True, False, True, False, False, False, False, True])


class Signs(nn.Module):
    """Class 1 where a weighted sum of the pixels is positive."""

    def forward(self, images):
        weights = torch.tensor([1.0, -2.0, 0.5, 1.5, -1.2, 0.3, -0.7, 0.4])
        score = ((images.flatten(1) - 0.5) * weights).sum(1)
        return torch.stack([-score, score], 1)


def supersets(shown, radius):
    hidden = [index for index in range(len(shown)) if not shown[index]]
    for size in range(min(radius, len(hidden)) + 1):
        for more in itertools.combinations(hidden, size):
            found = shown.clone()
            found[list(more)] = True
            yield found


def brute_force(image, shown, radius):
    """The share of all revealings that keep the class."""
    sets = torch.stack(list(supersets(shown, radius)))
    copies = torch.where(sets[:, CELLS][:, None], image, 0.5)
    alone = torch.where(shown[CELLS], image, 0.5)
    network = Signs()
    return float((network(copies).argmax(1) == network(alone[None]).argmax(1)).double().mean())


@pytest.mark.parametrize("radius", [1, 2, 3, 9])
def test_it_is_the_share_of_all_revealings(radius):
    images = torch.rand(6, 1, 2, 4, generator=torch.Generator().manual_seed(radius))
    found = soft_stability(
        Signs(), images, CELLS, SHOWN.expand(6, -1), radius, num_samples=4000, confidence=0.9999, max_batch=1000
    )
    exact = torch.tensor([brute_force(image, SHOWN, radius) for image in images], dtype=torch.float64)
    assert bool(((found.lower <= exact) & (exact <= found.upper)).all())
    assert float((found.share - exact).abs().max()) < 0.04
    assert 0 < float(exact.min()) < 1  # the test sees shares inside


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_revealings_are_uniform(radius):
    sets = revealings(SHOWN, radius, "image", 0, 20_000)
    assert bool(sets[:, SHOWN].all())
    index = {tuple(one.tolist()): number for number, one in enumerate(supersets(SHOWN, radius))}
    counts = np.bincount([index[tuple(one)] for one in sets.tolist()], minlength=len(index))
    assert chisquare(counts).pvalue > 1e-4


def test_a_draw_depends_on_its_index_image_and_seed_alone():
    whole = revealings(SHOWN, 2, "image", 0, 50)
    assert torch.equal(whole[20:], revealings(SHOWN, 2, "image", 20, 30))
    assert not torch.equal(whole, revealings(SHOWN, 2, "other", 0, 50))
    assert not torch.equal(whole, revealings(SHOWN, 2, "image", 0, 50, seed=1))
    images = torch.rand(3, 1, 2, 4)
    one, other = (
        soft_stability(Signs(), images, CELLS, SHOWN.expand(3, -1), 2, num_samples=50, max_batch=size)
        for size in (1, 7)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_sizes_of_many_features_are_exact():
    found = size_probabilities(1000, 3)
    counts = np.array([1, 1000, 499_500, 166_167_000])
    np.testing.assert_allclose(found, counts / counts.sum(), rtol=1e-12)
    assert len(size_probabilities(2, 9)) == 3


def test_the_interval_is_that_of_clopper_and_pearson():
    images = torch.rand(1, 1, 2, 4, generator=torch.Generator().manual_seed(3))
    found = soft_stability(Signs(), images, CELLS, SHOWN[None], 3, num_samples=40, confidence=0.9)
    kept = round(float(found.share) * 40)
    assert 0 < kept < 40
    assert float(found.lower) == pytest.approx(beta.ppf(0.05, kept, 41 - kept))
    assert float(found.upper) == pytest.approx(beta.ppf(0.95, kept + 1, 40 - kept))


def test_nothing_to_reveal_keeps_the_class():
    found = soft_stability(Signs(), torch.rand(2, 1, 2, 4), CELLS, torch.ones(2, 8, dtype=torch.bool), 3)
    assert found.share.tolist() == [1.0, 1.0]
    assert found.upper.tolist() == [1.0, 1.0]


def test_top_features_are_those_of_the_largest_mean():
    cells = torch.tensor([[0, 0, 1], [2, 2, 2]])
    maps = torch.tensor([[[0.0, 0.9, 0.5], [0.4, 0.4, 0.4]], [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    assert top_features(maps, cells, 2).tolist() == [[True, True, False], [True, True, False]]
    assert top_features(maps, cells, 1).tolist() == [[False, True, False], [True, False, False]]


def test_the_metric_is_the_mean():
    metric = SoftStability()
    metric.update(SoftStabilities(*torch.tensor([[0.5], [0.25], [0.75]]).double()))
    metric.update(SoftStabilities(*torch.tensor([[1.0], [0.75], [1.0]]).double()))
    assert {name: float(value) for name, value in metric.compute().items()} == {
        "soft_stability": 0.75,
        "soft_stability_lower": 0.5,
        "soft_stability_upper": 0.875,
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"features": CELLS.int()}, "features must be int64"),
        ({"features": CELLS + 1}, "numbered 0, 1"),
        ({"features": CELLS[:1]}, "features must be int64"),
        ({"explanations": torch.ones(2, 7, dtype=torch.bool)}, "explanations must be bool"),
        ({"explanations": torch.ones(2, 8)}, "explanations must be bool"),
        ({"radius": 0}, "radius"),
        ({"num_samples": 0}, "num_samples"),
        ({"confidence": 1.0}, "confidence"),
        ({"fill": 2.0}, "fill"),
    ],
)
def test_bad_settings_are_refused(change, says):
    given = {"features": CELLS, "explanations": SHOWN.expand(2, -1), "radius": 2} | change
    with pytest.raises(InputError, match=says):
        soft_stability(Signs(), torch.rand(2, 1, 2, 4), **given)


@pytest.mark.parametrize("count", [0, 4])
def test_explanations_of_an_impossible_size_are_refused(count):
    with pytest.raises(InputError, match=r"count must lie in 1\.\.3"):
        top_features(torch.rand(1, 2, 3), torch.tensor([[0, 0, 1], [2, 2, 2]]), count)
