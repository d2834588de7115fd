r"""How far an exposure *and* a rest in l2 can move a majority: what rounding and clipping leave of a real exposure.

Let :math:`h(x) = E f(x\, 2^c + \sigma z)` with :math:`c \sim N(0, \tau^2)`, z standard normal and f into [0, 1], and
:math:`x' = x\, 2^a + r`. With :math:`C = c + a` a noisy copy of x' is
:math:`x\, 2^C + \sigma (z + 2^{C - a} r / \sigma)`: the same function of (C, y) as one of x, where
:math:`y = z + 2^{C - a} r / \sigma`. Only the component of y along r is moved, so h(x') is the mean of one function
into [0, 1] under Q: :math:`C \sim N(a, \tau^2)`, :math:`y \mid C \sim N(\mu, 1)` with
:math:`\mu = 2^{C - a} \|r\|_2 / \sigma`, in place of P: :math:`C \sim N(0, \tau^2)`, :math:`y \sim N(0, 1)`. The test
of Neyman and Pearson gives the bound. ∎ A random gain multiplies a rest too, so this is no ball: the bound is for the
particular pair (a, r).

Given C, the log ratio :math:`(a C - a^2/2) / \tau^2 + \mu y - \mu^2/2` is linear in y. So both probabilities are
integrals over C of a normal distribution function of :math:`n / \mu \pm \mu / 2` with n linear and :math:`\mu`
monotone in C, whose range over a cell follows from its ends.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri

from lit_certattr.budgets import neyman_pearson
from lit_certattr.budgets.neyman_pearson import Mass, cells, enclosed

_ROUNDING = 1e-14
_LARGEST = 1e3  # a and rest, in standard deviations, beyond which nothing is proved


@lru_cache(maxsize=4096)
def needed_vote(spread: float, stops: float, rest: float) -> float:
    """The vote at the image that is enough for a majority at the changed image, never too small.

    Args:
        spread: Standard deviation tau of the exposure in the noise, in stops.
        stops: The exposure a of the change, in stops.
        rest: l2 norm of the rest r over the standard deviation sigma of the pixel noise.

    Returns:
        A vote in [1/2, 1]; 1 where nothing is proved.

    Example:
        >>> round(needed_vote(0.5, 0.5, 0.0), 3), round(needed_vote(0.5, 0.5, 0.5), 3)
        (0.841, 0.87)
    """
    if rest == 0:
        return min(1.0, float(ndtr(abs(stops) / spread)) * (1 + _ROUNDING))
    if not (abs(stops) <= _LARGEST * spread and rest <= _LARGEST):
        return 1.0
    return neyman_pearson.needed_vote(_mass_of(spread, stops, rest))


def _mass_of(spread: float, stops: float, rest: float) -> Mass:
    """Bounds of the probabilities of {log ratio <= c} under P and Q."""

    def mass(c: float, under_q: bool, count: int) -> tuple[float, float]:
        edges, masses = cells(count)
        mean, sign = (stops, -1.0) if under_q else (0.0, 1.0)
        gain = mean + spread * edges
        with np.errstate(over="ignore", under="ignore"):
            shift = np.clip(rest * np.exp2(gain - stops), 1e-200, 1e200)
        linear = c - (stops * gain - stops * stops / 2) / (spread * spread)
        ends = linear[:-1], linear[1:]
        over = [end / other for end in ends for other in (shift[:-1], shift[1:])]
        half = sign * shift / 2
        low = np.minimum.reduce(over) + np.minimum(half[:-1], half[1:])
        high = np.maximum.reduce(over) + np.maximum(half[:-1], half[1:])
        return enclosed(masses, ndtr(low), ndtr(high))

    return mass


def length_for_majorities(spread: float, stops: float, rest: float) -> float:
    """The exposure alone, in stops, that moves a majority as far as an exposure and a rest; infinity if none does.

    Args:
        spread: Standard deviation of the exposure in the noise, in stops.
        stops: The exposure of the change, in stops.
        rest: l2 norm of the rest over the standard deviation of the pixel noise.
    """
    needed = needed_vote(spread, stops, rest)
    return spread * float(ndtri(needed)) * (1 + 1e-12) if needed < 1 else math.inf
