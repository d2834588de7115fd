"""Locality-sensitive overlap that a certificate guarantees: the worst case over all sets that it allows."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import HasMajority, offering
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.certified import as_list, at_level, check_level, check_radius
from lit_certattr.metrics.functional.windows import check_window, neighbourhood


def worst_lens_recall(reference: Tensor, kept: Tensor, possible: Tensor, window: int, size: int | None = None) -> float:
    r"""Smallest LENS recall :math:`|T \cap N_w(S)| / |T|` of the sets T that a certificate allows; exact.

    T is any set with :math:`P^+ \subseteq T \subseteq V`. Proof: pixels of :math:`V \setminus P^+` far from S lower the
    ratio and those near S do not, so the worst T takes all the far ones it has room for. With ``size`` T has exactly
    that many pixels, and only when the far ones run out are near ones taken.

    An empty T has recall 0 by definition (0/0): it locates nothing. So the result is 0 wherever no pixel is certain to
    be in T. With the other convention, 1, the result would be 1 without any information as soon as the neighbourhood of
    S covers V, and pure noise, all of whose pixels are certified unimportant, would get a perfect score.

    Args:
        reference: S, boolean ``[H, W]``.
        kept: P+, the pixels certain to be in T, boolean ``[H, W]``.
        possible: V, the pixels that may be in T, boolean ``[H, W]``; holds P+.
        window: w, in pixels.
        size: Number of pixels of T; ``None`` for any number.

    Returns:
        A share in [0, 1]; 0 if T may be empty.

    Raises:
        InputError: If P+ is not in V, or no set of that size lies between them.
    """
    near = neighbourhood(reference, window)
    if bool((kept & ~possible).any()):
        raise InputError("kept must be a part of possible")
    sure, near_sure = int(kept.sum()), int((kept & near).sum())
    far = int((possible & ~kept & ~near).sum())
    if size is None:
        return near_sure / (sure + far) if sure else 0.0
    if not max(sure, 1) <= size <= int(possible.sum()):
        raise InputError(f"size={size}, but sets have {max(sure, 1)} to {int(possible.sum())} pixels")
    return (near_sure + max(0, size - sure - far)) / size


def worst_lens_precision(reference: Tensor, kept: Tensor, window: int) -> float:
    r"""Smallest LENS precision :math:`|S \cap N_w(T)| / |S|` of the sets T that hold :math:`P^+`.

    :math:`T = P^+` attains it, since more pixels never cover less. Where T must have more pixels than that it is a
    lower bound, attained if enough of the others cover nothing new of S.

    Args:
        reference: S, boolean ``[H, W]``, not empty.
        kept: P+, boolean ``[H, W]``.
        window: w, in pixels.

    Raises:
        InputError: If S is empty.
    """
    if not bool(reference.any()):
        raise InputError("reference must have at least one pixel")
    return int((reference & neighbourhood(kept, window)).sum()) / int(reference.sum())


def certified_sets(result: Result, radius: float, level: int) -> tuple[Tensor, Tensor, Tensor]:
    """S, P+ and V of a pixel certificate at a radius, boolean ``[H, W]`` each; see :func:`certified_lens_recall`.

    Args:
        result: Result of a pixel certificate.
        radius: Perturbation budget in pixel units, at least 0.
        level: Index of the K in the certificate's ``top_k``, from 0.
    """
    labels = at_level(result, level).labels_at(radius)[level]
    released: HasMajority = offering(result, HasMajority)
    return released.majority()[level], labels == 1, labels != 0


def certified_lens_recall(
    results: Result | Sequence[Result], radius: float = 0.0, window: int = 1, level: int = 0
) -> Tensor:
    r"""Lower bound on the LENS recall under all perturbations up to a radius, mean over images.

    Let :math:`M(\delta)` be the pixels that the majority of the noisy maps of the perturbed image puts in their top K,
    and S the released estimate of :math:`M(0)` (more than half of the samples). A pixel certificate shows
    :math:`P^+ \subseteq M(\delta) \subseteq V` for all :math:`\delta` up to ``radius`` at once, with :math:`P^+` the
    pixels certified important beyond the radius and V those not certified unimportant. So at least this share of
    the pixels of *any* :math:`M(\delta)` is within ``window`` pixels of S, with the certificate's confidence; no
    further test is made. An empty :math:`M(\delta)` counts as 0, so the value is 0 unless a pixel is certified
    important. (:math:`M(\delta)` need not have K pixels, and it is not the top K of the mean votes,
    of which the certificate says less: neither inclusion holds for that.)

    Args:
        results: One result with labels of pixels, or one per image.
        radius: Budget in pixel l2 units.
        window: w: distance that a pixel may move, in pixels.
        level: Which of the certificate's ``top_k`` levels.

    Returns:
        Scalar in [0, 1].

    Raises:
        InputError: If an argument is out of range, or a result is of another kind.

    Reference: Kamath, Mittal, Deshpande, Balasubramanian, "Rethinking robustness of model attributions", AAAI 2024
    (the metric; that paper's "recall" is the share of the *perturbed* set).
    """
    return _mean(results, lens_recall_of(radius, window, level))


def certified_lens_precision(
    results: Result | Sequence[Result], radius: float = 0.0, window: int = 1, level: int = 0
) -> Tensor:
    r"""Lower bound on the LENS precision under all perturbations up to a radius, mean over images.

    At least this share of S is within ``window`` pixels of :math:`M(\delta)`, for all :math:`\delta` up to ``radius``
    at once; see :func:`certified_lens_recall`. An empty S counts as 0.

    Args:
        results: One result with labels of pixels, or one per image.
        radius: Budget in pixel l2 units.
        window: w: distance that a pixel may move, in pixels.
        level: Which of the certificate's ``top_k`` levels.

    Returns:
        Scalar in [0, 1].

    Raises:
        InputError: If an argument is out of range, or a result is of another kind.
    """
    return _mean(results, lens_precision_of(radius, window, level))


def lens_recall_of(radius: float, window: int, level: int) -> Callable[[Result], Tensor]:
    """The function that computes the value of one image for :func:`certified_lens_recall`.

    Args:
        radius: Perturbation budget in pixel units, at least 0.
        window: Largest distance in pixels, along rows and columns, at least 0.
        level: Index of the K in the certificate's ``top_k``, from 0.
    """
    check_radius(radius), check_window(window), check_level(level)

    def value(result: Result) -> Tensor:
        return torch.tensor(worst_lens_recall(*certified_sets(result, radius, level), window), dtype=torch.float64)

    return value


def lens_precision_of(radius: float, window: int, level: int) -> Callable[[Result], Tensor]:
    """The function that computes the value of one image for :func:`certified_lens_precision`.

    Args:
        radius: Perturbation budget in pixel units, at least 0.
        window: Largest distance in pixels, along rows and columns, at least 0.
        level: Index of the K in the certificate's ``top_k``, from 0.
    """
    check_radius(radius), check_window(window), check_level(level)

    def value(result: Result) -> Tensor:
        reference, kept, _ = certified_sets(result, radius, level)
        share = worst_lens_precision(reference, kept, window) if bool(reference.any()) else 0.0
        return torch.tensor(share, dtype=torch.float64)

    return value


def _mean(results: Result | Sequence[Result], value: Callable[[Result], Tensor]) -> Tensor:
    values = [value(result) for result in as_list(results)]
    if not values:
        raise InputError("needs at least one result")
    return torch.stack(values).mean().float()
