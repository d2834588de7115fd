"""Shares of a whole, computed from the decimal number that the user wrote."""

import math
from fractions import Fraction
from functools import lru_cache


@lru_cache(maxsize=1024, typed=True)  # the same few shares for each image of a run
def exact_share(fraction: float, total: int) -> int:
    """``floor(fraction * total)`` without floating-point surprises: ``exact_share(0.29, 100)`` is 29, not 28.

    The fraction is read as the shortest decimal that prints it, which is what the user wrote.

    Args:
        fraction: Share in [0, 1].
        total: Number that is divided, at least 0.

    Example:
        >>> exact_share(0.1, 50176)
        5017
    """
    return math.floor(Fraction(str(fraction)) * total)
