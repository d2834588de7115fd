"""Tests of many pixels at once."""

import numpy as np
import numpy.typing as npt

from lit_certattr.statistics.binomial import binomial_tail


def holm_threshold(histogram: npt.ArrayLike, num_samples: int, tau: float, alpha: float) -> int:
    r"""Holm's step-down test (1979) over a map, in O(n) from the histogram of its counts.

    All pixels with the same count have the same p-value :math:`P[\mathrm{Bin}(n, \tau) \ge c]`; the group of
    count ``c`` with ``r`` pixels above it is rejected iff its p-value is at most :math:`\alpha / (N - r)`. The
    result equals Holm on the sorted p-values, equal p-values decided together by the first of them, and keeps
    the family-wise error at ``alpha`` under any dependence between pixels.

    Args:
        histogram: ``histogram[c]`` is the number of pixels with count ``c``; length ``num_samples + 1``.
        num_samples: Number of draws ``n``.
        tau: Vote level under test.
        alpha: Family-wise error.

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
