"""From counts to certified top-K overlaps: pure functions, one per theorem."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from lit_certattr.errors import InputError
from lit_certattr.statistics import (
    clopper_pearson_lower,
    exact_share,
    hoeffding_bentkus_lower,
    hoeffding_margin,
)

Array = npt.NDArray[np.float64]
Bound = Literal["clopper_pearson", "one_number", "published_hoeffding"]
Rule = Callable[[Array, Array], Array]
"""From lower and upper bounds ``[N]`` to displacement radii ``[K]``."""


def displacement_radii(lower: npt.ArrayLike, upper: npt.ArrayLike, inside: npt.ArrayLike, sigma: float) -> Array:
    r"""Radii at which the adversary can displace the first, second, ... K-th pixel of the top-K set.

    Theorem. Let :math:`h(x) = E f(x + \sigma Z)` with :math:`f` in [0, 1] per pixel,
    :math:`l_j \le h_j(x) \le u_j`, and S a set of K pixels. Sort the lower bounds in S upwards,
    :math:`l_{(1)} \le l_{(2)} \le \dots`, and the upper bounds outside S downwards. If
    :math:`\|\delta\|_2 < \rho_m = \frac{\sigma}{2}(\Phi^{-1}(l_{(m)}) - \Phi^{-1}(u_{(m)}))`, at most
    :math:`m - 1` pixels of S are missing from the top K of :math:`h(x + \delta)`.

    Proof. By Neyman-Pearson :math:`h_j(x + \delta) \in [\Phi(\Phi^{-1}(l_j) - r), \Phi(\Phi^{-1}(u_j) + r)]` with
    :math:`r = \|\delta\|/\sigma`. If m pixels of S are missing, m outsiders are in; one of the missing insiders has a
    lower bound of at least :math:`l_{(m)}`, one of the m outsiders an upper bound of at most :math:`u_{(m)}`, yet the
    outsider ranks no lower. This requires :math:`\rho_m \le \|\delta\|`. ∎ (Rank form:
    Levine et al., 2019; box form and tightness over all f with these means: docs/certificates.md.)

    With ``lower = upper = h(x)`` this is the rule for the exact means.

    Args:
        lower: Lower bounds ``[N]`` in [0, 1].
        upper: Upper bounds ``[N]`` in [0, 1].
        inside: Mask ``[N]`` of S, with K ones.
        sigma: Standard deviation of the noise.

    Returns:
        Float64 ``[K]``, increasing; ``inf`` where there is no outsider left to swap in, ``-inf`` for pixels that
        are not certified even without a perturbation.

    Example:
        >>> h = [0.91, 0.72, 0.55, 0.40, 0.31, 0.22, 0.15, 0.08, 0.05, 0.02]
        >>> radii = displacement_radii(h, h, np.arange(10) < 4, sigma=0.1)
        >>> int((radii > 0.03).sum())
        3
    """
    inside = np.asarray(inside, bool)
    insiders = np.sort(ndtri(np.asarray(lower, np.float64)[inside]))
    outsiders = np.sort(ndtri(np.asarray(upper, np.float64)[~inside]))[::-1]
    pairs = min(insiders.size, outsiders.size)
    radii = np.full(insiders.size, np.inf)
    low, high = insiders[:pairs], outsiders[:pairs]
    with np.errstate(invalid="ignore"):
        radii[:pairs] = np.where(low > high, sigma / 2 * (low - high), -np.inf)  # ties go to the adversary
    return radii


def displacement_radii_from_mass(share: float, size: int, sigma: float) -> Array:
    r"""The same radii from one number: the mean share of S among the top K of a noisy map.

    Theorem. Let :math:`f` be 0/1 masks of at most K pixels, S a set of K pixels, and
    :math:`E |S \cap f(x + \sigma Z)| / K \ge o`. For :math:`\|\delta\|_2 \le r\sigma` let
    :math:`c = \Phi(\Phi^{-1}(o) - r)`. At most :math:`2K(1 - c)` pixels of S are missing from the top K of
    :math:`h(x + \delta)`, so fewer than m for
    :math:`\|\delta\|_2 < \sigma(\Phi^{-1}(o) - \Phi^{-1}(1 - m / 2K))`.

    Proof. The share is one function with values in [0, 1], so its mean stays at least c (Neyman-Pearson). At
    :math:`x + \delta` let m pixels of S be missing; m outsiders are then no lower than any of them. With t the
    smallest value of those outsiders, :math:`m t` is at most the mass outside S, :math:`K(1 - c)`; and the mass of S
    is at most :math:`K - m + m t`. So :math:`K c \le K - m + K(1 - c)`. ∎

    Args:
        share: Lower bound ``o`` in [0, 1] of the mean share.
        size: K.
        sigma: Standard deviation of the noise.

    Returns:
        Float64 ``[K]``, increasing; ``-inf`` for pixels that are not certified even without a perturbation.

    Example:
        >>> int((displacement_radii_from_mass(0.85, 20, sigma=1.0) > 0.2).sum())
        12
    """
    missing = np.arange(1, size + 1)
    radii = sigma * (ndtri(share) - ndtri(1 - missing / (2 * size)))
    return np.where(radii > 0, radii, -np.inf)


def uncovered_sizes(shares: Sequence[float], size: int) -> tuple[int, ...]:
    """Numbers of bounds that may fail, one per statement; :func:`overlap_radii` explains them.

    Args:
        shares: Shares of K, in [0, 1).
        size: K.

    Returns:
        Different numbers of pixels, increasing. A number for which the share of alpha is too small to gain anything is
        left out: with M statements, the bounds of a statement in which v may fail get (v + 1) / M of the level.
    """
    counts = sorted({exact_share(share, size) for share in shares})
    return tuple(v for v in counts if v == counts[0] or v + 1 > len(counts))


def overlap_radii(
    votes: npt.NDArray,
    inside: npt.NDArray,
    num_samples: int,
    sigma: float,
    alpha: float,
    bound: Bound = "clopper_pearson",
    fixed_set: bool = False,
    uncovered: Sequence[int] = (0,),
    rule: Rule | None = None,
) -> Array:
    r"""Radii at which pixels of S can be displaced, from the counts of i.i.d. masks; all hold at once.

    Let N pixels have counts of ``num_samples`` i.i.d. masks with means :math:`h_j(x)`.

    ``"clopper_pearson"`` takes the exact binomial bound of each pixel. S that was chosen on the same counts needs
    both sides of every pixel (2N bounds); a *fixed* S, chosen on other samples, one side of each (N bounds).
    Bounds may also be allowed to fail. Lemma: changing v coordinates of the maps at :math:`x` and at
    :math:`x + \delta` lowers the overlap of their top-K sets by at most v (one at a time; each change swaps at most
    one pixel). With 2N bounds at level :math:`a = \alpha (v + 1) / 2N` the expected number of failures is at most
    :math:`\alpha (v + 1)`, so more than v pixels fail with probability at most :math:`\alpha` (Markov), whatever
    the dependence; the overlap is then at least the overlap from the bounds minus v. ``uncovered`` names several v,
    which share alpha equally; all of their statements hold together, so the best one at each radius holds too.

    ``"one_number"`` (a fixed S, masks of at most K pixels) bounds the mean share of S in the masks by the
    Hoeffding-Bentkus inequality at level alpha, with no union over pixels; see
    :func:`displacement_radii_from_mass`.

    ``"published_hoeffding"`` is the rule of the authors, with Hoeffding's bound for all 2N sides.

    Bounds of pixels are turned into radii by Neyman and Pearson's lemma (:func:`displacement_radii`), or by the theorem
    ``rule`` about the same bounds.

    Args:
        votes: Integer counts ``[N]``.
        inside: Mask ``[N]`` of S, with K ones.
        num_samples: Number of masks counted.
        sigma: Standard deviation of the noise.
        alpha: Probability that any radius is false.
        bound: Name of the bound.
        fixed_set: Whether S does not depend on these counts.
        uncovered: Numbers of pixels in 0..K-1 whose bounds may fail.
        rule: Theorem that turns bounds of pixels into radii; ``None`` is :func:`displacement_radii`.

    Returns:
        Float64 ``[K]``, increasing: fewer than m pixels of S are displaced below the m-th radius.

    Raises:
        InputError: If ``bound`` is unknown.
    """
    if bound not in get_args(Bound):
        raise InputError(f"bound must be one of {', '.join(get_args(Bound))}, got {bound!r}")
    size, pixels = int(inside.sum()), votes.size
    if bound == "one_number":
        best = displacement_radii_from_mass(share_lower(votes, inside, num_samples, alpha), size, sigma)
    else:
        rule = rule or (lambda lower, upper: displacement_radii(lower, upper, inside, sigma))
        best = np.full(size, -np.inf)
        sides = 1 if fixed_set else 2
        for v in uncovered:
            level = alpha * (v + 1) / (len(uncovered) * sides * pixels)
            lower, upper = bound_tables(num_samples, level, bound)
            radii = rule(lower[votes], upper[votes])
            best = np.maximum(best, np.r_[np.full(v, -np.inf), radii[: size - v]])
    best[size - max(0, 2 * size - pixels) :] = np.inf  # two sets of K of N pixels share 2K - N
    return best


def share_lower(votes: npt.NDArray, inside: npt.NDArray, num_samples: int, level: float) -> float:
    """Lower confidence bound of the mean share of S among the top K of a noisy map.

    The share of one map is a mean of 0/1 values that are not independent, so the bound for variables in [0, 1] is used
    (:func:`~lit_certattr.statistics.hoeffding_bentkus_lower`), not the binomial one.

    Args:
        votes: Integer counts ``[N]`` of masks of at most K pixels.
        inside: Mask ``[N]`` of S, with K ones, that does not depend on these counts.
        num_samples: Number of masks counted.
        level: Probability that the bound is above the mean.
    """
    mean = int(votes[inside].sum()) / (int(inside.sum()) * num_samples)
    return hoeffding_bentkus_lower(mean, num_samples, level)


@lru_cache(maxsize=64)
def bound_tables(num_samples: int, level: float, bound: Bound) -> tuple[Array, Array]:
    """Lower and upper bound of a mean, each false with probability ``level``, for the ``num_samples + 1`` counts.

    Args:
        num_samples: Number of masks counted.
        level: Probability that a single bound is false.
        bound: ``"published_hoeffding"`` for Hoeffding's bounds, else exact binomial ones.

    Returns:
        Two arrays, float64 ``[num_samples + 1]``, indexed by the count.
    """
    counts = np.arange(num_samples + 1)
    if bound == "published_hoeffding":
        margin = hoeffding_margin(num_samples, level)
        share = counts / num_samples
        return np.clip(share - margin, 0, 1), np.clip(share + margin, 0, 1)
    lower = clopper_pearson_lower(counts, num_samples, level)
    return lower, 1.0 - lower[::-1]
