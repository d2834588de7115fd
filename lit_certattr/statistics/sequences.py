r"""Confidence sequences: bounds for a probability that hold at all sample sizes at once.

A fixed-n bound holds at one sample size that was chosen in advance. If it is computed repeatedly and sampling stops as
soon as the bound is good enough, the probability of error is far above the level. The bounds here may be computed at
any sample size, as often as wanted. They depend on the count and the number of samples alone, so a table over the
``num_samples + 1`` counts serves a map.

There are two kinds: a *mixture* (Krichevsky-Trofimov), valid at every single sample, and a *union* over few looks, each
with its share of the error and an exact bound (Clopper-Pearson). At looks that double, the union is the tighter one.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import betaincc, betaln, xlog1py, xlogy

from lit_certattr.statistics.binomial import Array, clopper_pearson_lower

_STEPS = 60  # halvings; more than the 53 bits of a float64


def kt_interval(count: npt.ArrayLike, num_samples: int, level: float) -> tuple[Array, Array]:
    r"""Two-sided confidence sequence for a probability from the Krichevsky-Trofimov mixture.

    :math:`M_n(p) = B(k + \frac12, n - k + \frac12) / (\pi p^k (1-p)^{n-k})` is a likelihood ratio against the
    Beta(1/2, 1/2) mixture: a martingale of mean 1 at the true p. By Ville's inequality it ever reaches
    :math:`1/\text{level}` with probability at most ``level``. The interval is :math:`\{p: M_n(p) < 1/\text{level}\}`.

    Args:
        count: Successes ``k`` in 0..n, any shape.
        num_samples: Draws ``n`` so far.
        level: Probability that the interval misses p at *any* n, both sides together.

    Returns:
        Lower and upper bound, float64, each rounded outwards by a bisection.

    Example:
        >>> lower, upper = kt_interval(37, 100, 0.01)
        >>> round(float(lower), 9), round(float(upper), 9)
        (0.205563253, 0.558131294)
    """
    k = np.asarray(count, np.float64)
    return _kt_side(k, num_samples, level), 1.0 - _kt_side(num_samples - k, num_samples, level)


def _kt_side(k: Array, n: int, level: float) -> Array:
    mixture = betaln(k + 0.5, n - k + 0.5) - np.log(np.pi) + np.log(level)
    return _largest(lambda p: mixture >= xlogy(k, p) + xlog1py(n - k, -p), k / n)


def kt_lower(count: npt.ArrayLike, num_samples: int, level: float) -> Array:
    r"""One-sided lower confidence sequence for a probability: the mixture cut to :math:`(p_0, 1)`.

    For each :math:`p_0` the mixture over Beta(1/2, 1/2) restricted to :math:`(p_0, 1)`, over the likelihood of
    :math:`p_0`, is an e-process under every :math:`p \le p_0`: each factor has mean at most 1 there. It decreases
    in :math:`p_0` below k/n, so the bound exceeds the true p only where the process of p itself has reached
    :math:`1/\text{level}`, which has probability at most ``level`` over all n (Ville). An upper bound is one minus
    the lower bound of the failures.

    Args:
        count: Successes ``k`` in 0..n, any shape.
        num_samples: Draws ``n`` so far.
        level: Probability that the bound exceeds p at *any* n.

    Example:
        >>> round(float(kt_lower(37, 100, 0.01)), 9)
        0.209202447
    """
    k, n = np.asarray(count, np.float64), num_samples
    mixture = betaln(k + 0.5, n - k + 0.5) - np.log(np.pi) + np.log(level)

    def rejected(p: Array) -> npt.NDArray[np.bool_]:
        kept = np.log(betaincc(k + 0.5, n - k + 0.5, p)) - np.log(betaincc(0.5, 0.5, p))
        return np.asarray(mixture + kept >= xlogy(k, p) + xlog1py(n - k, -p))

    return _largest(rejected, k / n)


def _largest(rejected: Callable[[Array], npt.NDArray[np.bool_]], end: Array) -> Array:
    """Largest rejected value below ``end``, elementwise, from below; 0 where none is."""
    low, high = np.zeros_like(end), end.copy()
    for _ in range(_STEPS):
        middle = (low + high) / 2
        falls = rejected(middle) & (middle > 0)
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    return low


def doubling_looks(first: int, last: int) -> tuple[int, ...]:
    """Sample sizes at which a run computes its bounds: ``first``, its doublings below ``last``, and ``last``.

    Args:
        first: First sample size, at least 1.
        last: Last sample size, at least 1.

    Example:
        >>> doubling_looks(64, 1000)
        (64, 128, 256, 512, 1000)
    """
    looks = []
    while first < last:
        looks.append(first)
        first *= 2
    return (*looks, last)


def look_share(look: int, num_looks: int | None = None) -> float:
    r"""Share of the error that a look may spend; the shares of all looks sum to at most 1.

    The shares are fixed before the first sample. An image that is not stopped early reaches the last look. With half
    of the error there, its bounds are tighter than with ``1 / num_looks``, and the earlier looks lose little.

    Args:
        look: Number of the look, from 1.
        num_looks: Largest number of looks: the last gets half of the error, the others share the rest equally, and a
            single look gets all of it. ``None`` for an unlimited number: :math:`1/(k(k+1))` for the k-th.

    Raises:
        ValueError: If there is no such look.

    Example:
        >>> [look_share(look, 5) for look in range(1, 6)], look_share(1, 1), look_share(3) == 1 / 12
        ([0.125, 0.125, 0.125, 0.125, 0.5], 1.0, True)
    """
    if look < 1 or (num_looks is not None and look > num_looks):
        raise ValueError(f"look must lie in 1..{num_looks or 'infinity'}, got {look}")
    if num_looks is None:
        return 1 / (look * (look + 1))
    if num_looks == 1:
        return 1.0
    return 0.5 if look == num_looks else 0.5 / (num_looks - 1)


def union_lower(count: npt.ArrayLike, num_samples: int, level: float) -> Array:
    """Lower confidence sequence at the sample sizes 2, 4, 8, ...: exact at each, the level split by :func:`look_share`.

    Args:
        count: Successes ``k`` in 0..n, any shape.
        num_samples: Draws ``n`` so far, a power of two above 1.
        level: Probability that the bound exceeds the true probability at *any* of these sizes.

    Raises:
        ValueError: If ``num_samples`` is no power of two above 1.

    Example:
        >>> float(union_lower(64, 64, 0.01)) == float(clopper_pearson_lower(64, 64, 0.01 / 42))
        True
    """
    look = num_samples.bit_length() - 1
    if num_samples < 2 or num_samples != 1 << look:
        raise ValueError(f"num_samples must be a power of two above 1, got {num_samples}")
    return clopper_pearson_lower(count, num_samples, level * look_share(look))
