"""Share of the K largest pixels of a map that lie inside a mask."""

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks.smoothed_objectives import soft_top_k
from lit_certattr.devices import onto
from lit_certattr.errors import InputError
from lit_certattr.numbers.base import Number
from lit_certattr.numbers.box import Box
from lit_certattr.numbers.mask import Mask, check_leaves_out, check_mask
from lit_certattr.smoothing import top_k_mask, top_k_size


class TopKInside(Number):
    """Share of the K largest pixels of a map that lie inside a mask (relevance rank accuracy; Arras et al., 2022).

    Inside a mask of fewer than K pixels lie fewer than K of them, whatever the map: such a K is refused, as the share
    could not reach 1.

    Args:
        mask: The part of the image: a box, or a mask of each image, see :class:`RegionMask`.
        top_k: K, a share of the pixels or a number of pixels, at most as many as lie inside the mask.

    Raises:
        InputError: If a setting is none of these.

    Example:
        >>> import torch
        >>> TopKInside(Box(0, 0, 1, 0.5), top_k=2)(torch.tensor([[[3.0, 1.0, 2.0, 0.0]]]))
        tensor([0.5000])
    """

    def __init__(self, mask: Box | Mask, top_k: float) -> None:
        self.mask, self.top_k = check_mask("mask", mask), top_k

    @override
    def values(self, maps: Tensor) -> Tensor:
        size = top_k_size(self.top_k, maps[0].numel())
        inside = onto(self.mask.mask(maps.shape[1:]), maps)
        return (top_k_mask(maps, size) & inside).sum((1, 2)).to(maps.dtype) / size

    @override
    def soft(self, maps: Tensor) -> Tensor:
        """The share of the mask that :func:`~lit_certattr.attacks.smoothed_objectives.soft_top_k` puts inside."""
        soft = soft_top_k(maps, top_k_size(self.top_k, maps[0].numel()), 0.2)
        return (soft * onto(self.mask.mask(maps.shape[1:]), maps)).sum((1, 2)) / soft.sum((1, 2))

    @override
    def in_words(self) -> str:
        return f"the share of the top {k_in_words(self.top_k)} of the map that lies inside {self.mask.in_words()}"

    @override
    def check(self, map_shape: Sequence[int]) -> None:
        check_leaves_out(self.mask, map_shape)
        inside = int(self.mask.mask(map_shape).sum())
        check_k(self.top_k, map_shape, inside, self.mask.called)


def k_in_words(top_k: float) -> str:
    """K as it was asked for.

    Args:
        top_k: A share in (0, 1), or a number of pixels.

    Example:
        >>> k_in_words(0.25), k_in_words(20)
        ('25 % of the pixels', '20 pixels')
    """
    return f"{100 * top_k:.3g} % of the pixels" if 0 < top_k < 1 else f"{int(top_k)} pixels"


def check_k(top_k: float, map_shape: Sequence[int], most: int, what: str) -> None:
    """Refuse a K that is larger than a set of pixels, or leaves out no pixel of the map.

    Args:
        top_k: A share in (0, 1), or a number of pixels.
        map_shape: Height and width of the maps.
        most: Pixels of the set.
        what: What the message calls the set.

    Raises:
        InputError: Naming both numbers.
    """
    pixels = map_shape[0] * map_shape[1]
    size = top_k_size(top_k, pixels)
    if size > most:
        raise InputError(f"K of {size} pixels, but {what} has {most}: choose a smaller top_k or a larger mask")
    if size >= pixels:
        raise InputError(f"K of {size} pixels leaves out none of {pixels}: choose a smaller top_k")
