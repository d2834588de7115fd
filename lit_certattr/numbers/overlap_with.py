"""How many of the K largest pixels of a map are among the K largest of a reference."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks.smoothed_objectives import soft_top_k
from lit_certattr.devices import onto
from lit_certattr.numbers.base import Number
from lit_certattr.numbers.reference import Rows, check_reference, digest_of, read_reference, top_set
from lit_certattr.numbers.top_k_inside import k_in_words
from lit_certattr.smoothing import top_k_mask, top_k_size


class OverlapWith(Number):
    """Share of the K largest pixels of a map that are among the K largest of a reference.

    Args:
        reference: Rows of numbers, or the path of a ``.npy`` file of a map of the size of the maps; fixed beforehand.
        top_k: K, a share of the pixels or a number of pixels.

    Raises:
        InputError: If the reference is no map.

    Example:
        >>> import torch
        >>> OverlapWith([[3, 2, 1, 0]], top_k=2)(torch.tensor([[[3.0, 1.0, 2.0, 0.0]]]))
        tensor([0.5000])
    """

    needs_plane: ClassVar[bool] = False

    def __init__(self, reference: Rows, top_k: float) -> None:
        self.reference, self.top_k = reference, top_k
        self._map = read_reference(reference)

    @override
    def values(self, maps: Tensor) -> Tensor:
        size = top_k_size(self.top_k, maps[0].numel())
        there = onto(top_set(self._map, self.top_k), maps)
        return (top_k_mask(maps, size) & there).sum((1, 2)).to(maps.dtype) / size

    @override
    def soft(self, maps: Tensor) -> Tensor:
        """The share of the soft top-K mask that lies in the set of the reference."""
        soft = soft_top_k(maps, top_k_size(self.top_k, maps[0].numel()), 0.2)
        return (soft * onto(top_set(self._map, self.top_k), maps)).sum((1, 2)) / soft.sum((1, 2))

    @override
    def in_words(self) -> str:
        return (
            f"the share of the top {k_in_words(self.top_k)} of the map that is also in the top of the reference map "
            f"{digest_of(self._map)}"
        )

    @override
    def check(self, map_shape: Sequence[int]) -> None:
        check_reference(self._map, self.top_k, map_shape)
