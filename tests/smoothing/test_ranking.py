"""Values by rank, against a sort, whatever way they are found."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_certattr.smoothing import MapBlock, ranking
from lit_certattr.smoothing.ranking import Ranking

BITS = st.integers(0, 2**32 - 1).filter(
    lambda bits: bits & 0x7F800000 != 0x7F800000
)  # all float32 but NaN and infinity


def rows_of(bits, copies=1):
    """A row of float32 with these bits, several times."""
    return torch.from_numpy(np.tile(np.array(bits, np.uint32), copies).view(np.float32)[None])


@given(st.lists(BITS, min_size=1, max_size=60), st.data())
@settings(max_examples=300, deadline=None)
def test_counting_equals_sorting_for_any_bits(bits, data):
    flat = rows_of(bits)
    places = data.draw(st.lists(st.integers(0, len(bits) - 1), min_size=1, max_size=4))
    assert (ranking._by_counting(flat[0].numpy(), places) == np.sort(flat[0].numpy())[places]).all()


@pytest.mark.parametrize(
    "values",
    [
        lambda: torch.randn(3, 128, 128),
        lambda: torch.rand(3, 128, 128) * 1e-40,  # denormal numbers
        lambda: torch.randn(3, 128, 128).round(),
        lambda: torch.randn(3, 128, 128).clamp_min(0),  # half of it is 0
        lambda: torch.randn(3, 128, 128).clamp_max(0),  # 0 beside negative numbers
        lambda: torch.randn(3, 128, 128).sign() * 0.0,  # 0.0 beside -0.0
        lambda: torch.full((3, 128, 128), -1.5),
        lambda: 1 + torch.rand(3, 128, 128) * 1e-3,  # the same first bits everywhere
        lambda: torch.randn(3, 128, 128, dtype=torch.float64),
    ],
)
def test_large_maps_are_counted_and_give_what_a_sort_gives(values):
    torch.manual_seed(0)
    flat = values().flatten(1)
    ascending, sizes = flat.sort(dim=1).values, [1, 2, 5000, 8192, 16384]
    assert torch.equal(Ranking(flat).largest(sizes), ascending[:, [16384 - size for size in sizes]])
    own = torch.tensor([[1], [16384], [777]])
    assert torch.equal(Ranking(flat).largest_of_each(own), ascending.gather(1, 16384 - own))


def test_an_accelerator_sorts_once_for_all_sizes(monkeypatch):
    sorts = []
    monkeypatch.setattr(ranking, "values_are_free", lambda tensor: False)
    monkeypatch.setattr(ranking, "rank", lambda flat: sorts.append(flat) or flat.sort(dim=1).values)
    rows = torch.tensor([[3.0, 1.0, 2.0], [5.0, 6.0, 4.0]])
    order = Ranking(rows)
    assert order.largest([1, 3]).tolist() == [[3, 1], [6, 4]]
    assert order.largest_of_each(torch.tensor([[2], [1]])).tolist() == [[2], [6]]
    assert len(sorts) == 1


def test_no_row_has_no_values():
    assert Ranking(torch.rand(0, 9)).largest([1, 2]).shape == (0, 2)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_blocks_of_large_maps_vote_as_a_sort_does(data):
    """Votes, ties and constant maps of maps that are large enough to be counted."""
    seed = data.draw(st.integers(0, 2**31))
    maps = torch.randn(4, 96, 96, generator=torch.Generator().manual_seed(seed))
    maps[0] = maps[0].round(decimals=data.draw(st.integers(0, 3)))
    if data.draw(st.booleans()):
        maps[1] = 2.5
    size = data.draw(st.integers(1, 96 * 96 - 1))
    block = MapBlock(maps)
    order = (-maps.flatten(1)).argsort(dim=1, stable=True)[:, :size]  # ties by index
    chosen = torch.zeros(4, 96 * 96, dtype=torch.bool).scatter(1, order, True)
    chosen[1] &= bool(maps[1].std() > 0)
    assert torch.equal(block.votes(size).flatten(), chosen.sum(0, dtype=block.votes(size).dtype))
