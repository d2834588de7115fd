"""Tests of many pixels, or of many claims, at once."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lit_certattr.statistics.binomial import binomial_tail


def holm_threshold(histogram: npt.ArrayLike, num_samples: int, tau: float, alpha: float) -> int:
    r"""Holm's step-down test (1979) over a map, in O(n) from the histogram of its counts.

    All pixels with the same count have the same p-value :math:`P[\mathrm{Bin}(n, \tau) \ge c]`. The group of
    count ``c`` with ``r`` pixels above it is rejected if and only if all groups above it are, and its p-value is at
    most :math:`\alpha / (N - r)`. The result equals Holm's test on the sorted p-values, where equal p-values are
    decided together by the first of them. It keeps the family-wise error at ``alpha`` under any dependence between
    pixels.

    Args:
        histogram: ``histogram[c]`` is the number of pixels with count ``c``; length ``num_samples + 1``.
        num_samples: Number of draws ``n``.
        tau: Vote level under test.
        alpha: Family-wise error, in (0, 1).

    Returns:
        The smallest rejected count; ``n + 1`` when nothing is rejected.

    Example:
        >>> holm_threshold([0] * 90 + [4], 90, 0.75, 0.001)
        90
    """
    pixels = np.asarray(histogram)
    tails = binomial_tail(np.arange(num_samples + 1), num_samples, tau)
    remaining, threshold = int(pixels.sum()), num_samples + 1
    for count in range(num_samples, -1, -1):
        if pixels[count]:
            if tails[count] > alpha / remaining:
                break
            threshold = count
            remaining -= int(pixels[count])
    return threshold


def two_label_holm(histogram: npt.ArrayLike, num_samples: int, tau: float, alpha: float) -> int:
    r"""Holm's step-down test of *both* labels of every pixel at one vote level, on the same samples.

    A pixel has two labels with counts :math:`k_1 + k_0 \le n` and probabilities :math:`p_1 + p_0 \le 1`. The test
    claims that the label with the larger count c has a probability above ``tau``. With
    :math:`A(c) = P[\mathrm{Bin}(n, \tau) \ge c]` and :math:`B(c) = P[\mathrm{Bin}(n, 1 - \tau) \ge c]`, counts are
    taken downwards, and the pixels of count ``c`` with ``r`` pixels above it are claimed while
    :math:`(N - r) A(c) + N B(c) \le \alpha` and c > n/2.

    Theorem. The probability of any false claim is at most ``alpha``, under any dependence between pixels.

    Proof. Let :math:`N_0` be the number of pixels with :math:`p_1, p_0 \le \tau`, for which any claim is false; the
    others have one false label, of probability below :math:`1 - \tau`. Let :math:`k^*` be the smallest count
    above n/2 with :math:`N_0 A(k^*) + N B(k^*) \le \alpha`. Some false label has a count of at least :math:`k^*`
    with probability at most :math:`N_0 (A + B)(k^*) + (N - N_0) B(k^*) \le \alpha` (for :math:`p_1, p_0 \le \tau`
    the two tails are largest at :math:`(\tau, 1 - \tau)`, see
    :func:`~lit_certattr.statistics.two_label_test`). Otherwise suppose that a first false claim is made, at count
    c. The r pixels above were claimed rightly, so :math:`N - r \ge N_0`, and the rule gives
    :math:`N_0 A(c) + N B(c) \le \alpha`: then :math:`c \ge k^*`, a contradiction. ∎

    Args:
        histogram: ``histogram[c]`` is the number of pixels, over all levels, whose larger count is ``c``; length
            ``num_samples + 1``.
        num_samples: Number of draws ``n``.
        tau: Vote level in [1/2, 1).
        alpha: Probability of any false claim.

    Returns:
        The smallest claimed count; ``n + 1`` when nothing is claimed.

    Example:
        >>> two_label_holm([0] * 98 + [4000, 0, 1000], 100, 0.75, 0.001)
        98
    """
    pixels = np.asarray(histogram)
    counts = np.arange(num_samples + 1)
    own, other = binomial_tail(counts, num_samples, tau), binomial_tail(counts, num_samples, 1.0 - tau)
    total = int(pixels.sum())
    remaining, threshold = total, num_samples + 1
    for count in range(num_samples, num_samples // 2, -1):
        if pixels[count]:
            if remaining * own[count] + total * other[count] > alpha:
                break
            threshold = count
            remaining -= int(pixels[count])
    return threshold


def step_down_bounds(
    bounds: Sequence[Callable[[float], float]], thresholds: Sequence[float], levels: Sequence[float]
) -> list[float]:
    r"""Lower bounds of several means that hold together and agree with Holm's weighted step-down test.

    A mean passes where it is shown to be at least its threshold :math:`t_j`. Means that have passed hand their level
    on: the rest R is tested at :math:`\gamma_j A / \sum_{i \in R} \gamma_i`, with A the sum of all levels, until no
    more pass. A mean that passed gets the bound :math:`t_j`; one that did not, the bound at its last level. If all
    pass, each gets the larger one of :math:`t_j` and its bound at :math:`\gamma_j` (Strassburger & Bretz, 2008;
    Guilbaud, 2008).

    Theorem. With probability at least :math:`1 - A` no mean is below its bound, under any dependence.

    Proof. Let I be the means with :math:`\theta_j < t_j`. If I is empty, a bound of at most :math:`t_j` holds, and the
    bounds at :math:`\gamma_j` err with probability at most A together. Else, with probability at least
    :math:`1 - A`, the bounds of the means in I at :math:`\gamma_j A / \sum_{i \in I} \gamma_i` are all right. Then none
    of I passes: as long as R contains I, its levels are no larger than these, its bounds neither, and they are at most
    :math:`\theta_j < t_j`. So R contains I at the end, and the bounds of I are right for the same reason. All others
    are at most :math:`t_j \le \theta_j`. ∎

    Args:
        bounds: For each mean its lower confidence bound as a function of the level, which never decreases as the level
            grows.
        thresholds: The thresholds :math:`t_j`, fixed beforehand.
        levels: The levels :math:`\gamma_j`, fixed beforehand.

    Returns:
        One bound for each mean.

    Example:
        >>> linear = [lambda level: 0.4 + level, lambda level: 0.2 + level]
        >>> [round(bound, 6) for bound in step_down_bounds(linear, [0.44, 0.35], [0.05, 0.05])]
        [0.44, 0.3]
    """
    total, rest = math.fsum(levels) * (1 - 1e-12), list(range(len(bounds)))  # rounded down, since the parts are not
    found = list(thresholds)
    while rest:
        weight = math.fsum(levels[index] for index in rest)
        now = {index: bounds[index](levels[index] * total / weight) for index in rest}
        left = [index for index in rest if now[index] < thresholds[index]]
        if len(left) == len(rest):
            for index in rest:
                found[index] = now[index]
            return found
        rest = left
    return [max(threshold, bound(level)) for threshold, bound, level in zip(thresholds, bounds, levels, strict=True)]
