"""Noise of regions: each region of the clean image is kept or filled with grey."""

import copy
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.regions import RegionBudget
from lit_certattr.errors import InputError
from lit_certattr.partitions import Regions, count_regions, first_region, same_partition
from lit_certattr.settings import instance
from lit_certattr.smoothing.mask import MaskNoise


class RegionMaskNoise(MaskNoise):
    r"""Each region of the image is kept with probability :math:`\lambda`, else filled with grey, independently.

    As :class:`~lit_certattr.smoothing.PatchMaskNoise`, with parts of any shape: superpixels of the image, organs or
    objects of your own masks, the classes of a segmentation network.

    Theorem: the exact bound of :mod:`lit_certattr.budgets.masks`. A majority with the vote L stands against **any new
    content of any m regions** while :math:`(1 - \lambda)^m > 3/2 - L`, whatever the number of regions. It holds for
    one partition that does not depend on the noise and is the same for both images. So the regions are those of the
    *clean* image (:meth:`placed`), fixed before anything is sampled, and a changed image is masked in these same
    regions: nobody may divide it anew. Pixels in no region are always seen, and no change of them is covered.

    Args:
        keep: Probability :math:`\lambda` that a region is kept, in (0, 1); smaller values bear more changed regions and
            show the network less.
        regions: What divides an image into regions that do not overlap, at least two.
        fill: The grey, in [0, 1].
        sigma: Standard deviation of the pixel noise, in pixel units; 0 for none. It buys no l2 radius.

    Raises:
        InputError: If a setting is out of range; when used, if the regions depend on the image and :meth:`placed` was
            not called.

    Example:
        >>> from lit_certattr.regions import Superpixels
        >>> noise = RegionMaskNoise(keep=0.25, regions=Superpixels(count=20))
        >>> image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> changed = torch.where(noise.placed(image, "cat").partition == 3, 1 - image, image)
        >>> noise.placed(image, "cat").budget.length(image, changed)
        1.0
    """

    needs_regions: ClassVar[bool] = True

    def __init__(self, keep: float, regions: Regions, fill: float = 0.5, sigma: float = 0.0) -> None:
        super().__init__(keep, fill, sigma)
        instance("regions", regions, Regions, "Superpixels(count=80)")
        self.regions = regions
        self._partition: Tensor | None = None

    @property
    def partition(self) -> Tensor | None:  # type: ignore[override]
        """The regions of the image for which this law was placed, int64 ``[H, W]``; ``None`` before."""
        return self._partition

    @override
    def placed(self, image: Tensor, image_id: str) -> Self:
        if self._partition is not None:
            return self
        placed = copy.copy(self)
        placed._partition = self._disjoint(self.regions.divide(image, image_id), image_id)
        return placed

    def _disjoint(self, partition: Tensor, image_id: str) -> Tensor:
        name = type(self).__name__
        if partition.dtype == torch.bool and bool((partition.sum(0) > 1).any()):
            raise InputError(
                f"the regions of image {image_id} overlap: {name} needs every pixel in one region at most; give masks "
                "with one number per pixel"
            )
        if (count := count_regions(partition)) < 2:
            raise InputError(
                f"image {image_id} has {count} region: {name} needs at least 2; divide it more finely, or leave it out "
                "with --ids"
            )
        return first_region(partition)

    @property
    @override
    def budget(self) -> RegionBudget:
        return RegionBudget(self.keep, self.regions.in_words(), self._partition, self.sigma, self.fill)

    @override
    def check(self, image: Tensor, name: str) -> None:
        """Refuse an image of another size than the one for which the law was placed.

        Raises:
            InputError: If the sizes differ.
        """
        if self._partition is not None and tuple(self._partition.shape) != tuple(image.shape[1:]):
            own, (height, width) = tuple(self._partition.shape), image.shape[1:]
            raise InputError(
                f"image {name} has {height} x {width} pixels, but the regions of this law are those of an image of "
                f"{own[0]} x {own[1]}: place it for this image"
            )

    @override
    def size(self, shape: Sequence[int]) -> int:
        return count_regions(self.parts(shape))

    @override
    def parts(self, shape: Sequence[int]) -> Tensor:
        if self._partition is not None:
            return self._partition
        kind = type(self.regions).__name__
        if self.regions.of_image:
            raise InputError(
                f"the regions of {kind} depend on the image: call placed(image, image_id) with the clean image and use "
                "the law that it returns; to train, use PatchMaskNoise, or regions that all images share"
            )
        return self._disjoint(self.regions.divide(torch.zeros(tuple(shape)), "of any id"), "of any id")

    def __eq__(self, other: object) -> bool:
        if super().__eq__(other) is not True:
            return False
        assert isinstance(other, RegionMaskNoise)
        return same_partition(self._partition, other._partition)

    def __hash__(self) -> int:
        return super().__hash__()
