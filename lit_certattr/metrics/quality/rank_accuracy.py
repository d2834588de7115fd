"""How many of the largest pixels of a map lie on the object."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attribution import RegionMap
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.localisation import relevance_rank_accuracy
from lit_certattr.metrics.quality.base import Explained, MapQuality
from lit_certattr.numbers import Box, Mask
from lit_certattr.numbers.mask import check_mask


class RankAccuracyQuality(MapQuality):
    """Share of the K largest pixels of a map that lie in a mask of K pixels, beside the centre and the mask's share.

    See :func:`~lit_certattr.metrics.functional.relevance_rank_accuracy`; ``empty`` is 1 for a constant map, which
    points nowhere and counts as 0.

    Args:
        mask: Where the object is: ``RegionMask(MaskFolder("masks"), labels=[1])`` for a mask of each image, or a box.

    Raises:
        InputError: If it is no mask; when called, if an image has none, or the maps are of regions.
    """

    name: ClassVar[str] = "relevance_rank_accuracy"
    words: ClassVar[str] = "relevance rank accuracy"
    beside: ClassVar[tuple[str, ...]] = ("centre", "chance", "empty")

    def __init__(self, mask: Box | Mask) -> None:
        self.mask = check_mask("mask", mask)

    @property
    @override
    def of_image(self) -> bool:
        return self.mask.of_image

    @override
    def values(self, explained: Explained) -> tuple[Tensor, ...]:
        if isinstance(explained.attribution, RegionMap):
            raise InputError(f"{self!r} is about places in the image: measure the method without regions")
        maps, placed = explained.maps, zip(explained.images, explained.ids, strict=True)
        masks = torch.stack([self._of(image, name, maps.shape[1:]) for image, name in placed])
        return tuple(relevance_rank_accuracy(maps, masks.to(maps.device)))

    @override
    def check(self, image: Tensor, image_id: str, map_shape: Sequence[int]) -> None:
        self._of(image, image_id, map_shape)

    def _of(self, image: Tensor, image_id: str, map_shape: Sequence[int]) -> Tensor:
        return self.mask.placed(image, image_id).mask(map_shape)
