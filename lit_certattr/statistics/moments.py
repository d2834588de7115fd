"""Confidence bounds for the means of bounded variables, from two sums alone, for many variables at once."""

import numpy as np
import numpy.typing as npt
from scipy.special import lambertw

Array = npt.NDArray[np.float64]


def bennett_margin(second_moment: npt.ArrayLike, num_samples: int, level: float, bound: float) -> Array:
    r"""Largest excess of the mean of independent variables up to ``bound`` over its expectation (Bennett, 1962).

    With :math:`E X^2 \le v` and :math:`X \le B`, :math:`E e^{\lambda X} \le 1 + \lambda E X + v \psi(\lambda B)/B^2`,
    :math:`\psi(u) = e^u - 1 - u`, since :math:`\psi(u)/u^2` increases. Chernoff's method then gives
    :math:`P[\bar x - E X \ge \epsilon] \le \exp(-\frac{n v}{B^2} h(\epsilon B / v))`,
    :math:`h(u) = (1 + u)\ln(1 + u) - u`; the margin is the :math:`\epsilon` at which this probability is ``level``.
    Here v is the second moment about zero, not the variance.

    Args:
        second_moment: Upper bound v of the second moment, any shape, at least 0.
        num_samples: Number n of variables.
        level: Probability of a larger excess, in (0, 1).
        bound: Upper bound B of the variables, positive.

    Example:
        >>> round(float(bennett_margin(0.01, 1000, 0.001, 1.0)), 6)
        0.013881
    """
    v = np.asarray(second_moment, np.float64)
    with np.errstate(divide="ignore"):
        y = bound * bound * -np.log(level) / (num_samples * v)  # h(u) = y
    u = np.expm1(1 + np.real(lambertw((y - 1) / np.e)))
    return np.where(v > 0, v * np.where(v > 0, u, 0.0) / bound, 0.0)


def second_moment_upper(mean_square: npt.ArrayLike, num_samples: int, level: float, bound: float) -> Array:
    r"""Upper confidence bound for :math:`E X^2` of independent variables with :math:`|X| \le B`.

    :math:`Y = X^2 \ge 0` has :math:`E e^{-\lambda Y} \le 1 - \lambda v + \lambda^2 E Y^2 / 2` and
    :math:`E Y^2 \le B^2 v`, so :math:`v - \bar y \le B\sqrt{2 v \ln(1/\text{level}) / n}` except with
    probability at most ``level``. The bound is that inequality solved for v.

    Args:
        mean_square: Mean of the squares, any shape.
        num_samples: Number n of variables.
        level: Probability that the result is below the second moment, in (0, 1).
        bound: Largest absolute value B of a variable.

    Example:
        >>> round(float(second_moment_upper(0.01, 1000, 0.001, 1.0)), 6)
        0.030541
    """
    half = bound * np.sqrt(-np.log(level) / (2 * num_samples))
    return np.asarray((half + np.sqrt(np.asarray(mean_square, np.float64) + half * half)) ** 2)


def raw_moment_margin(mean_square: npt.ArrayLike, num_samples: int, level: float, bound: float) -> Array:
    r"""Two-sided margin of a mean from the mean of the squares: an empirical Bennett bound.

    :func:`bennett_margin` of :func:`second_moment_upper`, for X and for -X, at a third of the level each. Needs only
    the sums of X and of :math:`X^2`, and is much tighter than the bound of Maurer and Pontil where the expectation is
    small compared with the standard deviation, since the range enters only once.

    Args:
        mean_square: Mean of the squares, any shape.
        num_samples: Number n of independent variables.
        level: Probability that the mean is further from its expectation than the margin, in (0, 1).
        bound: Largest absolute value B of a variable.

    Example:
        >>> round(float(raw_moment_margin(0.01, 1000, 0.001, 1.0)), 6)
        0.025518
    """
    second = second_moment_upper(mean_square, num_samples, level / 3, bound)
    return bennett_margin(second, num_samples, level / 3, bound)
