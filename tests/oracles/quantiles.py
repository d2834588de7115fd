"""Intervals of shifted quantiles: order statistics for one distance, Kolmogorov's exact band for all of them."""

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import kstwo

from lit_certattr.statistics import quantile_lower_rank, quantile_upper_rank, shift

Array = npt.NDArray[np.float64]

_ROUNDING = 1e-12  # of a sum of probabilities; it moves a rank to the safe side


def kolmogorov_band(num_samples: int, level: float) -> float:
    r"""The d with :math:`P[\sup_y |F_n(y) - F(y)| > d] = \text{level}`, exact for every n and continuous F.

    Conservative for distributions with ties (Kolmogorov, 1933; the law for finite n as in SciPy's ``kstwo``).

    Args:
        num_samples: Number of independent values n.
        level: Probability of error in (0, 1).

    Example:
        >>> round(kolmogorov_band(200, 0.05), 9)
        0.095157876
    """
    return float(kstwo.isf(level, num_samples))


def shifted_quantile_interval(
    values: npt.ArrayLike, shift_over_sigma: float, level: float, probability: float = 0.5
) -> tuple[float, float]:
    r"""Interval that holds the p-quantile of a number at every input within one distance.

    Theorem (Chiang et al., 2020, lemma 1). Let :math:`q_p(x)` be the p-quantile of :math:`g(x + \sigma Z)`. For
    :math:`\|\delta\|_2 \le r\sigma`, :math:`q_{lo}(x) \le q_p(x + \delta) \le q_{hi}(x)` with
    :math:`lo, hi = \Phi(\Phi^{-1}(p) \mp r)`. Both quantiles are bounded by order statistics, at ``level / 2`` each.

    Args:
        values: n independent values of :math:`g(x + \sigma Z)`, any real numbers, ``[n]``.
        shift_over_sigma: The distance r, at least 0; fixed before the values are seen.
        level: Probability that the interval is wrong.
        probability: Order p of the quantile, in (0, 1); 0.5 for the median.

    Returns:
        Lower and upper end; infinite if n values are too few.

    Example:
        >>> shifted_quantile_interval(range(100), 0.0, 0.05)
        (39.0, 60.0)
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n = ordered.size
    low = quantile_lower_rank(n, float(shift(probability, -shift_over_sigma)), level / 2)
    high = quantile_upper_rank(n, float(shift(probability, shift_over_sigma)), level / 2)
    return _at_rank(ordered, low), _at_rank(ordered, high)


def shifted_quantile_curve(
    values: npt.ArrayLike, shifts_over_sigma: npt.ArrayLike, level: float, probability: float = 0.5
) -> tuple[Array, Array]:
    r"""Intervals for all distances at once at the error of one, from a band around the whole distribution.

    With probability at least 1 - ``level`` :math:`|F_n - F| \le d` everywhere (:func:`kolmogorov_band`), and then
    :math:`q_{lo} \ge \inf\{y : F_n(y) + d \ge lo\}` and :math:`q_{hi} \le \inf\{y : F_n(y) - d \ge hi\}` for every
    probability, so the theorem of :func:`shifted_quantile_interval` holds at all distances, also at distances that are
    chosen after the values are seen.

    Args:
        values: n independent values of :math:`g(x + \sigma Z)`, any real numbers, ``[n]``.
        shifts_over_sigma: Distances r, at least 0, ``[m]``.
        level: Probability that any of the intervals is wrong.
        probability: Order p of the quantile, in (0, 1); 0.5 for the median.

    Returns:
        Lower and upper ends, float64 ``[m]`` each; infinite where n values are too few for the distance.

    Example:
        >>> low, high = shifted_quantile_curve(range(200), [0.0, 0.5], 0.05)
        >>> low.tolist(), high.tolist()
        ([80.0, 42.0], [119.0, 157.0])
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n, band = ordered.size, kolmogorov_band(ordered.size, level)
    low, high = [], []
    for distance in np.atleast_1d(np.asarray(shifts_over_sigma, np.float64)).tolist():
        below, above = float(shift(probability, -distance)), float(shift(probability, distance))
        low.append(_at_rank(ordered, max(0, math.ceil(n * (below - band - _ROUNDING)))))
        high.append(_at_rank(ordered, min(n + 1, math.ceil(n * (above + band + _ROUNDING)))))
    return np.asarray(low), np.asarray(high)


def _at_rank(ordered: Array, rank: int) -> float:
    """The value of a rank; minus infinity for rank 0, infinity for rank n + 1."""
    if rank < 1:
        return -math.inf
    return float(ordered[rank - 1]) if rank <= ordered.size else math.inf
