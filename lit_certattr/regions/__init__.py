"""Partitions of an image into regions: a grid, superpixels or a segmentation of the clean image, masks of the user."""

from lit_certattr.partitions import (
    Regions,
    as_masks,
    check_partition,
    count_regions,
    first_region,
    identity,
    in_words,
    members,
    partition_hash,
    same_partition,
    sizes_of,
    spread,
)
from lit_certattr.regions.grid import Grid
from lit_certattr.regions.mask_file import MaskFile
from lit_certattr.regions.mask_folder import MaskFolder
from lit_certattr.regions.segmenter import Segmenter
from lit_certattr.regions.superpixels import Felzenszwalb, Superpixels

__all__ = [
    "Felzenszwalb",
    "Grid",
    "MaskFile",
    "MaskFolder",
    "Regions",
    "Segmenter",
    "Superpixels",
    "as_masks",
    "check_partition",
    "count_regions",
    "first_region",
    "identity",
    "in_words",
    "members",
    "partition_hash",
    "same_partition",
    "sizes_of",
    "spread",
]
