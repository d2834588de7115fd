"""Maps that do not depend on the network: compare every score of a map with theirs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.ranking import ordinal_ranks
from lit_certattr.smoothing import content_id, normal_stream


def centre_map(height: int, width: int) -> Tensor:
    r"""The image-centre baseline: a Gaussian around the centre, its standard deviation a quarter of each side.

    Photographers put their subject in the middle, so on photographs this map often points better than an attribution
    method.

    Args:
        height: Height in pixels.
        width: Width in pixels.

    Returns:
        Positive map float32 ``[H, W]``, at most 1, symmetric to the last bit.

    Example:
        >>> centre_map(3, 3).argmax().item()
        4
    """
    rows, columns = ((2 * torch.arange(size) + 1 - size).double() / (2 * size) for size in (height, width))
    return torch.exp(-8 * (rows[:, None].square() + columns.square())).float()


def random_maps(height: int, width: int, ids: Sequence[str], seed: int = 0) -> Tensor:
    """The chance baseline: independent noise at every pixel, so a uniformly random ranking.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        ids: Stable ids of the images: the map of an image depends on the seed and its id alone.
        seed: Seed of the run.

    Returns:
        Maps float32 ``[B, H, W]``, on the CPU. They share no randomness with the noise of a certificate.
    """
    rows = torch.empty(len(ids), height * width)
    for row, image_id in zip(rows, ids, strict=True):
        normal_stream(seed, f"{image_id}\x00random map", "cpu").fill_(row[None], 0)
    return rows.reshape(-1, height, width)


def removal_ranks(maps: Tensor) -> Tensor:
    """Place of every pixel in the order from the most to the least important; ties by pixel index.

    Args:
        maps: Maps ``[B, H, W]``.

    Returns:
        int32 ``[B, H, W]``, a permutation of 0 .. H * W - 1 for each map.

    Example:
        >>> removal_ranks(torch.tensor([[[1.0, 3.0], [3.0, 0.0]]])).tolist()
        [[[2, 0], [1, 3]]]
    """
    return (ordinal_ranks(maps.flatten(1)) - 1).reshape(maps.shape)


def check_maps(maps: Tensor, name: str = "maps") -> Tensor:
    """Check that maps are finite floats ``[B, H, W]``, and return them in at least float32.

    Args:
        maps: Maps ``[B, H, W]``.
        name: Name of the maps in the message.

    Raises:
        InputError: If they are no float tensor ``[B, H, W]``, or not finite.
    """
    if maps.ndim != 3 or not maps.numel() or not torch.is_floating_point(maps):
        raise InputError(f"{name} must be a float tensor [B, H, W], got {maps.dtype} {tuple(maps.shape)}")
    if not bool(torch.isfinite(maps).all()):
        raise InputError(f"{name} must be finite, but hold NaN or infinite values")
    return maps.detach().to(torch.promote_types(maps.dtype, torch.float32))


def image_ids(images: Tensor, ids: Sequence[str] | None) -> list[str]:
    """The given ids of the images, or a hash of the pixels of each image.

    Args:
        images: Images ``[B, C, H, W]``.
        ids: B different ids, or ``None``.

    Raises:
        InputError: If the number of ids differs from B, or an id occurs twice.
    """
    if ids is None:
        return [content_id(image) for image in images]
    if len(ids) != len(images) or len(set(ids)) < len(ids):
        raise InputError(f"ids must be {len(images)} different names, got {len(ids)} ({len(set(ids))} different)")
    return list(ids)
