"""The geometry of a budget: steps, random starts, and a projection that holds to the last bit."""

import math

import torch
from torch import Tensor

from lit_certattr.attacks.config import Init, Norm

_SMALLEST = 1e-30
"""Keeps the direction of a zero gradient at zero."""


def exact_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 where a device has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def distance(images: Tensor, centres: Tensor, norm: Norm) -> Tensor:
    """Length of each perturbation, float64 ``[B]``.

    Args:
        images: Perturbed images ``[B, C, H, W]``.
        centres: Clean images, of the same shape.
        norm: ``"l2"`` or ``"linf"``.

    Example:
        >>> distance(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), "l2")
        tensor([2.], dtype=torch.float64)
    """
    dtype = exact_dtype(images.device)
    delta = (images.to(dtype) - centres.to(dtype)).flatten(1)
    lengths: Tensor = delta.norm(dim=1) if norm == "l2" else delta.abs().amax(1)
    return lengths


def ascent(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of unit length along which a score with this gradient ``[B, C, H, W]`` rises fastest."""
    if norm == "linf":
        return gradient.sign()
    direction: Tensor = gradient / gradient.flatten(1).norm(dim=1).clamp_min(_SMALLEST).view(-1, 1, 1, 1)
    return direction


def project(
    images: Tensor, centres: Tensor, eps: Tensor, norm: Norm, clamp: tuple[float, float] | None = None
) -> Tensor:
    """The images themselves where they lie in ball and box, points in both where not.

    Ball first, box second: clamping moves no coordinate away from a centre that lies in the box. Lengths are measured
    in float64 on the stored, rounded image: a floating-point sum of image and perturbation can leave the ball (at
    224x224 by 1e-5 of l2 length), so a point is pulled that much further in.

    Args:
        images: Images ``[B, C, H, W]``.
        centres: Centres of the balls, in the box, of the same shape.
        eps: Radii, float64 ``[B]``.
        norm: ``"l2"`` or ``"linf"``.
        clamp: The box; ``None`` for none.

    Returns:
        Images with ``distance(images, centres, norm) <= eps`` exactly.
    """
    radius = eps.view(-1, 1, 1, 1)
    if norm == "linf":
        wide = exact_dtype(images.device)
        exact = centres.to(wide)
        low, high = (exact - radius).to(images.dtype), (exact + radius).to(images.dtype)
        # The bounds, rounded into the ball.
        low = torch.where(exact - low.to(wide) > radius, torch.nextafter(low, centres), low)
        high = torch.where(high.to(wide) - exact > radius, torch.nextafter(high, centres), high)
        images = torch.minimum(torch.maximum(images, low), high)
        return images if clamp is None else images.clamp(*clamp)
    length = distance(images, centres, norm)
    share = (_reach(centres, eps) / length.clamp_min(_SMALLEST)).view_as(radius)
    pulled = centres + ((images - centres) * share).to(images.dtype)
    images = torch.where((length > eps).view_as(radius), pulled, images)
    images = images if clamp is None else images.clamp(*clamp)
    outside = (distance(images, centres, norm) > eps).view_as(radius)
    return torch.where(outside, centres, images)  # a budget below the resolution of the numbers


def _reach(centres: Tensor, eps: Tensor) -> Tensor:
    """The l2 length, below ``eps``, to which a point may be pulled so that no rounding takes it out of the ball."""
    unit = torch.finfo(centres.dtype).eps
    largest = centres.abs().flatten(1).amax(1).to(eps.dtype) + eps
    return (eps * (1 - 8 * unit) - unit / 2 * largest * math.sqrt(centres[0].numel())).clamp_min(0)


def random_start(centres: Tensor, eps: Tensor, norm: Norm, init: Init, generator: torch.Generator | None) -> Tensor:
    """Starting points of an attack, not yet projected; see :class:`AttackConfig` for the laws.

    Args:
        centres: Clean images ``[B, C, H, W]``.
        eps: Budgets, float64 ``[B]``.
        norm: ``"l2"`` or ``"linf"``.
        init: Law of the starting point.
        generator: On the device of the images; ``None`` for torch's global one.
    """

    def draw(kind: str) -> Tensor:
        sample = torch.randn if kind == "normal" else torch.rand
        return sample(centres.shape, dtype=centres.dtype, device=centres.device, generator=generator)

    radius = eps.view(-1, 1, 1, 1).to(centres.dtype)
    if init == "zero":
        return centres.clone()
    if init == "gaussian":
        return centres + 0.001 * draw("normal")
    if norm == "linf":
        delta = 2 * draw("uniform") - 1
        return centres + radius * (delta if init == "uniform" else torch.where(delta >= 0, 1.0, -1.0).to(delta.dtype))
    delta = draw("normal")
    delta = delta / delta.flatten(1).norm(dim=1).clamp_min(_SMALLEST).view(-1, 1, 1, 1)
    if init == "uniform":
        u = torch.rand(len(centres), dtype=centres.dtype, device=centres.device, generator=generator)
        delta = delta * (u ** (1 / centres[0].numel())).view(-1, 1, 1, 1)
    start: Tensor = centres + radius * delta
    return start
