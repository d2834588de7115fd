r"""How far a change of contrast and brightness can move a vote: the exact test of Neyman and Pearson.

Let :math:`h(x) = E f(e^k (x + b))` with independent :math:`k \sim N(0, s^2)`, :math:`b \sim N(0, t^2)` and f into [0,
1], and :math:`x' = e^{k_0} (x + b_0)`. Then :math:`e^k (x' + b) = e^{k_0 + k} (x + b_0 + e^{-k_0} b)`, so h(x') is the
mean of the same function under :math:`Q = N(k_0, s^2) \times N(b_0, e^{-2 k_0} t^2)` in place of
:math:`P = N(0, s^2) \times N(0, t^2)`.

*Neyman-Pearson.* For any set :math:`A = \{\log(dQ/dP) \le c\}`: if :math:`h(x) \ge P(A)`, then :math:`h(x') \ge Q(A)`.
∎

The log ratio is :math:`k_0 k / s^2` plus a quadratic function of b. So both probabilities are integrals over b of a
normal distribution function of a quadratic function, which is monotone on both sides of the vertex: sums over cells
enclose them.

Reference: Li et al., "TSS: Transformation-specific smoothing for robustness certification", CCS 2021, who use looser
rules.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from typing_extensions import override

from lit_certattr.budgets import neyman_pearson
from lit_certattr.budgets.neyman_pearson import Array, Mass, cells, enclosed
from lit_certattr.budgets.votes import VoteBounds

_ROUNDING = 1e-14
_STRONGEST = 20.0  # logarithm of the largest factor for which a bound is computed


class Law(NamedTuple):
    """The law of contrast and brightness.

    Attributes:
        log_contrast: Standard deviation s of the logarithm k of the factor.
        brightness: Standard deviation t of the amount b that is added.
    """

    log_contrast: float
    brightness: float


class Change(NamedTuple):
    r"""A change :math:`x \to e^{k_0} (x + b_0)`.

    Attributes:
        k0: Logarithm of the factor.
        b0: Amount that is added before.
    """

    k0: float
    b0: float


def _edge(law: Law, change: Change, c: float, b: Array) -> Array:
    """The k at which the log ratio is c, for each b; the ratio is below c on the side of smaller k0 * k."""
    s, t, (k0, b0) = law.log_contrast, law.brightness, change
    quadratic = (b * b - (b - b0) ** 2 * math.exp(2 * k0)) / (2 * t * t) + k0 - k0 * k0 / (2 * s * s)
    return np.asarray((c - quadratic) * s * s / k0)


def _mass_of(law: Law, change: Change) -> Mass:
    """Bounds of the probabilities of {log ratio <= c} under P and Q."""
    s, t, (k0, b0) = law.log_contrast, law.brightness, change
    sign = 1.0 if k0 > 0 else -1.0
    # The quadratic has its vertex where its derivative 2 b - 2 (b - b0) e^{2 k0} is zero; elsewhere cells are monotone.
    vertex = -b0 * math.exp(2 * k0) / -math.expm1(2 * k0)

    def mass(c: float, under_q: bool, count: int) -> tuple[float, float]:
        mean_k, mean_b, std_b = (k0, b0, t * math.exp(-k0)) if under_q else (0.0, 0.0, t)
        edges, masses = cells(count)

        def share(b: Array) -> Array:
            return np.asarray(ndtr(sign * (_edge(law, change, c, b) - mean_k) / s))

        values = share(mean_b + std_b * edges)
        low, high = np.minimum(values[:-1], values[1:]), np.maximum(values[:-1], values[1:])
        where = int(np.searchsorted(edges, (vertex - mean_b) / std_b)) - 1
        extreme = float(share(np.array([vertex]))[0])
        for cell in range(max(0, where - 1), min(len(masses), where + 2)):
            low[cell], high[cell] = min(low[cell], extreme), max(high[cell], extreme)
        return enclosed(masses, low, high)

    return mass


@lru_cache(maxsize=4096)
def needed_vote(law: Law, change: Change, level: float = 0.5) -> float:
    """The vote at the image that is enough for a level at the changed image, by default a majority; never too small.

    Args:
        law: The law of the noise.
        change: The change.
        level: Level in (0, 1).

    Returns:
        A vote from ``level`` to 1; 1 where nothing is proved.

    Example:
        >>> round(needed_vote(Law(0.2, 0.3), Change(0.0, 0.3)), 4)  # brightness alone: Phi(b0 / t)
        0.8413
    """
    if change.k0 == 0:
        return min(1.0, float(ndtr(ndtri(level) + abs(change.b0) / law.brightness)) * (1 + _ROUNDING))
    if abs(change.k0) > _STRONGEST or abs(change.b0) > 1e6 * law.brightness:
        return 1.0
    return neyman_pearson.needed_vote(_mass_of(law, change), level)


def lower_vote(law: Law, change: Change, vote: float) -> float:
    """The least vote at the changed image, never too large.

    Args:
        law: The law of the noise.
        change: The change.
        vote: Lower bound of the vote at the image, in [0, 1].
    """
    if change.k0 == 0:
        return float(ndtr(ndtri(vote) - abs(change.b0) / law.brightness)) * (1 - _ROUNDING)
    if not 0 < vote < 1 or abs(change.k0) > _STRONGEST:
        return float(vote == 1)
    return neyman_pearson.least_vote(_mass_of(law, change), vote)


def distance(law: Law, k0: float) -> float:
    r"""Bound of how much a change of contrast by at most :math:`e^{\pm k_0}` alone can move any vote.

    Pinsker's inequality with the divergence :math:`k_0^2 / (2 s^2) + (e^{-2 k_0} - 1) / 2 + k_0`, which grows with
    :math:`|k_0|` and is larger for negative :math:`k_0`.

    Args:
        law: The law of the noise.
        k0: Largest absolute logarithm of the factor.
    """
    divergence = k0 * k0 / (2 * law.log_contrast**2) + math.expm1(2 * k0) / 2 - k0
    return math.sqrt(max(0.0, divergence) / 2) * (1 + 1e-9)


@attrs.frozen
class AffineVotes(VoteBounds):
    r"""Votes when contrast and brightness change, by lengths :math:`t\, \Phi^{-1}(p)`, p the vote that a change needs.

    At a vote of at least p one half is left, by the definition of the length. The least vote is a convex function of
    the vote, 0 at 0 and at most 1 at 1. So of a vote :math:`L \ge p` at least :math:`L / (2 p)` is left, and of a
    smaller one at least :math:`[(1 - L) / 2 - (p - L)] / (1 - p)`; exact for majorities, loose elsewhere.

    Attributes:
        brightness: Standard deviation t of brightness in the noise.
    """

    brightness: float

    def _needed(self, radii: npt.ArrayLike) -> Array:
        return np.asarray(ndtr(np.asarray(radii, np.float64) / self.brightness) * (1 + _ROUNDING))

    @override
    def lower(self, vote: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
        given, needed = np.broadcast_arrays(np.asarray(vote, np.float64), self._needed(radii))
        small = ((1 - given) / 2 - (needed - given)) / np.maximum(1 - needed, 1e-300) - _ROUNDING
        large = given / (2 * needed) * (1 - _ROUNDING)
        return np.asarray(np.where(given >= needed, large, np.maximum(small, 0.0)))

    @override
    def reach(self, vote: float, level: float) -> float:
        needed = vote / (2 * level) if level >= 0.5 else ((1 + vote) / 2 - level) / (1 - level)
        return self.brightness * float(ndtri(needed))
