"""Sparseness against the definition of the Gini index, its chance level, and maps of zeros."""

import math

import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.metrics import Sparseness
from lit_certattr.metrics.functional import centre_map, sparseness
from lit_certattr.numbers import Gini
from lit_certattr.numbers.gini import gini_index


def pairwise(values) -> float:
    """Half the mean absolute difference of two values, over their mean."""
    sizes = values.double().abs().flatten()
    return float((sizes[:, None] - sizes).abs().mean() / (2 * sizes.mean()))


def test_is_the_gini_index_of_absolute_values():
    maps = torch.randn(5, 4, 7, generator=torch.Generator().manual_seed(0))
    maps[0] = maps[0].round()  # with ties and zeros
    found = sparseness(maps)
    assert found.map.tolist() == pytest.approx([pairwise(one) for one in maps], abs=1e-6)
    assert found.centre.tolist() == pytest.approx([pairwise(centre_map(4, 7))] * 5, abs=1e-6)
    assert torch.allclose(Gini()(maps), found.map, atol=1e-6)  # what claims are about is the same formula


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e37])
def test_scale_does_not_matter(scale):
    maps = torch.tensor([[[0.0, 1.0], [3.0, 3.0]]])
    assert float(sparseness(maps * scale).map) == pytest.approx(pairwise(maps), rel=1e-3)


def test_random_maps_reach_chance():
    maps = torch.randn(20, 100, 100, generator=torch.Generator().manual_seed(1))
    found = sparseness(maps)
    assert float(found.map.mean()) == pytest.approx(math.sqrt(2) - 1, abs=2e-3)
    assert found.random.tolist() == pytest.approx([math.sqrt(2) - 1] * 20)


def test_extremes():
    one, even = torch.zeros(1, 10, 10), torch.full((1, 10, 10), -2.0)
    one[0, 3, 4] = -7.0
    assert sparseness(one).map == pytest.approx(0.99)
    assert sparseness(even).map == 0
    assert torch.isnan(sparseness(torch.zeros(1, 10, 10)).map)
    assert torch.isnan(gini_index(torch.zeros(1, 3)))


def test_the_mean_leaves_maps_of_zeros_out():
    metric, maps = Sparseness(), torch.rand(3, 6, 6)
    maps[1] = 0
    metric.update(maps[:2])
    metric.update(maps[2:])
    with pytest.warns(UserWarning, match="not defined for 1 images"):
        found = metric.compute()
    assert float(found["sparseness"]) == pytest.approx(float(sparseness(maps).map.nanmean()), abs=1e-6)
    assert list(found) == ["sparseness", "sparseness_centre", "sparseness_random"]


def test_maps_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="finite"):
        sparseness(torch.full((1, 2, 2), torch.nan))
