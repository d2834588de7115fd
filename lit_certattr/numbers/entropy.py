"""How spread out a map is: the entropy of its energy."""

import math
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.numbers.base import Number, Sign, check_sign, energy, sign_in_words


class Entropy(Number):
    r"""Entropy of the energy of a map as a share of the largest one: 0 if one pixel has it all, 1 if all have the same.

    :math:`-\sum_i p_i \ln p_i / \ln n` with :math:`p_i` the share of pixel i in the energy of n pixels.

    Args:
        sign: ``"positive"`` counts negative values as 0, ``"absolute"`` counts every value by its size.

    Raises:
        InputError: If the setting is neither.

    Example:
        >>> Entropy()(torch.tensor([[[1.0, 1.0, 0.0, 0.0]]]))
        tensor([0.5000])
    """

    needs_plane: ClassVar[bool] = False

    def __init__(self, sign: Sign = "absolute") -> None:
        self.sign = check_sign(sign)

    @override
    def values(self, maps: Tensor) -> Tensor:
        sizes = energy(maps, self.sign).flatten(1)
        total = sizes.sum(1, keepdim=True)
        shares = sizes / torch.where(total > 0, total, 1.0)
        # The logarithm of 1 where a share is 0: its gradient would be infinite.
        logs = torch.where(shares > 0, shares, 1.0).log()
        entropy = (-(shares * logs).sum(1) / math.log(max(2, shares.shape[1]))).clamp(0, 1)
        return torch.where(total[:, 0] > 0, entropy, torch.nan)

    @override
    def in_words(self) -> str:
        return f"the entropy of {sign_in_words(self.sign)} as a share of the largest possible one (0: one pixel)"
