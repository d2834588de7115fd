r"""Bounds on the change of the gradient of a smoothed probability, and of its largest values: pure functions.

Throughout :math:`p: R^d \to [0, 1]` is any measurable function, such as the softmax output of a class,
:math:`F(x) = E\,p(x + \sigma Z)`, and :math:`h = \nabla F` is SmoothGrad of p: the mean gradient of p where p has one
(Smilkov et al., 2017), and by Stein's identity :math:`h(x) = E[Z\,p(x + \sigma Z)] / \sigma` always.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from lit_certattr.statistics import hoeffding_bentkus_lower, raw_moment_margin

Array = npt.NDArray[np.float64]

ALPHA_OF_SPREAD = 0.05
"""Share of alpha for the bound of the spread of the probability; the bounds of the gradient get the rest."""

_CELLS = 4096  # of the table of shifts
_REACH = 4.0  # its end, in units of sigma; the largest curvature is reached before
_STEPS = 256  # numbers of swaps that are computed; where K is larger, the next smaller one counts


def normal_density(t: float) -> float:
    """Density of the standard normal law.

    Args:
        t: Any number.
    """
    return math.exp(-t * t / 2) / math.sqrt(2 * math.pi)


LARGEST_CURVATURE = 2 * normal_density(1.0)
r""":math:`2\phi(1) = .48394`: no smoothed function with values in [0, 1] is curved more, in units of 1 / sigma^2."""


_UNIT_ROUNDOFF = 2.0**-24  # of float32; images of higher precision round less, lower ones are refused


def noise_rounding(sigma: float, truncation: float) -> float:
    r"""Largest difference between the noise computed from a noisy image and the noise drawn, in units of sigma.

    The noisy image is :math:`\mathrm{fl}(\mathrm{fl}(\sigma z) + x)` for a drawn normal z and a pixel x in [0, 1], in
    float32 or better; :math:`z' = (\text{image} - x)/\sigma` is then computed in float64. With the unit roundoff u the
    product is off by at most about :math:`2u|\sigma z|` (sigma itself is rounded, too) and the sum by u times its size,
    at most :math:`u(1 + \sigma|z'|)`. Wherever :math:`|z'| \le t` the two sum to less than :math:`4u(1/\sigma + t)` in
    units of sigma.

    Args:
        sigma: Standard deviation of the noise, in pixel units.
        truncation: t.

    Example:
        >>> noise_rounding(0.25, 5.0) < 3e-6
        True
    """
    return 4 * _UNIT_ROUNDOFF * (1 / sigma + truncation)


def mean_margins(
    mean_square: Array, num_samples: int, alpha: float, largest: float, truncation: float, rounding: float = 0.0
) -> Array:
    r"""Margins of sample means around :math:`\sigma h(x)`, for all its coordinates at once.

    Theorem. For any constant b in [0, 1] let :math:`M = \max(b, 1 - b)` and
    :math:`X_j = Z_j 1\{|Z_j| \le t\} (p(x + \sigma Z) - b)`. With probability :math:`1 - \alpha` the mean of n
    independent :math:`X_j` is within the margin of :math:`\sigma h_j(x)`, for all j.

    Proof. :math:`E Z_j = 0`, so :math:`\sigma h_j = E Z_j (p - b)` (Stein). Of this the truncation leaves out
    :math:`|E Z_j 1\{|Z_j| > t\} (p - b)| \le M E |Z| 1\{|Z| > t\} = 2\phi(t) M`, which is added to the margin. What is
    left is bounded by tM in absolute value, whatever the network is, and gets the two-sided bound of
    :func:`~lit_certattr.statistics.raw_moment_margin` at :math:`\alpha / d`. ∎

    *Rounded noise.* The variables that are averaged have :math:`Z'_j` in the place of :math:`Z_j`, with
    :math:`|Z'_j - Z_j| \le \rho` wherever :math:`|Z'_j| \le t` (:func:`noise_rounding`). They are bounded by tM as
    well, and :math:`\sigma h_j` is within :math:`\rho M + M E |Z| 1\{|Z| > t - \rho\} = M(\rho + 2\phi(t - \rho))` of
    their expectation, since :math:`|Z_j| > t - \rho` where :math:`|Z'_j| > t`. That is added instead. (Here p is the
    network with the rounding of its input as its first layer. How far floating-point normals are from normal is the gap
    of all floating-point noise, and not a part of this.)

    b must not depend on the samples that are averaged. Gradients themselves are unbounded: no number of samples bounds
    their mean without constants of the network.

    Args:
        mean_square: Means of :math:`X_j^2`, of d values.
        num_samples: Number of samples n.
        alpha: Probability that any mean is outside its margin.
        largest: M.
        truncation: t.
        rounding: :math:`\rho`; 0 if the noise itself is averaged.

    Example:
        >>> mean_margins(np.full(784, 0.09), 100_000, 0.001, 0.5, 5.0).round(4)[0]
        np.float64(0.0056)
    """
    margins = raw_moment_margin(mean_square, num_samples, alpha / mean_square.size, truncation * largest)
    return np.asarray(margins + (rounding + 2 * normal_density(truncation - rounding)) * largest)


def spread_upper(mean_square: float, num_samples: int, alpha: float, largest: float) -> float:
    r"""Upper confidence bound of :math:`E (p - b)^2`, from the mean of n samples, by Hoeffding and Bentkus.

    Args:
        mean_square: Mean of :math:`(p - b)^2`.
        num_samples: Number of samples n.
        alpha: Probability that the bound is below the expectation.
        largest: M, the largest :math:`|p - b|`.

    Example:
        >>> round(spread_upper(0.01, 10_000, 0.001, 1.0), 4)
        0.0138
    """
    square = largest * largest
    return float(square * (1 - hoeffding_bentkus_lower(1 - min(1.0, mean_square / square), num_samples, alpha)))


def curvature(spread: float, largest: float, shift_over_sigma: npt.ArrayLike) -> Array:
    r"""Bound of :math:`\sigma^2 \|\nabla^2 F(x + \delta)\|` for all shifts of a length: the Lipschitz constant of h.

    Theorem. :math:`\sigma^2 \|\nabla^2 F\|_2 \le 2\phi(1)` everywhere. If :math:`E (p - b)^2(x + \sigma Z) \le v` for a
    constant b and :math:`|p - b| \le M`, then at :math:`x + \delta` also
    :math:`\sigma^2 \|\nabla^2 F\|_2 \le \sqrt{2}\, M \sqrt{\Phi(\Phi^{-1}(v / M^2) + \|\delta\|/\sigma)}`.

    Proof. For a unit vector u, :math:`\sigma^2 u^\top \nabla^2 F\, u = E[(p - b) ((u^\top Z)^2 - 1)]`, as
    :math:`E (u^\top Z)^2 = 1`. With b = 0 and p in [0, 1] this is at most :math:`E ((u^\top Z)^2 - 1)_+ = 2\phi(1)`,
    and at least the negative of it; p = 1 where :math:`|u^\top Z| > 1` attains it. By Cauchy and Schwarz it is at most
    :math:`\sqrt{2 E (p - b)^2}`, the variance of :math:`(u^\top Z)^2` being 2; and :math:`(p - b)^2 / M^2` has values
    in [0, 1], so its mean at :math:`x + \delta` is at most :math:`\Phi(\Phi^{-1}(v / M^2) + \|\delta\|/\sigma)` (Neyman
    & Pearson). The Hessian is symmetric, so these bound its norm. ∎

    Args:
        spread: v; 1 if nothing is known.
        largest: M in [1/2, 1].
        shift_over_sigma: :math:`\|\delta\| / \sigma`, any shape.

    Example:
        >>> curvature(1.0, 1.0, 0.0).round(5).tolist(), curvature(0.01, 1.0, [0.0, 0.5]).round(5).tolist()
        (0.48394, [0.14142, 0.26038])
    """
    moved = ndtr(ndtri(min(1.0, spread / largest**2)) + np.asarray(shift_over_sigma, np.float64))
    return np.asarray(np.minimum(LARGEST_CURVATURE, math.sqrt(2) * largest * np.sqrt(moved)))


def reach(distances: npt.ArrayLike, spread: float, largest: float, sigma: float) -> Array:
    r"""Lengths of shift below which h moves by less than these l2 distances.

    :math:`\|h(x + \delta) - h(x)\|_2 \le \int_0^{\|\delta\|} \kappa(s) ds` with :math:`\kappa` the :func:`curvature`
    over :math:`\sigma^2`, which increases: the integral is taken from above, with the larger end of each small
    interval.

    Args:
        distances: Distances in the units of h, any shape, not negative.
        spread: v of :func:`curvature`.
        largest: M of :func:`curvature`.
        sigma: Standard deviation of the noise.

    Example:
        >>> round(float(reach(0.1, 1.0, 1.0, sigma=0.5)), 9) == round(0.1 * 0.5**2 / LARGEST_CURVATURE, 9)
        True
    """
    ends = np.linspace(0, _REACH, _CELLS + 1)
    kappa = np.r_[curvature(spread, largest, ends[1:]), LARGEST_CURVATURE] / sigma**2
    moved = np.r_[0.0, np.cumsum(kappa[:-1]) * sigma * _REACH / _CELLS]
    d = np.asarray(distances, np.float64)
    cell = np.searchsorted(moved, d, side="right") - 1
    return np.asarray(sigma * ends[cell] + (d - moved[cell]) / kappa[cell])


def swap_distances(lower: npt.ArrayLike, upper: npt.ArrayLike, inside: npt.ArrayLike) -> Array:
    r"""l2 distance that a map must move for the first, second, ... K-th pixel of S to leave its top K.

    Theorem. Let :math:`l_j \le s_j \le u_j`, and let m pixels of S be missing from the top K of another map :math:`s'`.
    Then :math:`\|s - s'\|_2^2 \ge \min_c \sum_{j \le m} (l_{(j)} - c)_+^2 + \sum_{j \le m} (c - u_{(j)})_+^2`, with the
    lower bounds of S sorted upwards and the upper bounds of the others downwards.

    Proof. m outsiders are in, none of them lower than any of the m missing pixels; so some c lies between:
    :math:`s'_a \le c \le s'_b`. Each missing pixel has moved by at least :math:`(s_a - c)_+ \ge (l_a - c)_+`, each new
    one by :math:`(c - u_b)_+`; the m lowest and the m highest make that least. (It is the distance to the isotonic
    maps.) ∎

    The best c is where the two sums of the positive parts are equal; bisection on all m at once.

    Args:
        lower: Lower bounds ``[N]``.
        upper: Upper bounds ``[N]``.
        inside: Mask ``[N]`` of S, with K ones.

    Returns:
        Float64 ``[K]``, not decreasing; ``inf`` where there is no outsider left to swap in.

    Example:
        >>> s = np.array([5.0, 4.0, 2.0, 1.0])
        >>> swap_distances(s, s, s > 3).round(4).tolist()  # 4 and 2 meet at 3; 5, 4 and 2, 1 at 3
        [1.4142, 3.1623]
    """
    inside = np.asarray(inside, bool)
    low = np.sort(np.asarray(lower, np.float64)[inside])
    high = np.sort(np.asarray(upper, np.float64)[~inside])[::-1]
    pairs = min(low.size, high.size)
    distances = np.full(low.size, np.inf)
    m = np.arange(1, pairs + 1)
    if pairs > _STEPS:
        m = np.unique(np.round(np.geomspace(1, pairs, _STEPS)).astype(int))
    exact = _isotonic_distances(low, high, m)
    for number, after, distance in zip(m, [*m[1:], pairs + 1], exact, strict=True):
        distances[number - 1 : after - 1] = distance
    return np.asarray(np.maximum.accumulate(distances))


def _isotonic_distances(low: Array, high: Array, m: npt.NDArray) -> Array:
    """Distances for these numbers of swaps, rounded down; from running sums, so that all m are bisected at once.

    A sum of m terms is wrong by less than m unit roundoffs of the sum of their absolute values. In the square two such
    sums of squares and, with the level, two of values count, 8 m unit roundoffs of the sum of all squares in total.
    """
    middle = (low[0] + high[0]) / 2  # values near it are what matters: their squares must not drown
    low, high = low - middle, high - middle
    sums = [np.r_[0.0, np.cumsum(values)] for values in (low, high, low**2, high**2)]

    def moments(level: Array) -> tuple[Array, Array, Array, Array]:
        """Numbers, sums and squares of the insiders above and the outsiders below a level, among the m."""
        first = np.minimum(np.searchsorted(low, level, side="right"), m)
        second = np.minimum(high.size - np.searchsorted(high[::-1], level, side="left"), m)
        inner, outer = sums[0][m] - sums[0][first], sums[1][m] - sums[1][second]
        squares = sums[2][m] - sums[2][first] + sums[3][m] - sums[3][second]
        return 2 * m - first - second, inner + outer, squares, sums[2][m] + sums[3][m]

    start, end = np.minimum(low[0], high[m - 1]), np.maximum(low[m - 1], high[0])
    for _ in range(60):
        level = (start + end) / 2
        count, total, _, _ = moments(level)
        start, end = np.where(total > count * level, level, start), np.where(total > count * level, end, level)
    count, total, squares, scale = moments(start)
    rounding = (1e-13 + m * 2.0**-50) * scale
    square = squares - 2 * start * total + count * start**2 - rounding
    return np.where(low[m - 1] > high[m - 1], np.sqrt(np.maximum(square, 0.0)), 0.0)
