"""The test of Neyman and Pearson by enclosures: probabilities are sums over cells that bound them from both sides."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr

Array = npt.NDArray[np.float64]
Mass = Callable[[float, bool, int], tuple[float, float]]
"""Lower and upper bound of the probability of {log(dQ/dP) <= c}, given ``(c, under_q, edges)``."""

_SPAN = 9.0  # standard deviations of the cells; 2.3e-19 of the mass lies outside
_OUTSIDE = 1e-18
_FAST, _FINE = 4_001, 400_001  # edges of the cells: to seek c, and to prove
_SLACKS = (1e-5, 3e-4, 1e-2)  # by how much c is sought on the safe side, until the proof succeeds
_SUM = 1e-10  # more than a sum over the cells is off by, relative
_WIDEST = 1e12  # largest c that is tried


@lru_cache(maxsize=4)
def cells(count: int) -> tuple[Array, Array]:
    """Cells of the standard normal law.

    Args:
        count: Number of edges.

    Returns:
        The edges ``[count]``, and the mass of each cell ``[count - 1]``.
    """
    edges = np.linspace(-_SPAN, _SPAN, count)
    return edges, np.diff(ndtr(edges))


def enclosed(mass: Array, low: Array, high: Array) -> tuple[float, float]:
    """Bounds of a mean over the normal law of a function into [0, 1].

    Args:
        mass: Mass of each cell.
        low: At most the function, in each cell.
        high: At least the function, in each cell.
    """
    return float(mass @ low) * (1 - _SUM), float(mass @ high) * (1 + _SUM) + _OUTSIDE


def needed_vote(mass: Mass, level: float = 0.5) -> float:
    """The vote under P that is enough for a level under Q, by default a majority; never too small.

    For any c: a function into [0, 1] with a mean of at least P(log ratio <= c) under P has a mean of at least
    Q(log ratio <= c) under Q (Neyman & Pearson). So every c proves something; a good one is sought by fast sums.

    Args:
        mass: Bounds of the probabilities.
        level: Level in (0, 1).

    Returns:
        A vote from ``level`` to 1; 1 where nothing is proved.
    """
    for slack in _SLACKS:
        c = _level(mass, True, level + slack * min(level, 1 - level))
        if c is not None and mass(c, True, _FINE)[0] >= level:
            return float(np.clip(mass(c, False, _FINE)[1], level, 1.0))
    return 1.0


def least_vote(mass: Mass, vote: float) -> float:
    """The least vote under Q, never too large.

    Args:
        mass: Bounds of the probabilities.
        vote: Lower bound of the vote under P, in (0, 1).
    """
    for slack in _SLACKS:
        c = _level(mass, False, vote - slack * min(vote, 1 - vote))
        if c is not None and mass(c, False, _FINE)[1] <= vote:
            return mass(c, True, _FINE)[0]
    return 0.0


def _level(mass: Mass, under_q: bool, goal: float) -> float | None:
    """About the c at which a probability is a goal; ``None`` if it is beyond all limits."""

    def off(c: float) -> float:
        return sum(mass(c, under_q, _FAST)) / 2 - goal

    end = 1.0
    while off(-end) > 0 or off(end) < 0:
        end *= 2
        if end > _WIDEST:
            return None
    return float(brentq(off, -end, end, xtol=1e-12))
