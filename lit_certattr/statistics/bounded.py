"""Confidence bounds for means of variables in [0, 1]."""

import math


def hoeffding_margin(num_samples: int, level: float) -> float:
    r"""Half-width :math:`\sqrt{\ln(1/\text{level}) / 2n}` of Hoeffding's one-sided bound for means in [0, 1].

    Example:
        >>> round(hoeffding_margin(256, 0.05 / 20), 9)
        0.108176149
    """
    return math.sqrt(math.log(1.0 / level) / (2 * num_samples))
