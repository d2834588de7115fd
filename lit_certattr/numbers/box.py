"""A box in relative coordinates: the same part of the image at every size of the maps."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.numbers.mask import Mask
from lit_certattr.settings import real_number


class Box(Mask):
    """A rectangle of the image plane, in shares of its height and width.

    A pixel is inside if its centre is. The box is fixed before anything is sampled, and it stays where it is when the
    image is perturbed.

    Args:
        top: Upper side, a share of the height; 0 is the top of the image.
        left: Left side, a share of the width.
        bottom: Lower side, above ``top``.
        right: Right side, above ``left``.

    Raises:
        InputError: If the sides are out of order, or outside [0, 1].

    Example:
        >>> Box(0, 0, 0.5, 1).mask((2, 3)).int().tolist()
        [[1, 1, 1], [0, 0, 0]]
    """

    def __init__(self, top: float, left: float, bottom: float, right: float) -> None:
        self.top, self.left = real_number("top", top), real_number("left", left)
        self.bottom, self.right = real_number("bottom", bottom), real_number("right", right)
        if not (0 <= self.top < self.bottom <= 1 and 0 <= self.left < self.right <= 1):
            raise InputError(
                f"a box needs 0 <= top < bottom <= 1 and 0 <= left < right <= 1, got top {top}, left {left}, "
                f"bottom {bottom}, right {right}"
            )

    @override
    def mask(self, map_shape: Sequence[int]) -> Tensor:
        height, width = map_shape
        mask = _mask(self.top, self.left, self.bottom, self.right, height, width)
        if not bool(mask.any()):
            raise InputError(f"{self!r} holds no pixel of a map of {height} x {width}: make the box larger")
        return mask.clone()

    @override
    def in_words(self) -> str:
        return (
            f"the box from {self.top:g} to {self.bottom:g} of the height and from {self.left:g} to {self.right:g} of "
            "the width"
        )


@lru_cache(maxsize=32)
def _mask(top: float, left: float, bottom: float, right: float, height: int, width: int) -> Tensor:
    """Kept, since it is asked for with every block of maps."""
    rows = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    return ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))
