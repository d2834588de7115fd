"""Confidence bounds for means of variables in [0, 1], and of bounded vectors."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

from lit_certattr.statistics.binomial import binomial_tail


def hoeffding_margin(num_samples: int, level: float) -> float:
    r"""Half-width :math:`\sqrt{\ln(1/\text{level}) / 2n}` of Hoeffding's one-sided bound for means in [0, 1].

    Args:
        num_samples: Number n of independent variables.
        level: Probability of a larger deviation, in (0, 1).

    Example:
        >>> round(hoeffding_margin(256, 0.05 / 20), 9)
        0.108176149
    """
    return math.sqrt(math.log(1.0 / level) / (2 * num_samples))


def chernoff_lower(mean: float, num_samples: int, level: float) -> float:
    r"""Chernoff's lower bound :math:`\min\{m \le \bar x : n\,\mathrm{kl}(\bar x, m) \le \ln(1/\text{level})\}`.

    Valid for independent variables in [0, 1], and never looser than Hoeffding's.

    Args:
        mean: Observed mean in [0, 1].
        num_samples: Number n of variables.
        level: Probability that the bound exceeds the expectation, in (0, 1).

    Returns:
        The bound, in [0, ``mean``].

    Example:
        >>> round(chernoff_lower(0.3, 500, 0.001), 9)
        0.22795746
    """
    return _smallest(mean, lambda m: math.exp(-num_samples * _kl(mean, m)) > level)


def hoeffding_bentkus_lower(mean: float, num_samples: int, level: float) -> float:
    r"""The better of two lower bounds: Chernoff's, and the one of Bentkus (2004), which compares with a binomial.

    :math:`P[\bar x \ge t] \le \min(e^{-n\,\mathrm{kl}(t, m)},\ e\,P[\mathrm{Bin}(n, m) \ge \lfloor n t \rfloor])`
    for independent variables in [0, 1] with mean m. Both decrease as m decreases, so the bound is found by bisection.

    Args:
        mean: Observed mean in [0, 1].
        num_samples: Number n of variables.
        level: Probability that the bound exceeds the expectation, in (0, 1).

    Returns:
        The bound, in [0, ``mean``].

    Example:
        >>> round(hoeffding_bentkus_lower(0.3, 500, 0.001), 9)
        0.233429989
    """
    count = math.floor(num_samples * mean + 1e-9)

    def plausible(m: float) -> bool:
        bentkus = math.e * float(binomial_tail(count, num_samples, m))
        return min(math.exp(-num_samples * _kl(mean, m)), bentkus) > level

    return _smallest(mean, plausible)


def empirical_bernstein_lower(values: npt.ArrayLike, level: float) -> float:
    r"""Empirical Bernstein bound (Maurer & Pontil, 2009) for independent values in [0, 1], at least two.

    :math:`\bar x - \sqrt{2 s^2 \ln(2/\text{level}) / n} - 7 \ln(2/\text{level}) / (3 (n - 1))`, with the unbiased
    variance :math:`s^2`.

    Args:
        values: Values ``[n]`` in [0, 1], n at least 2.
        level: Probability that the bound exceeds the expectation, in (0, 1).

    Returns:
        The bound, in [0, 1].

    Example:
        >>> round(empirical_bernstein_lower([0.25, 0.75] * 500, 0.001), 4)
        0.4514
    """
    x = np.asarray(values, np.float64)
    log_level = math.log(2 / level)
    deviation = math.sqrt(2 * float(x.var(ddof=1)) * log_level / x.size)
    return max(0.0, float(x.mean()) - deviation - 7 * log_level / (3 * (x.size - 1)))


def vector_margin(num_samples: int, level: float, diameter: float, variance: float = 1.0) -> float:
    r"""Radius of a ball around the mean of n independent vectors that holds their expectation.

    :math:`\sqrt{v/n} + D\sqrt{\ln(1/\text{level})/2n}` for vectors that lie at most D apart, by McDiarmid's
    inequality: exchanging one vector changes the distance by at most D/n, and its mean is at most
    :math:`\sqrt{v/n}`. The bound does not depend on the dimension.

    Args:
        num_samples: Number of vectors n.
        level: Probability that the expectation lies outside the ball, in (0, 1).
        diameter: Largest distance D between two vectors: 2 in the unit ball, sqrt(2) in its non-negative part.
        variance: Bound v of the mean squared distance from the expectation; 1 in the unit ball.

    Example:
        >>> round(vector_margin(1024, 0.001, 2.0), 6)
        0.147404
    """
    return math.sqrt(variance / num_samples) + diameter * hoeffding_margin(num_samples, level)


def _kl(mean: float, m: float) -> float:
    """Kullback-Leibler divergence of two coins."""
    return float(rel_entr(mean, m) + rel_entr(1 - mean, 1 - m))


def _smallest(mean: float, plausible: Callable[[float], bool]) -> float:
    """Rounded down: the smallest plausible m in [0, mean], where plausibility grows with m."""
    low, high = 0.0, mean
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if plausible(middle) else (middle, high)
    return low
