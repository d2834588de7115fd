"""Whether one part of the image matters more than another."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.devices import onto
from lit_certattr.errors import InputError
from lit_certattr.numbers.base import Number, Sign, check_sign, energy, sign_in_words
from lit_certattr.numbers.box import Box
from lit_certattr.numbers.mask import Mask, check_mask


class MoreThan(Number):
    """Whether the mean attribution of one mask is larger than that of another; equal means give 0.

    Args:
        more: The part that is to matter more.
        less: The other part.
        sign: ``"positive"`` counts negative values as 0, ``"absolute"`` counts every value by its size.

    Raises:
        InputError: If a setting is none of these, or both parts are the same.

    Example:
        >>> left, right = Box(0, 0, 1, 0.5), Box(0, 0.5, 1, 1)
        >>> MoreThan(left, right)(torch.tensor([[[3.0, 1.0]], [[1.0, 2.0]]]))
        tensor([1., 0.])
    """

    binary: ClassVar[bool] = True

    def __init__(self, more: Box | Mask, less: Box | Mask, sign: Sign = "positive") -> None:
        self.more, self.less, self.sign = check_mask("more", more), check_mask("less", less), check_sign(sign)
        if self.more == self.less:
            raise InputError(f"more and less are both {self.more!r}: give two different parts of the image")

    @override
    def values(self, maps: Tensor) -> Tensor:
        more, less = self._means(maps)
        return (more > less).to(maps.dtype)

    @override
    def soft(self, maps: Tensor) -> Tensor:
        """The share of the first mean in the sum of both."""
        more, less = self._means(maps)
        return more / (more + less).clamp_min(1e-30)

    def _means(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        sizes = energy(maps, self.sign).flatten(1)
        # Places, not masks: the shape of what a mask selects is made of values, for which a device would wait.
        more, less = (box.mask(maps.shape[1:]).flatten().nonzero()[:, 0] for box in (self.more, self.less))
        return sizes.index_select(1, onto(more, maps)).mean(1), sizes.index_select(1, onto(less, maps)).mean(1)

    @override
    def in_words(self) -> str:
        return (
            f"whether the mean of {sign_in_words(self.sign)} in {self.more.in_words()} is larger than in "
            f"{self.less.in_words()} (1 if so, 0 if not)"
        )

    @override
    def check(self, map_shape: Sequence[int]) -> None:
        if torch.equal(self.more.mask(map_shape), self.less.mask(map_shape)):
            raise InputError(
                f"more and less are the same pixels of a map of {map_shape[0]} x {map_shape[1]}, so neither ever "
                "matters more: give two different parts"
            )
