"""The geometry of a budget: steps, random starts, and a projection that holds to the last bit."""

import math

import torch
from torch import Tensor

from lit_certattr.attacks.config import Init, Norm
from lit_certattr.devices import exact_dtype

_SMALLEST = 1e-30
"""Keeps the direction of a zero gradient at zero."""
_FIT_STEPS = 4
"""Steps of :func:`fit`; on digits the lengths are then right to six decimals."""


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
    """The direction of unit length along which a score with this gradient increases fastest, ``[B, C, H, W]``.

    Args:
        gradient: Gradients ``[B, C, H, W]`` of a score.
        norm: ``"l2"`` or ``"linf"``.
    """
    if norm == "linf":
        return gradient.sign()
    direction: Tensor = gradient / gradient.flatten(1).norm(dim=1).clamp_min(_SMALLEST).view(-1, 1, 1, 1)
    return direction


def project(
    images: Tensor, centres: Tensor, eps: Tensor, norm: Norm, clamp: tuple[float, float] | None = None
) -> Tensor:
    """Move images into ball and box; an image that lies in both stays unchanged.

    Ball first, box second: clamping moves no coordinate away from a centre that lies in the box. Lengths are measured
    in float64 on the stored, rounded image: a floating-point sum of image and perturbation can leave the ball (at
    224x224 by 1e-5 of l2 length), so a point is moved that much further inside.

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
    share = (reach_of(centres, eps) / length.clamp_min(_SMALLEST)).view_as(radius)
    pulled = centres + ((images - centres) * share).to(images.dtype)
    images = torch.where((length > eps).view_as(radius), pulled, images)
    images = images if clamp is None else images.clamp(*clamp)
    outside = (distance(images, centres, norm) > eps).view_as(radius)
    return torch.where(outside, centres, images)  # a budget below the resolution of the numbers


def reach_of(centres: Tensor, eps: Tensor) -> Tensor:
    """The l2 length, below ``eps``, to which a point may be pulled so that no rounding takes it out of the ball.

    Args:
        centres: Centres of the balls ``[B, C, H, W]``.
        eps: Radii, float64 ``[B]``.
    """
    unit = torch.finfo(centres.dtype).eps
    largest = centres.abs().flatten(1).amax(1).to(eps.dtype) + eps
    return (eps * (1 - 8 * unit) - unit / 2 * largest * math.sqrt(centres[0].numel())).clamp_min(0)


def fit(delta: Tensor, centres: Tensor, lengths: Tensor, box: tuple[float, float] | None, *, grow: bool) -> Tensor:
    r"""Perturbations ``clip(s * delta)`` inside the box with given l2 lengths, with one factor s per image.

    Clipping alone shortens a perturbation: on images with black background, half of its coordinates leave the box. The
    factor s compensates for that. With ``grow=False`` (s is at most 1) this is the Euclidean projection onto the
    intersection of ball and box. s is found from below, as the clipped coordinates are fixed and the others solved for,
    so no step overshoots; a few are enough.

    Args:
        delta: Perturbations ``[B, C, H, W]``.
        centres: Clean images in the box, of the same shape.
        lengths: Desired l2 lengths, ``[B]``.
        box: Smallest and largest value of a pixel; ``None`` for no box.
        grow: Whether perturbations that are too short are made longer. If the box does not allow the length, the
            result is its corner.

    Example:
        >>> clean = torch.tensor([[[[0.0, 0.5]]]])
        >>> fit(torch.tensor([[[[-3.0, 1.0]]]]), clean, torch.tensor([0.4]), (0.0, 1.0), grow=True)
        tensor([[[[0.0000, 0.4000]]]])
    """
    delta = delta.to(torch.promote_types(delta.dtype, torch.float32))
    wanted = lengths.view(-1, 1, 1, 1).to(delta.dtype)
    squares = delta.square()

    def total(values: Tensor) -> Tensor:
        return values.flatten(1).sum(1).view_as(wanted)

    most = torch.inf if grow else 1.0
    factor = (wanted / total(squares).sqrt().clamp_min(_SMALLEST)).clamp_max(most)
    if box is None:
        return factor * delta
    low, high = box[0] - centres.to(delta.dtype), box[1] - centres.to(delta.dtype)
    for _ in range(_FIT_STEPS):
        clipped = (factor * delta).clamp(low, high)
        free = clipped == factor * delta
        room = (wanted.square() - total(clipped.square() * ~free)).clamp_min(0)
        factor = torch.maximum(factor, (room / total(squares * free).clamp_min(_SMALLEST)).sqrt()).clamp_max(most)
    return (factor * delta).clamp(low, high)


def random_start(
    centres: Tensor,
    eps: Tensor,
    norm: Norm,
    init: Init,
    generator: torch.Generator | None,
    box: tuple[float, float] | None = None,
) -> Tensor:
    """Starting points of an attack, not yet projected; see :class:`AttackConfig` for the laws.

    Args:
        centres: Clean images ``[B, C, H, W]``.
        eps: Budgets, float64 ``[B]``.
        norm: ``"l2"`` or ``"linf"``.
        init: Law of the starting point.
        generator: Random generator on the device of the images; ``None`` for torch's global one.
        box: If given, l2 starting points have the drawn length *inside* this box, see :func:`fit`; without it a later
            clipping makes them shorter.
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
    share = torch.ones(len(centres), dtype=centres.dtype, device=centres.device)
    if init == "uniform":
        u = torch.rand(len(centres), dtype=centres.dtype, device=centres.device, generator=generator)
        share = u ** (1 / centres[0].numel())
    if box is not None:
        return centres + fit(delta, centres, eps * share, box, grow=True).to(centres.dtype)
    delta = delta * share.view(-1, 1, 1, 1)
    start: Tensor = centres + radius * delta
    return start
