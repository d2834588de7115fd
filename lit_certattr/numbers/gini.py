"""How concentrated a map is: the Gini index of the sizes of its values."""

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.numbers.base import Number
from lit_certattr.smoothing import MapBlock
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
    def of_block(self, block: MapBlock) -> Tensor:
        if type(self) is not Gini:  # a subclass may have values of its own
            return super().of_block(block)
        return torch.where(block.varies, gini_of_ranked(block.sizes_ranked), torch.nan)

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
    ordered = sizes.sort(dim=1).values if sizes.requires_grad else rank(flatten_maps(sizes[:, None])).to(values.dtype)
    return gini_of_ranked(ordered)


def gini_of_ranked(ordered: Tensor) -> Tensor:
    """The Gini index of rows whose absolute values are known in rising order.

    Args:
        ordered: Rows of sorted numbers ``[b, n]``, at least 0.

    Returns:
        Numbers in [0, 1), ``[b]``; NaN for a row of zeros.
    """
    n = ordered.shape[1]
    ranks = 2 * torch.arange(1, n + 1, device=ordered.device, dtype=ordered.dtype) - n - 1
    total = ordered.sum(1)
    index = (ordered * ranks).sum(1) / (n * torch.where(total > 0, total, 1.0))
    return torch.where(total > 0, index.clamp(0, 1), torch.nan)
