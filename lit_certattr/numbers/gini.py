"""How concentrated a map is: the Gini index of the sizes of its values."""

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.numbers.base import Number


class Gini(Number):
    r"""Gini index of the absolute values of a map: near 0 if all pixels matter alike, near 1 if one matters alone.

    :math:`\sum_i (2i - n - 1)\,a_{(i)} / (n \sum_i a_i)` for the n absolute values in rising order (Hurley & Rickard,
    2009; the sparseness of Chalasani et al., 2020).

    Example:
        >>> Gini()(torch.tensor([[[0.0, 0.0], [0.0, 5.0]]]))
        tensor([0.7500])
    """

    needs_plane: ClassVar[bool] = False

    @override
    def values(self, maps: Tensor) -> Tensor:
        ordered = maps.flatten(1).abs().sort(dim=1).values
        n = ordered.shape[1]
        ranks = 2 * torch.arange(1, n + 1, device=maps.device, dtype=ordered.dtype) - n - 1
        total = ordered.sum(1)
        index = (ordered * ranks).sum(1) / (n * torch.where(total > 0, total, 1.0))
        return torch.where(total > 0, index.clamp(0, 1), torch.nan)

    @override
    def in_words(self) -> str:
        return "the Gini index of the absolute values of the map (1: concentrated, 0: spread evenly)"
