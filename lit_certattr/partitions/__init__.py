"""Partitions of an image as tensors, and the base of the rules in ``lit_certattr.regions`` that give them."""

from lit_certattr.partitions.partition import (
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
from lit_certattr.partitions.regions import Regions

__all__ = [
    "Regions",
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
