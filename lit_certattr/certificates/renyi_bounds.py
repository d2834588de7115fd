"""Overlap from Renyi divergences: the divergence needed to swap pixels, and the divergence that a shift can cause."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lit_certattr.certificates.shift_divergence import typical_shift
from lit_certattr.errors import InputError
from lit_certattr.smoothing import DiscreteGaussianNoise, GaussianNoise, GeneralisedNormalNoise, Noise

Array = npt.NDArray[np.float64]
Reach = Callable[[Array], float]
"""Gives the length of the shortest shift that can cause the needed divergence at each of ORDERS."""

ORDERS: Array = 1 + np.r_[0.0, np.logspace(-1.3, 2.3, 12)]
"""Orders that are used; each gives a valid bound. A finer grid gives radii that are 0.04 % larger on average."""
_STEPS = 256
"""How many numbers of swaps are computed; the others get the radius of the next smaller computed number."""
_SMALLEST = 1e-300


def swap_divergence(
    insiders: npt.ArrayLike, outsiders: npt.ArrayLike, orders: npt.ArrayLike = ORDERS, reverse: bool = False
) -> Array:
    r"""Least Renyi divergence of a distribution in which every outsider is at least as likely as every insider.

    Theorem. Let P be a distribution with entries ``insiders`` and ``outsiders`` (and others), :math:`\alpha > 1`, and Q
    another one with :math:`Q_a \le t \le Q_b` for all insiders a, outsiders b and some t. For :math:`r > 0` let A hold
    the insiders with :math:`P > r` and the outsiders with :math:`P < r`. If
    :math:`\sum_A ((r/P_j)^{\alpha-1} - 1) \ge 0`,

    .. math:: D_\alpha(Q \| P) \ge -\ln\big(1 + \sum_A P_j ((r/P_j)^\alpha - 1)\big);

    and if :math:`\sum_A ((P_j/r)^\alpha - 1) \le 0` (``reverse``),

    .. math:: D_\alpha(P \| Q) \ge \tfrac{\alpha}{\alpha - 1} \ln\big(1 + \sum_A P_j ((P_j/r)^{\alpha-1} - 1)\big).

    Proof. Let :math:`y_j = (r/P_j)^{\alpha-1}` on A and 1 elsewhere. On A :math:`y < 1` for insiders, :math:`y > 1` for
    outsiders, so :math:`\sum Q_j y_j = 1 + \sum_A Q_j (y_j - 1) \ge 1 + t \sum_A (y_j - 1) \ge 1`. By Hoelder
    :math:`\sum Q_j y_j \le (\sum Q_j^\alpha P_j^{1-\alpha})^{1/\alpha} F^{(\alpha-1)/\alpha}` with
    :math:`F = \sum P_j y_j^{\alpha/(\alpha-1)}`, the argument of the logarithm; so
    :math:`\sum Q^\alpha P^{1-\alpha} \ge F^{1-\alpha}`. The reverse is the same with :math:`y_j = (P_j/r)^{\alpha-1}`,
    :math:`G = \sum Q_j y_j^{\alpha/(\alpha-1)} \le 1` and
    :math:`\sum P_j y_j \le (\sum P_j^\alpha Q_j^{1-\alpha})^{1/\alpha} G^{(\alpha-1)/\alpha}`. ∎

    At :math:`\alpha = 1` the limits hold: the conditions become :math:`\sum_A \ln(r/P_j) \ge 0` and
    :math:`\sum_A (P_j/r - 1) \le 0`, the bounds :math:`-\ln(1 + \sum_A (r - P_j))` and
    :math:`\sum_A P_j \ln(P_j/r)`, by the inequality :math:`D(P \| Q) \ge \sum P_j g_j - \ln \sum Q_j e^{g_j}`.

    The best r makes the condition an equality (then both are the exact minimum); it is found by bisection, from the
    side where the condition holds. Pooling *all* insiders and outsiders instead of A can exceed the minimum, which
    would make certificates unsound. The bounds increase with the insiders and decrease with the outsiders (the
    derivative of the first argument is :math:`(r/P_j)^\alpha - 1`, of the second :math:`(P_j/r)^{\alpha-1} - 1`), so
    lower bounds of insiders and upper bounds of outsiders may be used.

    Args:
        insiders: Probabilities ``[k]``, or lower bounds of them.
        outsiders: Probabilities ``[k]``, or upper bounds of them.
        orders: Orders :math:`\alpha \ge 1`, ``[M]``.
        reverse: Bound :math:`D_\alpha(P \| Q)` instead of :math:`D_\alpha(Q \| P)`.

    Returns:
        Float64 ``[M]``, at least 0.

    Example:
        >>> swap_divergence([0.3, 0.3], [0.29, 0.01], [2.0]).round(9).tolist()
        [0.745757131]
    """
    alpha = np.asarray(orders, np.float64)[:, None]
    inner, inner_count = np.unique(np.asarray(insiders, np.float64), return_counts=True)
    outer, outer_count = np.unique(np.maximum(np.asarray(outsiders, np.float64), _SMALLEST), return_counts=True)
    values = np.concatenate((inner, outer))
    counts = np.concatenate((inner_count, outer_count))
    sign = np.concatenate((np.ones(inner.size), -np.ones(outer.size)))  # active: sign * (log P - log r) > 0
    logs = np.log(np.maximum(values, _SMALLEST))
    low = np.full(alpha.shape, np.log(outer[0]))
    high = np.full(alpha.shape, logs[: inner.size].max())  # no insider is above: the condition holds
    if not low[0, 0] < high[0, 0]:
        return np.zeros(alpha.size)

    def excess(power: Array, log_r: Array) -> Array:
        """Each active entry's ``((r / P)^power - 1) / power``, others 0."""
        gap = np.where(sign * (log_r - logs) < 0, log_r - logs, 0.0)
        with np.errstate(over="ignore"):
            return np.where(power == 0, gap, np.expm1(power * gap) / np.where(power == 0, 1.0, power))

    for _ in range(60):
        middle = (low + high) / 2
        holds = (counts * excess(-alpha if reverse else alpha - 1, middle)).sum(1, keepdims=True) >= 0
        low, high = np.where(holds, low, middle), np.where(holds, middle, high)
    moved = (counts * values * excess(1 - alpha if reverse else alpha, high)).sum(1)
    alpha, gain = alpha[:, 0], alpha[:, 0] - 1
    if reverse:
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = np.where(gain == 0, -moved, alpha / gain * np.log1p(-gain * moved))
    else:
        bound = -np.log1p(alpha * moved)
    return np.asarray(np.maximum(bound, 0.0))


def shortest_shift(needed: Array, law: Noise, norm: float, dimension: int) -> float:
    r"""Length of the shortest shift of the noise that can cause the needed divergences.

    Two Gaussians :math:`\|\delta\|_2` apart have :math:`D_\alpha = \alpha \|\delta\|_2^2 / 2\sigma^2`, so each order
    asks for :math:`\|\delta\|_2 \ge \sigma\sqrt{2 D_\alpha / \alpha}`. For generalised normal noise with exponent s and
    scale b the divergences of the coordinates add up, and :math:`\|\delta\|_s \ge b\,d^{1/s} \tau` with the
    :math:`\tau` of :func:`~lit_certattr.certificates.shift_divergence.typical_shift` for :math:`D_\alpha / d`. Other
    norms, :math:`p \ge s`, follow by :math:`\|\delta\|_s \le d^{1/s - 1/p} \|\delta\|_p`. All orders hold, so the
    largest length counts.

    Args:
        needed: Divergence needed at each of :data:`ORDERS`; by data processing the noise must have at least as much.
        law: Gaussian noise (s = 2), also on the grid, or generalised normal noise.
        norm: p, at least s; ``inf`` for the largest coordinate.
        dimension: Number d of values of the image.

    Raises:
        InputError: If the law is none of these.

    Example:
        >>> needed = np.full(ORDERS.size, 0.02)
        >>> [round(shortest_shift(needed, GaussianNoise(0.5), p, 784), 5) for p in (2, np.inf)]
        [0.1, 0.00357]
    """
    match law:
        case GaussianNoise() | DiscreteGaussianNoise():
            s, length = 2, law.sigma * float(np.sqrt(2 * needed / ORDERS).max())
        case GeneralisedNormalNoise():
            shifts = [typical_shift(law.s, order, need / dimension) for order, need in zip(ORDERS, needed, strict=True)]
            s, length = law.s, law.scale * dimension ** (1 / law.s) * max(shifts)
        case _:
            raise InputError(f"no divergence of a shift is known for {type(law).__name__}")
    return float(length * dimension ** (1 / norm - 1 / s))


def swap_radius(insiders: npt.ArrayLike, outsiders: npt.ArrayLike, reach: Reach) -> float:
    """Length of shift below which these outcomes cannot be swapped, from both directions of the divergence.

    Args:
        insiders: Probabilities ``[k]`` of the insiders, or lower bounds of them.
        outsiders: Probabilities ``[k]`` of the outsiders, or upper bounds of them.
        reach: :func:`shortest_shift` for the noise and the norm.

    Example:
        >>> gaussian = lambda needed: shortest_shift(needed, GaussianNoise(1.0), 2, 784)
        >>> round(swap_radius([0.12, 0.15], [0.11, 0.10], gaussian), 4)
        0.1079
    """
    return reach(np.maximum(swap_divergence(insiders, outsiders), swap_divergence(insiders, outsiders, reverse=True)))


def renyi_displacement_radii(lower: npt.ArrayLike, upper: npt.ArrayLike, inside: npt.ArrayLike, reach: Reach) -> Array:
    r"""Radii at which the adversary can displace the first, second, ... K-th pixel of S, by Renyi divergences.

    Theorem (after Liu et al., 2021). Let each noisy map put probability on pixels, at most 1 in all, and let
    :math:`l_j \le m_j(x) \le u_j` bound the means. If k pixels of S are missing from the top K of
    :math:`m(x + \delta)`, k outsiders are there no less likely than they. The k smallest insiders and the k largest
    outsiders make that cheapest (:func:`swap_divergence` is monotone), so :math:`\delta` is at least as long as
    :func:`swap_radius` of their bounds. The remaining probability is one more outcome.

    Args:
        lower: Lower bounds ``[N]`` of the means.
        upper: Upper bounds ``[N]``.
        inside: Mask ``[N]`` of S, with K ones.
        reach: :func:`shortest_shift` for the noise and the norm.

    Returns:
        Float64 ``[K]``, increasing, as from :func:`~lit_certattr.certificates.displacement_radii`.

    Example:
        >>> m = np.array([0.3, 0.3, 0.29] + 11 * [0.01])
        >>> gaussian = lambda needed: shortest_shift(needed, GaussianNoise(1.0), 2, 784)
        >>> renyi_displacement_radii(m, m, np.arange(14) < 2, gaussian).round(3).tolist()
        [0.013, 0.914]
    """
    inside = np.asarray(inside, bool)
    insiders = np.sort(np.asarray(lower, np.float64)[inside])
    outsiders = np.sort(np.asarray(upper, np.float64)[~inside])[::-1]
    pairs = min(insiders.size, outsiders.size)
    radii = np.full(insiders.size, np.inf)
    radii[:pairs] = -np.inf
    swaps = (
        np.unique(np.round(np.geomspace(1, pairs, _STEPS)).astype(int)) if pairs > _STEPS else np.arange(1, pairs + 1)
    )
    for number, after in zip(swaps, [*swaps[1:], pairs + 1], strict=True):
        radius = swap_radius(insiders[:number], outsiders[:number], reach)
        if radius > 0:
            radii[number - 1 : after - 1] = radius
    return np.maximum.accumulate(radii)
