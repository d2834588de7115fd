"""Means over images of certified quantities; the classes of the same names accumulate them."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import HasNull, HasRadii, KeepsOverlap, LabelsPixels, offering
from lit_certattr.errors import InputError

LabelShare = Literal["certified", "one", "zero", "abstain", "null"]
Results = Result | Sequence[Result]


def certified_fraction(results: Results, radius: float = 0.0, level: int = 0, part: LabelShare = "certified") -> Tensor:
    """Share of the pixels that are certified at a radius, mean over images (%certified of Anani et al., 2025).

    It rewards empty maps: with pure noise, most pixels are not in a small top K, and these count as certified
    unimportant. Compare it with ``part="null"``, the value for independent random maps, or use
    :func:`certified_one_share`.

    Args:
        results: One result with labels of pixels, or one per image.
        radius: Budget in pixel l2 units; a label counts if its radius is larger. At 0 every label counts.
        level: Which of the certificate's ``top_k`` levels.
        part: ``"certified"``, its parts ``"one"`` (important) and ``"zero"`` (unimportant), the rest
            ``"abstain"``, or the baseline ``"null"``.

    Returns:
        Scalar in [0, 1].

    Raises:
        InputError: If an argument is out of range, or a result is of another kind.

    Example:
        >>> from lit_certattr.certificates import PixelCertificate
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> certificate = PixelCertificate(top_k=[0.5], alpha=0.01)
        >>> accumulator = certificate.start(GaussianNoise(sigma=0.25), (1, 2))
        >>> accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(100, 1, 2))
        >>> certified_fraction(accumulator.compute(), radius=0.1)
        tensor(1.)
    """
    return _mean(results, fraction_of(radius, level, part))


def certified_one_share(results: Results, radius: float = 0.0, level: int = 0) -> Tensor:
    """Certified-important pixels as a share of K, mean over images.

    Unlike :func:`certified_fraction`, it is not high for an empty map. It may exceed 1, since more than K pixels can
    be in the top K of most noisy maps: with probabilities that add up to K, fewer than K / tau of them exceed tau.

    Args:
        results: One result with labels of pixels, or one per image.
        radius: Budget in pixel l2 units.
        level: Which of the certificate's ``top_k`` levels.

    Returns:
        Scalar, 0 or more; below 2 for certificates with ``tau=0.5``, the default.

    Raises:
        InputError: As :func:`certified_fraction`.
    """
    return _mean(results, one_share_of(radius, level))


def mean_certified_radius(results: Results, level: int = 0) -> Tensor:
    """Certified radius, mean over pixels (0 where the certificate abstains) and images.

    Args:
        results: One result with labels of pixels, or one per image.
        level: Which of the certificate's ``top_k`` levels.

    Returns:
        Scalar, in pixel l2 units.

    Raises:
        InputError: As :func:`certified_fraction`.
    """
    return _mean(results, radius_of(level))


def certified_overlap(results: Results, radius: float = 0.0, norm: str = "l2") -> Tensor:
    """Certified top-K overlap as a share of K at a radius, mean over images (Levine et al., 2019).

    Args:
        results: One result with an overlap, or one per image.
        radius: Budget in pixel units.
        norm: Norm of the budget; results whose radii have another are refused.

    Returns:
        Scalar in [0, 1].

    Raises:
        InputError: If the radius is negative, or a result is of another kind or norm.
    """
    return certified_overlap_curve(results, [radius], norm)[0]


def certified_overlap_curve(results: Results, radii: Sequence[float], norm: str = "l2") -> Tensor:
    """Certified top-K overlap as a share of K at several radii, mean over images.

    Args:
        results: One result with an overlap, or one per image.
        radii: Budgets in pixel units.
        norm: Norm of the budgets; results whose radii have another are refused.

    Returns:
        One share in [0, 1] a radius, ``[len(radii)]``.

    Raises:
        InputError: As :func:`certified_overlap`.
    """
    return _mean(results, overlap_of(radii, norm))


def fraction_of(radius: float, level: int, part: LabelShare) -> Callable[[Result], Tensor]:
    """The function that computes the value of one image for :func:`certified_fraction`.

    Args:
        radius: Perturbation budget in pixel units, at least 0.
        level: Index of the K in the certificate's ``top_k``, from 0.
        part: Which labels are counted.

    Raises:
        InputError: If an argument is out of range.
    """
    check_radius(radius), check_level(level)
    if part not in get_args(LabelShare):
        raise InputError(f"part must be one of {', '.join(get_args(LabelShare))}, got {part!r}")

    def value(result: Result) -> Tensor:
        labels = at_level(result, level).labels_at(radius)[level]
        if part == "null":
            null: HasNull = offering(result, HasNull)
            return null.null_shares(radius)["certified"][level]
        one, zero = ((labels == label).double().mean() for label in (1, 0))
        return {"one": one, "zero": zero, "certified": one + zero, "abstain": 1 - one - zero}[part]

    return value


def one_share_of(radius: float, level: int) -> Callable[[Result], Tensor]:
    """The function that computes the value of one image for :func:`certified_one_share`.

    Args:
        radius: Perturbation budget in pixel units, at least 0.
        level: Index of the K in the certificate's ``top_k``, from 0.
    """
    check_radius(radius), check_level(level)

    def value(result: Result) -> Tensor:
        pixel = at_level(result, level)
        labels = pixel.labels_at(radius)[level]
        return (labels == 1).double().mean() * labels.numel() / pixel.sizes[level]

    return value


def radius_of(level: int) -> Callable[[Result], Tensor]:
    """The function that computes the value of one image for :func:`mean_certified_radius`.

    Args:
        level: Index of the K in the certificate's ``top_k``, from 0.
    """
    check_level(level)

    def value(result: Result) -> Tensor:
        at_level(result, level)  # checks
        radii: HasRadii = offering(result, HasRadii)
        return radii.pixel_radii()[level].double().mean()

    return value


def overlap_of(radii: Sequence[float], norm: str = "l2") -> Callable[[Result], Tensor]:
    """The function that computes the values of one image for :func:`certified_overlap_curve`.

    Args:
        radii: Perturbation budgets in pixel units, at least 0.
        norm: Norm of the budgets.

    Raises:
        InputError: If there is no radius, or one is out of range.
    """
    if not len(radii):
        raise InputError("radii must name at least one radius")
    radii = [check_radius(radius) for radius in radii]

    def value(result: Result) -> Tensor:
        overlap: KeepsOverlap = offering(result, KeepsOverlap)
        if result.radius_norm != norm:
            raise InputError(f"needs a result with {norm} radii, got one with {result.radius_norm} radii")
        shares = [overlap.overlap(radius) / overlap.certified_count(radius)[1] for radius in radii]
        return torch.tensor(shares, dtype=torch.float64)

    return value


def as_list(results: Result | Sequence[Result]) -> list[Result]:
    """One result or several, as a list.

    Args:
        results: One result or several.
    """
    return [results] if isinstance(results, Result) else list(results)


def at_level(result: Result, level: int) -> LabelsPixels:
    """Check that a result labels pixels at this level, and return it.

    Args:
        result: Result of a certificate.
        level: Index of the K in the certificate's ``top_k``, from 0.

    Raises:
        InputError: If the result labels no pixels, or has no such level.
    """
    pixel: LabelsPixels = offering(result, LabelsPixels)
    if level >= len(pixel.sizes):
        raise InputError(f"level {level} is unknown: the result has levels 0 to {len(pixel.sizes) - 1}")
    return pixel


def check_radius(radius: float) -> float:
    """Check a radius and return it as a float.

    Args:
        radius: Perturbation budget in pixel units, at least 0.

    Raises:
        InputError: If it is not a finite number of at least 0.
    """
    if not (math.isfinite(radius) and radius >= 0):
        raise InputError(f"radius must be a finite number, not negative, got {radius}")
    return float(radius)


def check_level(level: int) -> int:
    """Check a level and return it.

    Args:
        level: Index of the K in the certificate's ``top_k``, from 0.

    Raises:
        InputError: If it is not a whole number of at least 0.
    """
    if isinstance(level, bool) or not isinstance(level, int) or level < 0:
        raise InputError(f"level must be an index into top_k, 0 or more, got {level!r}")
    return level


def _mean(results: Result | Sequence[Result], value: Callable[[Result], Tensor]) -> Tensor:
    values = [value(result) for result in as_list(results)]
    if not values:
        raise InputError("needs at least one result")
    return torch.stack(values).mean(0).float()
