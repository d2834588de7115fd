"""Masks of regions: the user's own for each image, or any other partition."""

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.numbers.mask import ImageMask
from lit_certattr.partitions import as_masks, check_partition
from lit_certattr.regions import Regions
from lit_certattr.settings import instance, several, whole_number


class RegionMask(ImageMask):
    """The part of an image that some of its regions cover together, such as the organs in the user's mask files.

    The regions are those of the *clean* image and stay where they are when it is perturbed.

    Args:
        regions: What divides the image into regions, e.g. ``MaskFolder("masks")``.
        labels: Numbers of the regions that count: for mask files the numbers in the file, for COCO files the category
            ids, for others the position of the region. An image needs at least one of them. ``None`` counts all
            regions, in mask files everything but 0.

    Raises:
        InputError: If an argument is of another kind; when placed, if the image has none of these regions.

    Example:
        >>> from lit_certattr.regions import Grid
        >>> RegionMask(Grid(2), labels=[1, 3]).placed(torch.zeros(1, 2, 4), "cat").mask((2, 4)).int().tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1]]
    """

    def __init__(self, regions: Regions, labels: Sequence[int] | None = None) -> None:
        instance("regions", regions, Regions, 'MaskFolder("masks")')
        chosen = None if labels is None else list(several("labels", labels, "[1]"))
        if chosen is not None and not chosen:
            raise InputError("labels must name at least one region, or be null for all of them")
        self.regions = regions
        self.labels = chosen if chosen is None else [whole_number("a label", one, least=0) for one in chosen]

    @override
    def pixels(self, image: Tensor, image_id: str) -> Tensor:
        partition, numbers = self.regions.numbered(image.detach().clone(), image_id)  # a rule may write into it
        size = (image.shape[-2], image.shape[-1])
        masks = as_masks(check_partition(partition, size, f"image {image_id}"))
        chosen = torch.tensor([self.labels is None or one in self.labels for one in numbers])
        if not bool(chosen.any()):
            there = ", ".join(map(str, sorted(set(numbers))[:10]))
            raise InputError(
                f"image {image_id} has no region with label {_listed(self.labels or [])}, only {there}: give it one, "
                "or leave the image out with --ids"
            )
        return masks[chosen].any(0)

    @override
    def in_words(self) -> str:
        which = "all regions" if self.labels is None else f"label {_listed(self.labels)}"
        return f"the mask of the image ({which} of {self.regions.in_words()})"


def _listed(labels: Sequence[int]) -> str:
    return " or ".join(map(str, labels))
