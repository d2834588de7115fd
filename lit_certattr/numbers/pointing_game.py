"""Whether the largest pixel of a map lies inside a mask."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.devices import onto, values_are_free
from lit_certattr.numbers.base import Number
from lit_certattr.numbers.box import Box
from lit_certattr.numbers.mask import Mask, check_leaves_out, check_mask


class PointingGame(Number):
    """Whether the largest pixel of a map, the first one of equal ones, lies inside a mask (Zhang et al., 2018).

    Args:
        mask: The part of the image: a box, or a mask of each image, see :class:`RegionMask`.

    Raises:
        InputError: If it is no mask.

    Example:
        >>> import torch
        >>> PointingGame(Box(0, 0, 1, 0.5))(torch.tensor([[[3.0, 1.0]], [[1.0, 2.0]], [[2.0, 2.0]]]))
        tensor([1., 0., nan])
    """

    binary: ClassVar[bool] = True

    def __init__(self, mask: Box | Mask) -> None:
        self.mask = check_mask("mask", mask)

    @override
    def values(self, maps: Tensor) -> Tensor:
        inside = onto(self.mask.mask(maps.shape[1:]), maps).flatten()
        return inside[_place_of_largest(maps.detach().flatten(1))].to(maps.dtype)

    @override
    def soft(self, maps: Tensor) -> Tensor:
        """The largest value inside less the largest outside, in standard deviations, squashed to (0, 1)."""
        inside = onto(self.mask.mask(maps.shape[1:]), maps).flatten()
        flat = maps.flatten(1)
        spread = flat.detach().std(1, correction=0).clamp_min(1e-30)
        here, there = flat[:, inside].amax(1), flat[:, ~inside]
        return ((here - (there.amax(1) if there.shape[1] else flat.amin(1))) / spread).sigmoid()

    @override
    def in_words(self) -> str:
        return f"whether the largest pixel of the map lies inside {self.mask.in_words()} (1 if so, 0 if not)"

    @override
    def check(self, map_shape: Sequence[int]) -> None:
        check_leaves_out(self.mask, map_shape)


def _place_of_largest(flat: Tensor) -> Tensor:
    """Index of the largest value of each row ``[b, n]``, int64 ``[b]``."""
    if values_are_free(flat):  # NumPy's is vectorised: ten times torch.argmax on a CPU
        return torch.from_numpy(np.argmax(flat.numpy(), axis=1))
    return flat.argmax(1)
