"""Partitions as tensors: labels of pixels, or masks that may overlap."""

import hashlib

import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.statistics.rounding import percent_at_least

_MAX_WEIGHTS = 2**28
"""Largest number of regions x pixels: their weights are held in memory."""


def count_regions(partition: Tensor) -> int:
    """Number m of regions.

    Args:
        partition: Labels ``[H, W]`` or masks ``[m, H, W]``, see :meth:`Regions.__call__`.

    Example:
        >>> count_regions(torch.tensor([[0, 0, -1], [1, 1, 1]]))
        2
    """
    return len(partition) if partition.dtype == torch.bool else max(0, int(partition.max()) + 1)


def as_masks(partition: Tensor) -> Tensor:
    """Boolean masks ``[m, H, W]`` of a partition.

    Args:
        partition: Labels ``[H, W]`` or masks ``[m, H, W]``.

    Example:
        >>> as_masks(torch.tensor([[0, 1, -1]])).tolist()
        [[[True, False, False]], [[False, True, False]]]
    """
    if partition.dtype == torch.bool:
        return partition
    regions = torch.arange(count_regions(partition), device=partition.device)
    return partition == regions[:, None, None]


def members(partition: Tensor) -> tuple[Tensor | None, Tensor]:
    """Which pixel counts in which region, for sums over the regions.

    Args:
        partition: Labels ``[H, W]`` or masks ``[m, H, W]``.

    Returns:
        Indices of pixels, int64, one for each time that a pixel counts, ``None`` for all pixels in their order; and the
        region of each, where m stands for no region.

    Example:
        >>> members(torch.tensor([[0, -1, 1]]))
        (None, tensor([0, 2, 1]))
        >>> members(torch.tensor([[[True, True, False]], [[False, True, True]]]))
        (tensor([0, 1, 1, 2]), tensor([0, 0, 1, 1]))
    """
    if partition.dtype == torch.bool:
        regions, pixels = partition.flatten(1).nonzero(as_tuple=True)
        return pixels, regions
    labels = partition.flatten()
    return None, torch.where(labels < 0, count_regions(partition), labels)


def check_partition(partition: Tensor, size: tuple[int, int], name: str) -> Tensor:
    """A partition that fits an image: a copy on the CPU, which no later answer of the same rule changes.

    Args:
        partition: Labels ``[H, W]`` of integers or masks ``[m, H, W]``.
        size: Height and width of the image.
        name: What a message calls the image.

    Raises:
        InputError: If it has another type or size, no region, an empty region, or too many regions.
    """
    if not isinstance(partition, Tensor) or partition.dtype not in (torch.int64, torch.bool):
        got = partition.dtype if isinstance(partition, Tensor) else type(partition).__name__
        raise InputError(f"the regions of {name} must be int64 labels [H, W] or boolean masks [m, H, W], got {got}")
    if partition.ndim != (3 if partition.dtype == torch.bool else 2) or tuple(partition.shape[-2:]) != size:
        raise InputError(
            f"the regions of {name} have shape {tuple(partition.shape)}, but the image has {size[0]} x {size[1]} pixels"
        )
    if partition.dtype != torch.bool and int(partition.min()) < -1:
        raise InputError(f"the labels of {name} must be at least -1 (no region), got {int(partition.min())}")
    count = count_regions(partition)
    if count == 0:
        raise InputError(f"{name} has no region: give it a mask with at least one pixel")
    if count * size[0] * size[1] > _MAX_WEIGHTS:
        most = _MAX_WEIGHTS // (size[0] * size[1])
        raise InputError(f"{name} has {count} regions, more than the {most} that maps of this size may have")
    held = sizes_of(partition)
    if not bool(held.all()):
        raise InputError(f"region {int(held.argmin())} of {name} is empty: remove it, or give it at least one pixel")
    return partition.detach().cpu().contiguous().clone()


def same_partition(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two objects belong to the same regions; ``None`` stands for no regions at all.

    Args:
        one: Labels ``[H, W]``, masks ``[m, H, W]``, or ``None``.
        other: Likewise.
    """
    return one is other if one is None or other is None else torch.equal(one, other)


def sizes_of(partition: Tensor) -> Tensor:
    """Number of pixels of each region, int64 ``[m]``.

    Args:
        partition: Labels ``[H, W]`` or masks ``[m, H, W]``.
    """
    if partition.dtype == torch.bool:
        return partition.flatten(1).sum(1)
    return torch.bincount(partition.flatten() + 1, minlength=count_regions(partition) + 1)[1:]


def in_words(partition: Tensor) -> str:
    """How many regions there are, and how many pixels lie in none or in several.

    Args:
        partition: Labels ``[H, W]`` or masks ``[m, H, W]``.

    Example:
        >>> in_words(torch.tensor([[0, 0], [1, -1]]))
        '2 regions; 25.0 % of the pixels lie in no region'
    """
    covered = as_masks(partition).sum(0) if partition.dtype == torch.bool else (partition >= 0).long()
    parts = [f"{count_regions(partition)} regions"]
    for share, where in (((covered == 0), "no region"), ((covered > 1), "several regions")):
        if bool(share.any()):
            parts.append(f"{percent_at_least(float(share.double().mean()))} % of the pixels lie in {where}")
    return "; ".join(parts)


def spread(values: Tensor, partition: Tensor) -> Tensor:
    """The values of regions as a picture: each pixel shows its region's value.

    Args:
        values: One value per region, ``[..., m]``.
        partition: Labels ``[H, W]`` or masks ``[m, H, W]``.

    Returns:
        ``[..., H, W]`` of the same type. A pixel in several regions shows the value of the first one. A pixel in no
        region is NaN, or for integers and booleans 0.

    Example:
        >>> spread(torch.tensor([0.5, 2.0]), torch.tensor([[0, 1], [1, 1]])).tolist()
        [[0.5, 2.0], [2.0, 2.0]]
    """
    labels = first_region(partition).to(values.device)
    shown = values[..., labels.clamp(min=0)]
    nothing = torch.nan if values.is_floating_point() else 0
    return torch.where(labels >= 0, shown, torch.full_like(shown, nothing))


def first_region(partition: Tensor) -> Tensor:
    """Labels ``[H, W]`` of a partition; a pixel in several regions gets the first one, a pixel in none -1.

    Args:
        partition: Labels ``[H, W]`` or masks ``[m, H, W]``.
    """
    if partition.dtype != torch.bool:
        return partition
    first: Tensor = torch.where(partition.any(0), partition.byte().argmax(0), -1)
    return first


def partition_hash(partition: Tensor) -> str:
    """SHA-256 of a partition, in hexadecimal digits.

    Args:
        partition: Labels ``[H, W]`` or masks ``[m, H, W]``.

    Example:
        >>> partition_hash(torch.tensor([[0, 1]])) == partition_hash(torch.tensor([[1, 0]]))
        False
    """
    kind = "masks" if partition.dtype == torch.bool else "labels"
    head = f"{kind} {'x'.join(map(str, partition.shape))}\n".encode()
    values = partition.cpu().contiguous().numpy()
    return hashlib.sha256(head + values.astype("|u1" if kind == "masks" else "<i8").tobytes()).hexdigest()


def identity(partition: Tensor) -> str:
    """What a record holds of a partition: :func:`in_words`, and its hash.

    Args:
        partition: Labels ``[H, W]`` or masks ``[m, H, W]``.

    Example:
        >>> identity(torch.tensor([[0, 1]]))[:27]
        '2 regions; sha256 71ef58d1d'
    """
    return f"{in_words(partition)}; sha256 {partition_hash(partition)}"
