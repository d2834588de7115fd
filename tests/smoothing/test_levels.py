"""Random levels: a function of the sample's index, uniform, and faithful to the mean of a map."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from lit_certattr.errors import InputError
from lit_certattr.smoothing import MapBlock, normal_stream, quadratic_map, relaxed_top_k, scaled_map, uniform_levels

G = torch.tensor([[3.0, -1, 0, 2, -5], [0.5, 4, -2.5, 1.5, 0]])


@given(st.integers(0, 2**40), st.integers(0, 40), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_a_level_depends_on_its_index_alone(start, skip, count):
    whole = uniform_levels(3, "cat", start, skip + count)
    assert torch.equal(whole[skip:], uniform_levels(3, "cat", start + skip, count))


def test_levels_are_uniform_and_differ_between_images_and_seeds():
    levels = uniform_levels(0, "cat", 0, 50_000)
    assert levels.dtype == torch.float32
    assert 0 <= levels.min() <= levels.max() < 1
    assert kstest(levels.double().numpy(), "uniform").pvalue > 1e-3
    for other in (uniform_levels(1, "cat", 0, 50_000), uniform_levels(0, "dog", 0, 50_000)):
        assert abs(np.corrcoef(levels, other)[0, 1]) < 0.02


def test_levels_are_independent_of_the_noise_of_their_sample():
    noise = normal_stream(0, "cat", "cpu").fill_(torch.empty(20_000, 6), 0).numpy()
    levels = uniform_levels(0, "cat", 0, 20_000).numpy()
    for column in (*noise.T, *noise.T**2):
        assert abs(np.corrcoef(levels, column)[0, 1]) < 0.03


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("relaxed", relaxed_top_k(G, 5, 2)),
        ("scaled", scaled_map(G)),
        ("quadratic", quadratic_map(G)),
    ],
)
def test_masks_have_the_mean_of_the_map(kind, expected):
    """Over a grid of levels the mean is exact."""
    levels = (torch.arange(4000) + 0.5) / 4000
    masks = MapBlock(G.expand(4000, 2, 5), levels=levels).level_masks(kind, 5, 2)
    torch.testing.assert_close(masks.float().mean(0), expected, atol=1.3e-4, rtol=0)


def test_relaxed_vector():
    values = relaxed_top_k(G, 5, 2).flatten().tolist()
    assert values == [0.75, 0, 0, 0.5, 1, 0, 1, 0.625, 0, 0]


def test_constant_maps_select_nothing_and_missing_levels_are_named():
    constant = MapBlock(torch.ones(3, 2, 2), levels=torch.zeros(3))
    assert int(constant.level_masks("scaled", 4).sum()) == 0
    with pytest.raises(InputError, match="scaled maps need random levels"):
        MapBlock(torch.rand(3, 2, 2)).level_masks("scaled", 4)
