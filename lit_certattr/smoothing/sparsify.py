"""Sparsifiers turn a map into a map in [0, 1] that a certificate can count or average.

Each uses one map alone (never the clean map, never other maps of the batch), so the function that is smoothed is
fixed, as the theorems require.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lit_certattr.devices import values_are_free
from lit_certattr.errors import InputError
from lit_certattr.settings import real_number
from lit_certattr.smoothing.ranking import Ranking
from lit_certattr.statistics import exact_share

Ties = Literal["index", "positive"]


def top_k_size(top_k: float, num_pixels: int) -> int:
    """Number of pixels that ``top_k`` selects.

    Args:
        top_k: Share of the pixels (``0.25``; rounded down) or number of pixels (``200``).
        num_pixels: Number of pixels of the map.

    Raises:
        InputError: If ``top_k`` is neither a share nor a whole number, or would select no pixel or all pixels.

    Example:
        >>> top_k_size(0.1, 50176), top_k_size(200, 784)
        (5017, 200)
    """
    real_number("top_k", top_k)
    if isinstance(top_k, float) and top_k == 1:
        raise InputError("top_k=1.0 would select one pixel, not all of them; it must be a share below 1, or a count")
    if not (0 < top_k < 1 or (math.isfinite(top_k) and int(top_k) == top_k)):
        raise InputError(f"top_k must be a share in (0, 1) or a whole number of pixels, got {top_k}")
    size = exact_share(top_k, num_pixels) if 0 < top_k < 1 else int(top_k)
    if not 1 <= size < num_pixels:
        raise InputError(
            f"top_k={top_k} selects {size} of {num_pixels} pixels; it must select at least 1 and leave out at least 1"
        )
    return size


def _at_least(flat: Tensor, threshold: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Mask of the ``size`` pixels at or above the threshold of each row, and the number of pixels tied across it."""
    if not values_are_free(flat):
        return break_ties(flat, threshold, size)
    values, at = flat.numpy(), threshold.numpy()  # NumPy compares and counts faster, and asking for ties is free
    selected, tied = values >= at, np.zeros(len(values), np.int64)
    if np.count_nonzero(selected) != size * len(values):
        for row, mask in enumerate(selected):
            if (surplus := np.count_nonzero(mask) - size) > 0:
                equal = np.flatnonzero(values[row] == at[row])
                mask[equal[-surplus:]] = False
                tied[row] = len(equal)
    return torch.from_numpy(selected), torch.from_numpy(tied)


def votes_without_ties(flat: Tensor, thresholds: Tensor, sizes: Sequence[int]) -> Tensor | None:
    """Votes for several sizes from one comparison, if no row has a tie and the values can be read without waiting.

    Args:
        flat: Maps as rows ``[B, N]``.
        thresholds: Smallest selected value of each row and size, ``[B, K]``.
        sizes: K numbers of pixels to select, each from 1 to N.

    Returns:
        Number of rows that select each pixel, int32 ``[K, N]``; ``None`` if a row has a tie or the values are not on
            the CPU.
    """
    if not values_are_free(flat) or max(sizes) == flat.shape[1]:  # all pixels of a constant map are no tie
        return None
    selected = flat.numpy() >= thresholds.numpy().T[:, :, None]
    if np.count_nonzero(selected) != sum(sizes) * len(flat):
        return None
    votes = np.zeros((len(sizes), flat.shape[1]), np.int32)
    most = np.iinfo(np.uint8).max  # bytes add up several times faster than wider integers
    for first in range(0, len(flat), most):
        votes += selected[:, first : first + most].view(np.uint8).sum(1, dtype=np.uint8)
    return torch.from_numpy(votes)


def break_ties(flat: Tensor, threshold: Tensor, size: int | Tensor) -> tuple[Tensor, Tensor]:
    """Mask of the ``size`` pixels at or above the threshold of each row; ties are taken in the order of the index.

    Never waits for the device.

    Args:
        flat: Maps as rows ``[B, N]``.
        threshold: Smallest selected value of each row, ``[B, 1]``.
        size: Number of pixels to select, or one number per row ``[B, 1]``.

    Returns:
        Boolean mask ``[B, N]``, and the number ``[B]`` of pixels tied across the threshold.
    """
    at = flat == threshold
    above = flat > threshold
    room = size - above.sum(1, keepdim=True, dtype=torch.int32)
    num_at = at.sum(1, keepdim=True, dtype=torch.int32)
    mask = above | (at & (at.cumsum(1, dtype=torch.int32) <= room))
    return mask, torch.where(num_at > room, num_at, 0).squeeze(1).long()


def top_k_mask(maps: Tensor, sizes: int | Sequence[int], ties: Ties = "index") -> Tensor:
    """Masks of the largest pixels of each map, for several sizes from one pass.

    Exactly ``size`` pixels are selected; pixels that tie at the threshold are taken in the order of their flat
    index, so the rule is deterministic on every device. Percentile rules do not have a fixed
    size: on a map with 84 % zeros and K = 50 %, ``>= threshold`` selects all pixels and ``> threshold`` only 16 %.

    Args:
        maps: Maps ``[..., H, W]``, any float type, finite.
        sizes: Number of pixels to select, or several numbers.
        ties: ``"index"`` as above; ``"positive"`` drops selected pixels whose value is not above 0
            (the rule of Levine et al., 2019), so fewer than ``size`` may remain.

    Returns:
        Boolean masks ``[K, ..., H, W]`` for a sequence of sizes, ``[..., H, W]`` for one size.

    Example:
        >>> top_k_mask(torch.tensor([[3.0, 1.0], [1.0, 1.0]]), 2).int().tolist()
        [[1, 1], [0, 0]]
    """
    flat = flatten_maps(maps)
    several = [sizes] if isinstance(sizes, int) else sizes
    thresholds = Ranking(flat).largest(several).split(1, dim=1)
    masks = [_at_least(flat, *rule)[0] for rule in zip(thresholds, several, strict=True)]
    if ties == "positive":
        masks = [mask & (flat > 0) for mask in masks]
    return masks[0].view(maps.shape) if isinstance(sizes, int) else torch.stack(masks).view(len(several), *maps.shape)


def flatten_maps(maps: Tensor) -> Tensor:
    """Maps ``[..., H, W]`` as rows ``[B, H * W]`` of a dtype that NumPy supports, with the same order of values.

    Args:
        maps: Maps ``[..., H, W]`` of any dtype.
    """
    if not torch.is_floating_point(maps):
        maps = maps.double()
    elif maps.dtype in (torch.float16, torch.bfloat16):
        maps = maps.float()
    return maps.detach().reshape(-1, maps.shape[-2] * maps.shape[-1])


def select(flat: Tensor, threshold: Tensor, size: int, ties: Ties) -> tuple[Tensor, Tensor]:
    """Mask ``[B, N]`` of the top ``size`` pixels of each row, and the number ``[B]`` of pixels tied across it.

    Args:
        flat: Maps as rows ``[B, N]``.
        threshold: Smallest selected value of each row, ``[B, 1]``.
        size: Number of pixels to select, from 1 to N.
        ties: See :func:`top_k_mask`.
    """
    mask, tied = _at_least(flat, threshold, size)
    return mask & (flat > 0) if ties == "positive" else mask, tied


def relaxed_top_k(maps: Tensor, size: int, saturation: int = 1) -> Tensor:
    r"""Relaxed sparsified map (Levine et al., 2019): :math:`\min(|a_j| / a_{(\gamma n)}, 1)` on the top pixels.

    One on the ``saturation`` largest pixels, proportional to the value below them, zero outside the ``size``
    largest. ``saturation = 1`` divides by the map's own maximum.

    Args:
        maps: Maps ``[..., H, W]``; their absolute value is ranked.
        size: Number of pixels that stay non-zero.
        saturation: Number of pixels that saturate at 1, from 1 to ``size``.

    Returns:
        Maps in [0, 1]; a map with fewer than ``saturation`` non-zero pixels becomes zero.

    Raises:
        InputError: If ``saturation`` is not in 1..``size``.

    Example:
        >>> relaxed_top_k(torch.tensor([[4.0, -2.0], [1.0, 0.0]]), size=2).tolist()
        [[1.0, 0.5], [0.0, 0.0]]
    """
    if not 1 <= saturation <= size:
        raise InputError(f"saturation must lie in 1..size={size}, got {saturation}")
    magnitude = maps.abs()
    reference = magnitude.flatten(-2).topk(saturation, dim=-1).values[..., -1, None, None]
    scaled = (magnitude / torch.where(reference > 0, reference, torch.inf)).clamp(max=1)
    return scaled * top_k_mask(magnitude, size, ties="positive")


def scaled_map(maps: Tensor) -> Tensor:
    """Scaled map ``|a| / max |a|`` in [0, 1] (Levine et al., 2019); a map of zeros stays zero.

    Args:
        maps: Maps ``[..., H, W]``.

    Example:
        >>> scaled_map(torch.tensor([[4.0, -2.0]])).tolist()
        [[1.0, 0.5]]
    """
    magnitude = maps.abs()
    return magnitude / peaks(magnitude)


def peaks(sizes: Tensor) -> Tensor:
    """What :func:`scaled_map` divides by: the largest value of each map; 1 for a map of zeros.

    Args:
        sizes: Maps of absolute values ``[..., H, W]``.

    Returns:
        ``[..., 1, 1]``.
    """
    peak = sizes.amax((-2, -1), keepdim=True)
    return torch.where(peak > 0, peak, 1)


def quadratic_map(maps: Tensor) -> Tensor:
    """Quadratic map ``a^2 / max a^2`` in [0, 1] (Levine et al., 2019); a map of zeros stays zero.

    Args:
        maps: Maps ``[..., H, W]``.

    Example:
        >>> quadratic_map(torch.tensor([[4.0, -2.0]])).tolist()
        [[1.0, 0.25]]
    """
    return scaled_map(maps).square()
