"""Overlap from Renyi divergences: what it costs to swap pixels in a probability vector."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ORDERS: Array = 1 + np.logspace(-3, 2, 11)
"""Orders that are tried; each gives a valid bound, and a finer grid radii that are at most 0.2 % larger."""
_STEPS = 256
"""Numbers of swaps that are computed; where K is larger, what lies between has the radius of the next smaller one."""
_SMALLEST = 1e-300


def swap_divergence(
    insiders: npt.ArrayLike, outsiders: npt.ArrayLike, orders: npt.ArrayLike = ORDERS, reverse: bool = False
) -> Array:
    r"""Least Renyi divergence of a distribution in which every outsider is at least as likely as every insider.

    Theorem. Let P be a distribution with entries ``insiders`` and ``outsiders`` (and others), and Q another one with
    :math:`Q_a \le t \le Q_b` for all insiders a, outsiders b and some t. For :math:`r > 0` let A hold the insiders with
    :math:`P > r` and the outsiders with :math:`P < r`. If :math:`\sum_A ((r/P_j)^{\alpha-1} - 1) \ge 0`,

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

    The best r makes the condition an equality (then both are the exact minimum); it is found by bisection, from the
    side where the condition holds. Pooling *all* insiders and outsiders instead of A can exceed the minimum, which
    would make certificates unsound. The bounds rise with the insiders and fall with the outsiders (the derivative of
    the first argument is :math:`(r/P_j)^\alpha - 1`, of the second :math:`(P_j/r)^{\alpha-1} - 1`), so lower bounds of
    insiders and upper bounds of outsiders may be put in.

    Args:
        insiders: Probabilities ``[k]``, or lower bounds of them.
        outsiders: Probabilities ``[k]``, or upper bounds of them.
        orders: Orders :math:`\alpha > 1`, ``[M]``.
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
        """Each active entry's ``(r / P)^power - 1``, others 0."""
        gap = log_r - logs
        return np.where(sign * gap < 0, np.expm1(power * np.where(sign * gap < 0, gap, 0.0)), 0.0)

    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(over="ignore"):
            total = (counts * excess(-alpha if reverse else alpha - 1, middle)).sum(1, keepdims=True)
        holds = total <= 0 if reverse else total >= 0
        low, high = np.where(holds, low, middle), np.where(holds, middle, high)
    with np.errstate(over="ignore"):
        mass = 1 + (counts * values * excess(1 - alpha if reverse else alpha, high)).sum(1)
    alpha = alpha[:, 0]
    bound = alpha / (alpha - 1) * np.log(mass) if reverse else -np.log(mass)
    return np.asarray(np.maximum(bound, 0.0))


def gaussian_radius(insiders: npt.ArrayLike, outsiders: npt.ArrayLike) -> float:
    r"""Shift over sigma below which Gaussian smoothing cannot swap these outcomes.

    Two Gaussians :math:`\|\delta\|` apart have :math:`D_\alpha = \alpha \|\delta\|^2 / 2\sigma^2` in either direction,
    and a function of the noise cannot increase it (data processing); so the swap needs
    :math:`\|\delta\|/\sigma \ge \sqrt{2 D_\alpha / \alpha}` for the bound of every order and direction.

    Example:
        >>> round(gaussian_radius([0.12, 0.15], [0.11, 0.10]), 4)
        0.1077
    """
    needed = np.maximum(swap_divergence(insiders, outsiders), swap_divergence(insiders, outsiders, reverse=True))
    return float(np.sqrt(2 * needed / ORDERS).max())


def renyi_displacement_radii(lower: npt.ArrayLike, upper: npt.ArrayLike, inside: npt.ArrayLike, sigma: float) -> Array:
    r"""Radii at which the adversary can displace the first, second, ... K-th pixel of S, by Renyi divergences.

    Theorem (after Liu et al., 2021). Let each noisy map put probability on pixels, at most 1 in all, and let
    :math:`l_j \le m_j(x) \le u_j` bound the means. If k pixels of S are missing from the top K of
    :math:`m(x + \delta)`, k outsiders are there no less likely than they. The k smallest insiders and the k largest
    outsiders make that cheapest (:func:`swap_divergence` is monotone), so
    :math:`\|\delta\|/\sigma` is at least :func:`gaussian_radius` of their bounds. What is left of the probability is
    one more outcome.

    Args:
        lower: Lower bounds ``[N]`` of the means.
        upper: Upper bounds ``[N]``.
        inside: Mask ``[N]`` of S, with K ones.
        sigma: Standard deviation of the Gaussian noise.

    Returns:
        Float64 ``[K]``, increasing, as :func:`~lit_certattr.certificates.displacement_radii`.

    Example:
        >>> m = np.array([0.3, 0.3, 0.29] + 11 * [0.01])
        >>> renyi_displacement_radii(m, m, np.arange(14) < 2, sigma=1.0).round(3).tolist()
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
        radius = gaussian_radius(insiders[:number], outsiders[:number])
        if radius > 0:
            radii[number - 1 : after - 1] = sigma * radius
    return np.maximum.accumulate(radii)
