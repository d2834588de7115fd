"""Sparsifiers against sorting in Python, on maps full of ties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracles import pixel

from lit_certattr.errors import InputError
from lit_certattr.smoothing import (
    MapBlock,
    quadratic_map,
    ranking,
    relaxed_top_k,
    scaled_map,
    sparsify,
    top_k_mask,
    top_k_size,
)
from lit_certattr.smoothing import (
    block as block_module,
)

FEW_VALUES = st.sampled_from([0.0, -0.0, 1.0, 0.5, -1.0, 1e-30, 3.0])
MAPS = hnp.arrays(np.float64, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7), elements=FEW_VALUES)


@pytest.fixture(params=["host", "accelerator"])
def branch(request, monkeypatch):
    """Both ways of ranking, on the CPU: the one that looks at values, and the one that must not."""
    if request.param == "accelerator":
        for module in (sparsify, ranking, block_module):
            monkeypatch.setattr(module, "values_are_free", lambda tensor: False)
    return request.param


def both_branches(compute):
    """Results of a function in both branches (hypothesis does not mix with function-scoped fixtures)."""
    on_host = compute()
    with pytest.MonkeyPatch.context() as patch:
        for module in (sparsify, ranking, block_module):
            patch.setattr(module, "values_are_free", lambda tensor: False)
        return on_host, compute()


@given(MAPS, st.data())
@settings(max_examples=150, deadline=None)
def test_masks_equal_sorting(maps, data):
    pixels = maps[0].size
    sizes = data.draw(st.lists(st.integers(1, pixels), min_size=1, max_size=4))
    expected = np.stack([[pixel.top_k(one, size) for one in maps] for size in sizes])
    for masks in both_branches(lambda: top_k_mask(torch.from_numpy(maps), sizes)):
        assert (masks.numpy() == expected).all()


@given(hnp.arrays(np.float32, (2, 5, 6), elements=st.floats(-(2.0**100), 2.0**100, width=32)), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_masks_equal_sorting_on_any_floats(maps, size):
    expected = np.stack([pixel.top_k(one, size) for one in maps])
    for masks in both_branches(lambda: top_k_mask(torch.from_numpy(maps), size)):
        assert (masks.numpy() == expected).all()


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64]
)
def test_every_type_is_ranked_exactly(branch, dtype):
    maps = (torch.randn(4, 9, 9) * 3).to(dtype)
    expected = np.stack([pixel.top_k(one.double().numpy(), 20) for one in maps])
    assert (top_k_mask(maps, 20).numpy() == expected).all()


def test_integers_beyond_float32_are_told_apart(branch):
    maps = torch.tensor([[[2**24, 2**24 + 1, 2**24 + 2]]])
    assert top_k_mask(maps, 1).tolist() == [[[False, False, True]]]


def test_sizes_are_nested_whatever_their_order(branch):
    maps = torch.randn(5, 12, 12).round(decimals=1)
    small, large, middle = top_k_mask(maps, [7, 70, 30])
    assert not (small & ~middle).any()
    assert not (middle & ~large).any()
    assert [int(mask.sum()) for mask in (small, large, middle)] == [35, 350, 150]


def test_a_sparse_map_selects_exactly_k(branch):
    """84 % zeros at K = 50 %: a percentile rule selects all, or 16 %."""
    one = torch.zeros(10, 10)
    one.view(-1)[84:] = torch.rand(16) + 0.1
    mask = top_k_mask(one, 50)
    assert int(mask.sum()) == 50
    assert mask.view(-1)[84:].all()
    assert mask.view(-1)[:34].all()  # the zeros that fill up are the first ones


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5])
def test_a_constant_map_is_broken_by_index(branch, value):
    assert top_k_mask(torch.full((2, 2), value), 3).tolist() == [[True, True], [True, False]]


def test_positive_ties_drop_what_is_not_above_zero(branch):
    one = torch.tensor([[3.0, -1.0, 0.0], [0.0, 2.0, 0.0]])
    assert top_k_mask(one, 4, ties="positive").int().tolist() == [[1, 0, 0], [0, 1, 0]]
    assert top_k_mask(one, 1, ties="positive").int().tolist() == [[1, 0, 0], [0, 0, 0]]


def test_published_sparsifier_vector(branch):
    """g = [...], tau = .3: the pixels 0, 4 and 6 by magnitude."""
    g = torch.tensor([[3, -1, 0, 2, -5, 0.5, 4, -2.5, 1.5, 0]])
    assert top_k_mask(g.abs(), 3, ties="positive").flatten().nonzero().flatten().tolist() == [0, 4, 6]
    relaxed = relaxed_top_k(g, size=5, saturation=2)
    assert relaxed.flatten().tolist() == [0.75, 0, 0, 0.5, 1, 0, 1, 0.625, 0, 0]


def test_leading_dimensions_are_kept(branch):
    maps = torch.randn(2, 3, 4, 5)
    assert top_k_mask(maps, [3, 7]).shape == (2, 2, 3, 4, 5)
    assert torch.equal(top_k_mask(maps, 7)[1, 2], top_k_mask(maps[1, 2], 7))


def test_a_map_does_not_feel_its_neighbours(branch):
    maps = torch.randn(6, 5, 5).round(decimals=1)
    together = top_k_mask(maps, [4, 12])
    for index, one in enumerate(maps):
        assert torch.equal(together[:, index], top_k_mask(one, [4, 12]))


def test_maps_are_not_changed(branch):
    maps = torch.randn(3, 5, 5, requires_grad=True)
    before = maps.detach().clone()
    assert not top_k_mask(maps, 4).requires_grad
    assert torch.equal(maps.detach(), before)


@pytest.mark.parametrize(
    ("top_k", "pixels", "size"),
    [(0.5, 50176, 25088), (0.1, 50176, 5017), (0.05, 50176, 2508), (0.01, 50176, 501), (0.29, 100, 29), (7, 9, 7)],
)
def test_top_k_size(top_k, pixels, size):
    assert top_k_size(top_k, pixels) == size


@pytest.mark.parametrize("top_k", [0, -1, -0.5, 1.5, 100, 101, 0.001, math.nan, math.inf])
def test_a_top_k_without_meaning_is_refused(top_k):
    with pytest.raises(InputError, match="top_k"):
        top_k_size(top_k, 100)


# Relaxed, scaled, quadratic -------------------------------------------------------------------------------------------


@given(MAPS, st.data())
@settings(max_examples=80, deadline=None)
def test_relaxed_maps_follow_the_definition(maps, data):
    size = data.draw(st.integers(1, maps[0].size))
    saturation = data.draw(st.integers(1, size))
    relaxed = relaxed_top_k(torch.from_numpy(maps), size, saturation).numpy()
    for one, got in zip(np.abs(maps), relaxed, strict=True):
        reference = np.sort(one.ravel())[::-1][saturation - 1]
        expected = np.minimum(one / reference, 1) * pixel.top_k(one, size) if reference > 0 else np.zeros_like(one)
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_relaxed_maps_check_their_sizes():
    with pytest.raises(InputError, match="saturation"):
        relaxed_top_k(torch.rand(3, 3), size=2, saturation=3)


def test_scaled_and_quadratic_maps():
    maps = torch.tensor([[[4.0, -2.0]], [[0.0, 0.0]]])
    assert scaled_map(maps).tolist() == [[[1.0, 0.5]], [[0.0, 0.0]]]
    assert quadratic_map(maps).tolist() == [[[1.0, 0.25]], [[0.0, 0.0]]]
    assert torch.allclose(quadratic_map(torch.randn(3, 4, 4)).amax((1, 2)), torch.ones(3))


# Blocks ---------------------------------------------------------------------------------------------------------------


@given(MAPS, st.data())
@settings(max_examples=80, deadline=None)
def test_blocks_count_votes_ties_and_constant_maps(maps, data):
    pixels = maps[0].size
    sizes = sorted(set(data.draw(st.lists(st.integers(1, pixels), min_size=1, max_size=3))))
    constant = [one.min() == one.max() for one in maps]

    def count():
        block = MapBlock(torch.from_numpy(maps))
        votes, tied = block.count(sizes)
        for index, size in enumerate(sizes):  # one by one, and with the other tie rule in between, is the same
            alone = MapBlock(torch.from_numpy(maps))
            assert torch.equal(alone.masks(size).sum(0, dtype=votes.dtype), votes[index])
            assert torch.equal(block.votes(size, "positive") <= block.votes(size), torch.ones_like(votes[0]) > 0)
        counted = {size: (votes[index].numpy(), int(tied[index])) for index, size in enumerate(sizes)}
        return int(block.num_constant), int(block.num_invalid), counted

    for num_constant, num_invalid, counted in both_branches(count):
        assert (num_constant, num_invalid) == (sum(constant), 0)
        for size in sizes:
            votes = sum(pixel.top_k(one, size) * (not flat) for one, flat in zip(maps, constant, strict=True))
            assert (counted[size][0] == votes).all()
            tied = 0
            for one in maps:
                at = one == np.sort(one.ravel())[::-1][size - 1]
                above = one > np.sort(one.ravel())[::-1][size - 1]
                tied += at.sum() if at.sum() + above.sum() > size else 0
            assert counted[size][1] == tied


def test_blocks_count_maps_that_are_not_finite(branch):
    maps = torch.rand(4, 3, 3)
    maps[0, 0, 0], maps[1, 1, 1], maps[2, 2, 2] = math.nan, math.inf, -math.inf
    assert int(MapBlock(maps).num_invalid) == 3


def test_many_maps_do_not_overflow_the_counts(branch):
    maps = torch.tensor([2.0, 1.0]).expand(2**15, 1, 2)
    assert MapBlock(maps).votes(1).tolist() == [[2**15, 0]]


def test_a_block_computes_nothing_twice(branch, monkeypatch):
    asked = []
    largest = ranking.Ranking.largest
    monkeypatch.setattr(
        ranking.Ranking, "largest", lambda self, sizes: asked.append(tuple(sizes)) or largest(self, sizes)
    )
    block = MapBlock(torch.rand(2, 3, 3))
    assert torch.equal(block.votes(2), block.votes(2))
    assert int(block.votes(5).sum()) == 10
    block.count([2, 5, 3])
    block.masks(5)
    assert asked == [(2,), (5,), (3,)]
    assert (int(block.num_constant), int(block.num_invalid)) == (0, 0)
