"""How many of the K largest pixels of a map lie near those of a reference."""

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks.smoothed_objectives import soft_top_k
from lit_certattr.devices import onto
from lit_certattr.errors import InputError
from lit_certattr.numbers.base import Number
from lit_certattr.numbers.reference import Rows, check_reference, digest_of, read_reference, top_set
from lit_certattr.numbers.top_k_inside import k_in_words
from lit_certattr.settings import whole_number
from lit_certattr.smoothing import top_k_mask, top_k_size


class LENSTo(Number):
    """Share of the K largest pixels of a map that lie within a window around those of a reference.

    This is the w-LENS-recall@k of Kamath et al. (2024) with the reference as the clean map. Windows of many pixels
    cover much of the image: compare with the share of the image that they cover, which a random map reaches.

    Args:
        reference: Rows of numbers, or the path of a ``.npy`` file of a map of the size of the maps; fixed beforehand.
        top_k: K, a share of the pixels or a number of pixels.
        window: Chessboard distance in pixels that counts as near; 1 is a 3 x 3 window.

    Raises:
        InputError: If the reference is no map, or the window no number of pixels.

    Example:
        >>> LENSTo([[3, 1, 0, 2]], top_k=1, window=1)(torch.tensor([[[0.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0, 0.0]]]))
        tensor([1., 0.])
    """

    def __init__(self, reference: Rows, top_k: float, window: int = 1) -> None:
        self.reference, self.top_k, self.window = reference, top_k, whole_number("window", window, least=0)
        self._map = read_reference(reference)

    def _near(self, maps: Tensor) -> Tensor:
        there = top_set(self._map, self.top_k).float()[None, None]
        near = torch.nn.functional.max_pool2d(there, 2 * self.window + 1, stride=1, padding=self.window)
        return onto(near[0, 0].bool(), maps)

    @override
    def values(self, maps: Tensor) -> Tensor:
        size = top_k_size(self.top_k, maps[0].numel())
        return (top_k_mask(maps, size) & self._near(maps)).sum((1, 2)).to(maps.dtype) / size

    @override
    def soft(self, maps: Tensor) -> Tensor:
        """The share of the soft top-K mask that lies near the set of the reference."""
        soft = soft_top_k(maps, top_k_size(self.top_k, maps[0].numel()), 0.2)
        return (soft * self._near(maps)).sum((1, 2)) / soft.sum((1, 2))

    @override
    def in_words(self) -> str:
        return (
            f"the share of the top {k_in_words(self.top_k)} of the map that lies within {self.window} pixels of the "
            f"top of the reference map {digest_of(self._map)}"
        )

    @override
    def check(self, map_shape: Sequence[int]) -> None:
        check_reference(self._map, self.top_k, map_shape)
        if self.window >= max(map_shape):
            raise InputError(
                f"a window of {self.window} pixels reaches over the whole map of {map_shape[0]} x {map_shape[1]}: "
                "choose a smaller one"
            )
        if bool(self._near(self._map).all()):
            raise InputError(
                f"windows of {self.window} pixels around the top of the reference cover the whole map, so the share "
                "is 1 for every map: choose a smaller window or top_k"
            )
