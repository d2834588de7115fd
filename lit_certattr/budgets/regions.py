"""Regions of an image that may get any content."""

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.masks import MaskBudget
from lit_certattr.errors import InputError
from lit_certattr.partitions import check_partition, count_regions, same_partition


@attrs.frozen
class RegionBudget(MaskBudget):
    """Any new content of some regions of the clean image; the length of a change is the number that it touches.

    The regions are fixed: those of the clean image, wherever a change moves its edges. A change of a pixel in no region
    has infinite length.

    Attributes:
        keep: Probability that the noise keeps a region.
        source: Where the regions come from, in words.
        partition: Labels ``[H, W]`` of the regions of the image; ``None`` where they are not known.
        sigma: Standard deviation of the pixel noise.
        fill: The grey that the noise puts in place of a region.
    """

    name = "regions"
    part, plural = "region", "regions"
    keep: float
    source: str
    partition: Tensor | None = attrs.field(default=None, eq=attrs.cmp_using(eq=same_partition), hash=False, repr=False)
    sigma: float = 0.0
    fill: float = 0.5

    @override
    def placed(self, partition: Tensor) -> "RegionBudget":
        if partition.dtype != torch.int64 or partition.ndim != 2:
            raise InputError(f"regions that are masked must be int64 labels [H, W], got {partition.dtype}")
        height, width = partition.shape
        return attrs.evolve(self, partition=check_partition(partition, (height, width), "the image"))

    @property
    def _known(self) -> Tensor:
        if self.partition is None:
            raise InputError(
                f"the regions of the image ({self.source}) are not known here: use the noise law that "
                "placed(image, image_id) returns"
            )
        return self.partition

    @override
    def parts(self, height: int, width: int) -> Tensor:
        partition = self._known
        if partition.shape != (height, width):
            own = tuple(partition.shape)
            raise InputError(f"the regions have {own[0]} x {own[1]} pixels, but the image has {height} x {width}")
        return partition

    @property
    @override
    def count(self) -> int:
        return count_regions(self._known)

    @property
    @override
    def definition(self) -> str:
        partition = self.partition
        some = "the regions" if partition is None else f"the {count_regions(partition)} regions"
        outside = partition is not None and bool((partition < 0).any())
        return (
            f"A region is one of {some} of the clean image ({self.source}), fixed before sampling and the same for "
            f"changed images; it may get any content. {'Pixels in no region may not change. ' if outside else ''}"
            "A radius such as 2.5 is about changes of up to 2 regions, whichever they are."
        )
