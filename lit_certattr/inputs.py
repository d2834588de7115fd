"""Images and classes that users bring, checked once, and refused in one clear line."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_certattr.errors import InputError


def check_images(images: Tensor, ids: Sequence[str] | None) -> Tensor:
    """Images that can be certified, detached and no inference tensors.

    Args:
        images: Images ``[B, C, H, W]``, finite and in [0, 1].
        ids: Their names, if they have any.

    Raises:
        InputError: Naming the first image that cannot, and why.
    """
    if images.ndim != 4 or not images.numel() or not torch.is_floating_point(images):
        raise InputError(f"images must be a float tensor [B, C, H, W], got {images.dtype} {tuple(images.shape)}")
    if ids is not None and (len(ids) != len(images) or len(set(ids)) < len(ids)):
        raise InputError(f"ids must be {len(images)} different names, got {len(ids)} ({len(set(ids))} different)")
    low, high = torch.aminmax(images.flatten(1), dim=1)
    for index, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        name = index if ids is None else ids[index]
        if not least - least == most - most == 0:  # NaN or infinite
            raise InputError(f"image {name}: holds NaN or infinite pixels")
        if least < 0 or most > 1:
            raise InputError(f"image {name}: pixels must lie in [0, 1], found {least:g} to {most:g}")
    return images.clone() if images.is_inference() else images.detach()


def check_targets(targets: Tensor, num_images: int, num_classes: int) -> list[int]:
    """The classes to explain, as numbers.

    Args:
        targets: Class indices ``[num_images]``.
        num_images: How many there must be.
        num_classes: How many classes the network has.

    Raises:
        InputError: If they are no class indices, or too few, or the network has no such class.
    """
    if targets.shape != (num_images,) or targets.is_floating_point():
        raise InputError(f"targets must be {num_images} class indices, got {targets.dtype} {tuple(targets.shape)}")
    labels: list[int] = targets.tolist()
    for label in labels:
        if not 0 <= label < num_classes:
            raise InputError(f"target class {label} is unknown: the network has classes 0 to {num_classes - 1}")
    return labels
