"""Rank correlation of smoothed maps: a pixel may move a little before its rank does."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_certattr.devices import wide
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.correlation import spearman
from lit_certattr.metrics.functional.kendall_tau import kendall
from lit_certattr.metrics.functional.pairs import checked_rows
from lit_certattr.metrics.functional.windows import check_window

Padding = Literal["symmetric", "paper"]


def smoothed_maps(maps: Tensor, window: int, padding: Padding = "symmetric") -> Tensor:
    r"""Mean over the window of each pixel: :math:`\tilde a_{ij} = (2w+1)^{-2} \sum_{N_w(i,j)} a_{pq}`.

    ``"symmetric"`` mirrors the map at its edges (d c b a | a b c d | d c b a), so a mean is one of 2w + 1 squared
    values everywhere. ``"paper"`` counts pixels outside as zero, as the formula of Kamath et al. (2024) says: it
    darkens the border of *both* maps, and independent maps then correlate (see ``docs/metrics.md``). Neither can
    increase the l2 distance of two maps: both are linear with operator norm at most 1 (the symmetric one is doubly
    stochastic; zero padding drops terms of it). A mean over only the pixels inside could, and is not offered.

    Sums are of float64 values in a fixed order and without subtraction, so what ties exactly, such as windows of
    zeros, still ties.

    Args:
        maps: ``[..., H, W]``, finite.
        window: w, in pixels.
        padding: ``"symmetric"`` or ``"paper"``.

    Returns:
        Float64 ``[..., H, W]`` (float32 on devices without float64).

    Raises:
        InputError: If a value is not finite or a setting is out of range.

    Example:
        >>> smoothed_maps(torch.ones(2, 2), 1).tolist(), smoothed_maps(torch.ones(1, 2), 1, "paper")[0, 0].item() * 9
        ([[1.0, 1.0], [1.0, 1.0]], 2.0)
    """
    side = 2 * check_window(window) + 1
    check_padding(padding)
    rows = wide(checked_rows(maps)).unflatten(1, maps.shape[-2:])
    if padding == "symmetric":
        padded = rows[:, _mirrored(maps.shape[-2], window, maps)][:, :, _mirrored(maps.shape[-1], window, maps)]
    else:
        padded = F.pad(rows, (window, window, window, window))
    columns = F.avg_pool2d(padded[:, None], (side, 1), stride=1, divisor_override=1)
    sums = F.avg_pool2d(columns, (1, side), stride=1, divisor_override=1)
    return (sums / side**2).view(maps.shape)


def lens_spearman(clean: Tensor, perturbed: Tensor, window: int = 1, padding: Padding = "symmetric") -> Tensor:
    """LENS-Spearman (Kamath et al., 2024): Spearman correlation of the :func:`smoothed_maps` over all pixels.

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, same shape.
        window: w, in pixels; 0 is :func:`spearman`.
        padding: ``"symmetric"``, or ``"paper"`` for zeros.

    Returns:
        Float32 ``[...]`` in [-1, 1]; NaN where a smoothed map is constant.

    Raises:
        InputError: As :func:`smoothed_maps`, or if the shapes differ.

    Example:
        >>> clean, perturbed = torch.zeros(5, 5), torch.zeros(5, 5)
        >>> clean[2, 1], perturbed[2, 2] = 1, 1
        >>> lens_spearman(clean, perturbed, window=0), lens_spearman(clean, perturbed, window=1, padding="paper")
        (tensor(-0.0417), tensor(0.4792))
    """
    return spearman(smoothed_maps(clean, window, padding), smoothed_maps(perturbed, window, padding))


def lens_kendall(clean: Tensor, perturbed: Tensor, window: int = 1, padding: Padding = "symmetric") -> Tensor:
    """LENS-Kendall (Kamath et al., 2024): Kendall's tau-b of the :func:`smoothed_maps` over all pixels.

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, same shape.
        window: w, in pixels; 0 is :func:`kendall`.
        padding: ``"symmetric"``, or ``"paper"`` for zeros.

    Returns:
        Float32 ``[...]`` in [-1, 1]; NaN where a smoothed map is constant.

    Raises:
        InputError: As :func:`smoothed_maps`, or if the shapes differ.
    """
    return kendall(smoothed_maps(clean, window, padding), smoothed_maps(perturbed, window, padding))


def check_padding(padding: str) -> None:
    """Refuse an unknown padding.

    Args:
        padding: Name of the padding.

    Raises:
        InputError: If there is no such padding.
    """
    if padding not in get_args(Padding):
        raise InputError(f"padding must be one of {', '.join(get_args(Padding))}, got {padding!r}")


def _mirrored(side: int, window: int, like: Tensor) -> Tensor:
    """Indices of the padded side: period 2 * side, the second half read backwards, so any window fits any map."""
    index = torch.arange(-window, side + window, device=like.device) % (2 * side)
    return torch.minimum(index, 2 * side - 1 - index)
