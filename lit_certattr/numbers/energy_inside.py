"""Share of the energy of a map that lies inside a mask."""

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from lit_certattr.devices import onto
from lit_certattr.numbers.base import Number, Sign, check_sign, energy, share, sign_in_words
from lit_certattr.numbers.box import Box
from lit_certattr.numbers.mask import Mask, check_leaves_out, check_mask


class EnergyInside(Number):
    """Share of the attribution that lies inside a mask (the energy-based pointing game; Wang et al., 2020).

    Args:
        mask: The part of the image: a box, or a mask of each image, see :class:`RegionMask`.
        sign: ``"positive"`` counts negative values as 0, ``"absolute"`` counts every value by its size.

    Raises:
        InputError: If a setting is none of these.

    Example:
        >>> import torch
        >>> EnergyInside(Box(0, 0, 1, 0.5))(torch.tensor([[[3.0, 1.0]], [[2.0, 2.0]]]))
        tensor([0.7500,    nan])
    """

    def __init__(self, mask: Box | Mask, sign: Sign = "positive") -> None:
        self.mask, self.sign = check_mask("mask", mask), check_sign(sign)

    @override
    def values(self, maps: Tensor) -> Tensor:
        sizes = energy(maps, self.sign)
        inside = onto(self.mask.mask(maps.shape[1:]), maps)
        return share((sizes * inside).sum((1, 2)), sizes.sum((1, 2)))

    @override
    def in_words(self) -> str:
        return f"the share of {sign_in_words(self.sign)} that lies inside {self.mask.in_words()}"

    @override
    def check(self, map_shape: Sequence[int]) -> None:
        check_leaves_out(self.mask, map_shape)
