"""Exact binomial tails, confidence bounds and tests.

What depends on one count only should be tabulated over the ``num_samples + 1`` possible counts, never over the
pixels of a map.

Notation: ``n`` samples, ``k`` successes, ``level`` the probability of error that one test may spend.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import betainc, betaincinv

Array = npt.NDArray[np.float64]


def binomial_tail(count: npt.ArrayLike, num_samples: int, probability: npt.ArrayLike) -> Array:
    r"""Upper tail :math:`P[\mathrm{Bin}(n, p) \ge k]`.

    Computed as the regularised incomplete beta function :math:`I_p(k, n - k + 1)`, which keeps its relative
    precision far into the tail (no ``1 - cdf``).

    Args:
        count: Counts ``k``, any shape; values below 1 give 1 and values above ``num_samples`` give 0.
        num_samples: Number of draws ``n >= 1``.
        probability: Success probability ``p`` in [0, 1], broadcast against ``count``.

    Returns:
        Float64 array of probabilities.

    Example:
        >>> float(binomial_tail(2, 2, 0.5))
        0.25
    """
    k = np.asarray(count, np.float64)
    inside = np.clip(k, 1, num_samples)
    tail = betainc(inside, num_samples - inside + 1, np.asarray(probability, np.float64))
    return np.where(k <= 0, 1.0, np.where(k > num_samples, 0.0, tail))


def clopper_pearson_lower(count: npt.ArrayLike, num_samples: int, level: float) -> Array:
    r"""One-sided lower confidence bound of a probability (Clopper & Pearson, 1934).

    The :math:`p` with :math:`P[\mathrm{Bin}(n, p) \ge k] = \text{level}`; 0 for ``k = 0``. For every true
    :math:`p`, :math:`P[L(k) > p] \le \text{level}`.

    Args:
        count: Successes ``k`` in 0..n, any shape.
        num_samples: Number of draws ``n``.
        level: Probability of error in (0, 1).

    Example:
        >>> round(float(clopper_pearson_lower(50, 50, 1e-3)), 9)
        0.87096359
    """
    k = np.asarray(count, np.float64)
    inside = np.clip(k, 1, num_samples)
    return np.where(k <= 0, 0.0, betaincinv(inside, num_samples - inside + 1, level))


def clopper_pearson_upper(count: npt.ArrayLike, num_samples: int, level: float) -> Array:
    r"""One-sided upper confidence bound of a probability: one minus the lower bound of the failures.

    Args:
        count: Successes ``k`` in 0..n, any shape.
        num_samples: Number of draws ``n``.
        level: Probability of error in (0, 1); for every true p, ``P[U(k) < p] <= level``.

    Example:
        >>> round(float(clopper_pearson_upper(0, 50, 1e-3)), 9)
        0.12903641
    """
    return 1.0 - clopper_pearson_lower(num_samples - np.asarray(count), num_samples, level)


def clopper_pearson_interval(count: int, num_samples: int, confidence: float = 0.95) -> tuple[float, float]:
    r"""Two-sided exact interval of a probability, half of the error on each side (Clopper & Pearson, 1934).

    Args:
        count: Successes ``k`` in 0..n.
        num_samples: Number of draws ``n``; without draws the interval is [0, 1].
        confidence: Probability with which the interval holds the probability, in (0, 1).

    Returns:
        Lower and upper end, in [0, 1].

    Example:
        >>> tuple(round(end, 4) for end in clopper_pearson_interval(7, 10))
        (0.3475, 0.9333)
    """
    if num_samples == 0:
        return 0.0, 1.0
    level = (1.0 - confidence) / 2
    low, high = (bound(count, num_samples, level) for bound in (clopper_pearson_lower, clopper_pearson_upper))
    return float(low), float(high)


def smallest_significant_count(num_samples: int, tau: float, level: float) -> int:
    """Smallest ``k`` with ``P[Bin(n, tau) >= k] <= level``.

    Args:
        num_samples: Number of draws ``n >= 1``.
        tau: Success probability under test, in [0, 1].
        level: Probability of error of the test, in (0, 1).

    Returns:
        A count from 0 to n; ``n + 1`` if no count is significant.

    Example:
        >>> smallest_significant_count(90, 0.75, 0.001 / 50176)
        88
    """
    tails = binomial_tail(np.arange(num_samples + 1), num_samples, tau)
    significant = np.flatnonzero(tails <= level)
    return int(significant[0]) if significant.size else num_samples + 1


@lru_cache(maxsize=256)
def two_label_test(num_samples: int, tau: float, level: float) -> tuple[int, float]:
    r"""Exact test of *both* labels of a pixel on the same samples, with no samples spent on selection.

    A pixel has two labels with counts :math:`k_1 + k_0 \le n` and probabilities :math:`p_1 + p_0 \le 1`. Label
    c is given when :math:`k_c \ge k^*`, and its probability is then claimed to be at least the
    Clopper-Pearson bound :math:`L(k_c)` at level ``a``, which is at least ``tau``.

    Theorem. If :math:`k^* > n/2`, :math:`L(k^*) \ge \tau \ge 1/2` and
    :math:`a + P[\mathrm{Bin}(n, 1 - L(k^*)) \ge k^*] \le \text{level}`, the probability that any claim about
    the pixel is false is at most ``level``, whatever :math:`p_1, p_0` are.

    Proof. Let :math:`F(p) = P[k \ge k^*,\ L(k) > p]` for :math:`k \sim \mathrm{Bin}(n, p)`. A label with
    probability :math:`p` gets a false claim with probability :math:`F(p) \le a`, and for
    :math:`p \le L(k^*)` :math:`F(p) = P[\mathrm{Bin}(n, p) \ge k^*]`. The two labels fail with probability at
    most :math:`F(p_1) + F(p_0)`, largest on :math:`p_0 = 1 - p_1`. For :math:`p_1 \in [1/2, L(k^*)]` the sum
    increases in :math:`p_1`, since the Beta(k*, n-k*+1) density at :math:`p` is at least that at :math:`1 - p`;
    beyond :math:`L(k^*)` the first term stays :math:`\le a` and the second only decreases. (Below :math:`L(k^*)` F
    increases, so :math:`p_0 < 1 - p_1` only makes the sum smaller.) The supremum is
    :math:`a + P[\mathrm{Bin}(n, 1 - L(k^*)) \ge k^*]`. ∎

    The smallest such :math:`k^*` is taken, then the largest ``a``.

    Args:
        num_samples: Number of draws ``n``.
        tau: Vote level in [1/2, 1) that a label must be shown to reach.
        level: Probability of error for the pixel, both labels together.

    Returns:
        ``(threshold, a)``: the integer ``k*`` and the level of its Clopper-Pearson bounds. ``(n + 1, 0.0)``
        when no count is enough.

    Example:
        >>> two_label_test(100, 0.75, 0.001 / 50176)[0]
        96
    """
    counts = np.arange(num_samples // 2 + 1, num_samples + 1)
    error = binomial_tail(counts, num_samples, tau) + binomial_tail(counts, num_samples, 1.0 - tau)
    enough = np.flatnonzero(error <= level)
    if not enough.size:
        return num_samples + 1, 0.0
    threshold = int(counts[enough[0]])

    def excess(probability: float) -> float:
        """Error of the rule whose bound at the threshold is ``probability``, above the level."""
        tails = binomial_tail(threshold, num_samples, np.array([probability, 1.0 - probability]))
        return float(tails.sum()) - level

    # The error grows with the bound claimed at the threshold, so the largest bound within the level is a root;
    # the loop gives back the last ulps of the root finder.
    claimed = float(clopper_pearson_lower(threshold, num_samples, level))
    if excess(claimed) > 0:
        claimed = tau if excess(tau) >= 0 else float(brentq(excess, tau, claimed, xtol=1e-15))
    while claimed > tau and excess(claimed) > 0:
        claimed = max(tau, claimed - 1e-14)
    return threshold, float(binomial_tail(threshold, num_samples, claimed))


def smallest_sample_size(tau: float, level: float) -> int:
    """Fewest samples with which a unanimous pixel, one that votes the same in every sample, can be certified.

    It is the smallest ``n`` with ``tau**n + (1 - tau)**n <= level``.

    Args:
        tau: Vote level in [1/2, 1).
        level: Probability of error for the pixel, in (0, 1).

    Example:
        >>> smallest_sample_size(0.75, 0.001 / 50176)
        62
    """
    n = max(1, math.ceil(math.log(level) / math.log(tau)) - 1)
    while tau**n + (1.0 - tau) ** n > level:
        n += 1
    return n
