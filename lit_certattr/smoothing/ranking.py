"""The largest values of each map, by rank: what the top-K masks are compared with."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_certattr.devices import values_are_free

_FEW = 2**13
"""Rows of fewer values are partitioned: counting them takes as long as adding up the counts of all first bits."""


class Ranking:
    """Rows of numbers and their order, of which no more is computed than is asked for.

    On a CPU the values of a few ranks are found without a sort. On an accelerator each row is sorted once.

    Args:
        flat: Maps as rows ``[B, N]``, finite, of a dtype that NumPy supports.

    Example:
        >>> Ranking(torch.tensor([[3.0, 1.0, 2.0]])).largest([1, 3])
        tensor([[3., 1.]])
    """

    def __init__(self, flat: Tensor) -> None:
        self.flat = flat

    @cached_property
    def ascending(self) -> Tensor:
        """Each row in ascending order, ``[B, N]``."""
        return rank(self.flat)

    def largest(self, sizes: Sequence[int]) -> Tensor:
        """The smallest of the ``size`` largest values of each row, for several sizes, ``[B, K]``.

        Args:
            sizes: K numbers from 1 to N.
        """
        if values_are_free(self.flat):
            return self._on_host([sizes] * len(self.flat), len(sizes))
        # One column for each size: a list of indices would be copied to the device.
        return torch.stack([self.ascending[:, -size] for size in sizes], 1)

    def largest_of_each(self, sizes: Tensor) -> Tensor:
        """The smallest of the ``size`` largest values of each row, which has its own size, ``[B, 1]``.

        Args:
            sizes: One number from 1 to N per row, integer ``[B, 1]``, on the device of the rows.
        """
        if values_are_free(self.flat):
            return self._on_host(sizes.tolist(), 1)
        return self.ascending.gather(1, self.flat.shape[1] - sizes)

    def _on_host(self, sizes: Sequence[Sequence[int]], num_sizes: int) -> Tensor:
        rows, num_values = self.flat.numpy(), self.flat.shape[1]
        find = _by_counting if rows.dtype == np.float32 and num_values >= _FEW else _by_partition
        found = np.empty((len(rows), num_sizes), rows.dtype)
        for one, row, own in zip(found, rows, sizes, strict=True):
            one[:] = find(row, [num_values - size for size in own])
        return torch.from_numpy(found)


def rank(flat: Tensor) -> Tensor:
    """Each row of ``flat`` sorted in ascending order.

    Args:
        flat: Maps as rows ``[B, N]``.

    Returns:
        The sorted rows ``[B, N]``.
    """
    if values_are_free(flat):  # np.sort is vectorised: twenty times torch.sort on a CPU
        return torch.from_numpy(np.sort(flat.numpy(), axis=1))
    return flat.sort(dim=1).values


def _by_partition(values: NDArray[np.float32], places: Sequence[int]) -> NDArray[np.float32]:
    """The values at some places of the ascending order; less than half the time of a sort."""
    return np.partition(values, places)[places]


def _by_counting(values: NDArray[np.float32], places: Sequence[int]) -> NDArray[np.float32]:
    """The values at some places of the ascending order, from one pass over the first 16 bits of each float32.

    The first bits (sign, exponent, 7 bits of the fraction) count upwards with the value of a positive number, and
    downwards with that of a negative one. So the counts of the first bits, in the order of the values, tell which first
    bits the wanted value has and how many values are smaller; its few companions are partitioned. Exact, whatever the
    values; -0.0, which equals 0.0, counts as the smaller of both.
    """
    first_bits = values.view(np.uint32) >> 16
    counts = np.bincount(first_bits)
    order = np.arange(len(counts))
    if len(counts) > _NEGATIVE:
        counts, order = (np.concatenate([one[: _NEGATIVE - 1 : -1], one[:_NEGATIVE]]) for one in (counts, order))
    up_to = counts.cumsum()
    found = np.empty(len(places), values.dtype)
    for index, (place, bucket) in enumerate(zip(places, up_to.searchsorted(places, "right"), strict=True)):
        companions = values[first_bits == order[bucket]]
        within = place - (up_to[bucket] - counts[bucket])
        found[index] = np.partition(companions, within)[within]
    return found


_NEGATIVE = 2**15
"""First bits of -0.0; those of other negative numbers are larger."""
