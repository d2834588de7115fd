"""How concentrated a map is: the Gini index of the sizes of its values."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from lit_certattr.devices import values_are_free
from lit_certattr.numbers.base import Number
from lit_certattr.smoothing.ranking import rank
from lit_certattr.smoothing.sparsify import flatten_maps


class Gini(Number):
    r"""Gini index of the absolute values of a map: near 0 if all pixels matter alike, near 1 if one matters alone.

    See :func:`gini_index` (Hurley & Rickard, 2009; the sparseness of Chalasani et al., 2020).

    Example:
        >>> Gini()(torch.tensor([[[0.0, 0.0], [0.0, 5.0]]]))
        tensor([0.7500])
    """

    needs_plane: ClassVar[bool] = False

    @override
    def values(self, maps: Tensor) -> Tensor:
        return gini_index(maps.flatten(1))

    @override
    def in_words(self) -> str:
        return "the Gini index of the absolute values of the map (1: concentrated, 0: spread evenly)"


def gini_index(values: Tensor) -> Tensor:
    r"""Gini index of the absolute values of each row.

    :math:`\sum_i (2i - n - 1)\,a_{(i)} / (n \sum_i a_i)` for the n absolute values :math:`a_{(i)}` in rising order: 0
    if all are equal, :math:`1 - 1/n` if all but one are 0. The scale of a row does not matter.

    Args:
        values: Rows of numbers ``[b, n]``, finite.

    Returns:
        Numbers in [0, 1), ``[b]``; NaN for a row of zeros.

    Example:
        >>> gini_index(torch.tensor([[0.0, 0.0, 0.0, -5.0], [2.0, 2.0, 2.0, 2.0]]))
        tensor([0.7500, 0.0000])
    """
    sizes = values.abs()
    if sizes.requires_grad:
        return _of_ordered(sizes.sort(dim=1).values)
    flat = flatten_maps(sizes[:, None])
    if not (values_are_free(flat) and flat.dtype == torch.float32 and flat.shape[1] >= _MANY):
        return _of_ordered(rank(flat).to(values.dtype))
    found = np.empty(len(flat), np.float32)
    for index, row in enumerate(flat.numpy()):
        found[index], error = _by_bins(row)
        if not error < _TINY:  # also if there is no number
            found[index] = _of_ordered(rank(flat[index : index + 1])).item()
    return torch.from_numpy(found).to(values.dtype)


def _of_ordered(ordered: Tensor) -> Tensor:
    """The Gini index of rows ``[b, n]`` in rising order, at least 0; NaN for a row of zeros."""
    n = ordered.shape[1]
    ranks = 2 * torch.arange(1, n + 1, device=ordered.device, dtype=ordered.dtype) - n - 1
    total = ordered.sum(1)
    index = (ordered * ranks).sum(1) / (n * torch.where(total > 0, total, 1.0))
    return torch.where(total > 0, index.clamp(0, 1), torch.nan)


_MANY, _TINY = 2**13, 2**-21
_BINS = 2**12
_WIDTHS = (2 * np.arange(_BINS) + 1) / (_BINS - 1) ** 2
"""Widths of the bins, as shares of the largest value."""


def _by_bins(values: NDArray[np.float32]) -> tuple[float, float]:
    r"""The Gini index without a sort, and the largest error it can have; a sort of many values takes longer.

    The square roots of the values fall into bins of equal width, so that small values, which are many, are told apart.
    Let a bin hold m values :math:`b_{(1)} \le ... \le b_{(m)}` with the sum S, and c values lie in the bins below. Its
    part of :math:`\sum_i (2i - n - 1) a_{(i)}` is

    .. math:: (2c + m - n)\,S + \sum_{j<k} (b_{(k)} - b_{(j)}).

    Only the last sum needs the order inside the bin. If the bin has the width w, it lies in :math:`[0, m^2 w / 4]`
    (it is largest if half of the values lie at each end), up to rounding; the middle is taken.
    """
    peak = float(values.max())
    if not 0 < peak < np.inf:
        return np.nan, np.inf
    bins = (np.sqrt(values / np.float32(peak)) * np.float32(_BINS - 1)).astype(np.uint16)
    counts = np.bincount(bins, minlength=_BINS).astype(np.float64)
    sums = np.bincount(bins, values, minlength=_BINS)
    total, n = sums.sum(), len(values)
    known = 2 * (counts.cumsum() @ sums) - counts @ sums - n * total
    half = peak * (counts**2 @ _WIDTHS) / 8
    return float(np.clip((known + half) / (n * total), 0, 1)), half / (n * total)
