r"""Exact bound on the angle between expectations of a bounded map under shifted *Gaussian* noise.

Throughout, :math:`h(x) = E\,g(x + \sigma Z)` with :math:`\|g\|_2 \le 1`, ``norm`` is :math:`\kappa`, a lower bound of
:math:`\|h(x)\|_2`, and ``length`` is :math:`r = \|\delta\|_2 / \sigma`. With :math:`t` the coordinate of Z along the
perturbation, :math:`h(x + \delta) = E[\Lambda g]` with the likelihood ratio :math:`\Lambda = e^{rt - r^2/2}`.

Theorem. For every :math:`\ell > 0` and :math:`\psi \in (0, \pi/2)` with
:math:`G = E\,|\Lambda - \ell e^{i\psi}| / (\ell\kappa) < 1`, the angle of :math:`h(x)` and :math:`h(x + \delta)` is
at most :math:`\arcsin G - \psi`, for all perturbations of a length up to r. The smallest of these angles is attained by
a map.

Proof, source and the role of each function: docs/certificates.md. The derivation is our own; it is the generalised
lemma of Neyman and Pearson (Dantzig & Wald, 1951) for a vector-valued test.

Every pair :math:`(\ell, \psi)` gives a valid bound, so the search for a good pair may be inexact. Only the released
value matters: it is evaluated with an error bound, which is added.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from lit_certattr.certificates.cosine_bounds import cosine_bound, max_variation, radius_over_sigma, total_variation
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise

_SPAN = 9.0
"""The integrals cover this many standard deviations of each of the two normal laws: 2.3e-19 of each is left out."""
_DIGITS = 36.0
"""The relative error of the trapezoidal rule is about exp(-36)."""
_ERROR = 1e-12
"""Error of an integral whose integrand has the mean 1; proof in :func:`_distances`."""
_SHORTEST, _LARGEST_NORM = 1e-6, 1 - 1e-6
"""Smaller lengths and larger norms are replaced by these: floating point has too few digits beyond them."""
_NARROW = (0.15, 0.015, 0.0015)
"""Lower ends that are tried for psi / r: the smaller, the finer the grid. Small norms and long lengths need them."""
_UNIT = GaussianNoise(1.0)


def gaussian_cosine_bound(norm: float, length: float, nonnegative: bool) -> float:
    r"""Lower bound of the cosine of :math:`h(x)` and :math:`h(x + \delta)`, :math:`\|\delta\|_2 \le r\sigma`.

    For maps of any sign it is exact up to rounding: a map attains it. For maps without negative values it is the larger
    of this bound and :func:`~lit_certattr.certificates.cosine_bounds.cosine_bound_nonnegative`, which is not exact.
    Non-decreasing in ``norm`` and non-increasing in ``length``, up to an error of 1e-9.

    Args:
        norm: :math:`\kappa`, in [0, 1].
        length: :math:`r`, the l2 norm of the perturbation over sigma, not negative.
        nonnegative: Whether the maps have no negative values.

    Returns:
        The bound; -1, or 0 for maps without negative values, where nothing is proved.

    Raises:
        InputError: If ``length`` is negative.

    Example:
        >>> [round(gaussian_cosine_bound(0.93, 0.9, sign), 4) for sign in (False, True)]
        [0.9202, 0.9202]
        >>> round(cosine_bound(0.93, total_variation(_UNIT, 0.9, 1), False), 4)  # by total variation alone
        0.6747
    """
    by_variation = cosine_bound(norm, total_variation(_UNIT, length, 1), nonnegative)
    angle = largest_turn(norm, length)
    return max(by_variation, math.cos(angle) - 1e-15) if angle < math.pi / 2 else by_variation


def max_length(cosine: float, norm: float, nonnegative: bool) -> float:
    """Largest length at which :func:`gaussian_cosine_bound` is still at least ``cosine``, rounded down.

    Args:
        cosine: Cosine to certify, in (0, 1].
        norm: Lower bound of the norm, in [0, 1].
        nonnegative: Whether the maps have no negative values.

    Raises:
        InputError: If ``cosine`` is out of range.

    Example:
        >>> round(max_length(0.9, 0.93, False), 3), round(max_length(0.99, 0.99, True), 3)
        (0.981, 0.846)
    """
    if not 0 < cosine <= 1:
        raise InputError(f"cosine must lie in (0, 1], got {cosine}")
    length = radius_over_sigma(_UNIT, max_variation(cosine, norm, nonnegative), 1)
    angle, end = math.acos(cosine), _end(norm)
    if length < end and largest_turn(norm, length) < angle:
        length = float(brentq(lambda r: largest_turn(norm, r) - angle, length, end, xtol=1e-12, rtol=1e-13))
    slack = 1e-13
    while length > 0 and gaussian_cosine_bound(norm, length, nonnegative) < cosine:  # step back until it holds
        length *= 1 - slack
        slack = min(2 * slack, 1.0)
    return length


@lru_cache(maxsize=1 << 14)
def largest_turn(norm: float, length: float) -> float:
    r"""Largest angle between :math:`h(x)` and :math:`h(x + \delta)` over all maps, by the theorem above.

    The best :math:`\ell` for one :math:`\psi` makes :math:`H(\psi) = E\,|\Lambda/\ell - e^{i\psi}|` smallest, and is
    the same for all norms. The best :math:`\psi` for :math:`\kappa` is where :math:`H^2 + H'^2 = \kappa^2`: a root
    in one number.

    Args:
        norm: :math:`\kappa`, in [0, 1].
        length: :math:`r`, not negative.

    Returns:
        The angle in radians, rounded up; :math:`\pi/2` where no smaller angle is proved.

    Example:
        >>> round(math.cos(largest_turn(0.9, 0.849)), 3)
        0.9
    """
    k, r = min(norm, _LARGEST_NORM), max(length, _SHORTEST)
    if length <= 0 < k:
        return 0.0
    if not k > 0 or r >= _end(k):
        return math.pi / 2

    def excess(psi: float) -> float:
        distance, _, change = _distances(r, _best_place(r, psi), psi)
        return math.hypot(distance, change) - k

    psi = next((share * r for share in _NARROW if excess(share * r) < 0), None)
    if psi is None:
        psi = _NARROW[-1] * r
    else:
        psi = float(brentq(excess, psi, math.pi / 2 - 1e-9, xtol=1e-7 * min(r, 1.0), rtol=1e-12))
    place = _best_place(r, psi)
    allowance = _ERROR * (1 + math.exp(r * r / 2 - r * place))
    ratio = (_distances(r, place, psi)[0] + allowance) / k * (1 + 1e-15)
    return min(max(math.asin(ratio) - psi, 0.0) + 1e-15, math.pi / 2) if ratio < 1 else math.pi / 2


def _end(norm: float) -> float:
    """Length from which on a map can be turned around: a sign that flips where the noise is furthest out."""
    return float(ndtri((1 + min(norm, _LARGEST_NORM)) / 2))


def _best_place(r: float, psi: float) -> float:
    r"""Place y, with :math:`\ell = e^{ry - r^2/2}`, at which :math:`E\,|\Lambda/\ell - e^{i\psi}|` is smallest.

    The mean is convex in :math:`1/\ell`. Its slope has one sign at y = r, since there :math:`\Lambda/\ell` and its
    inverse have the same law under the shifted noise, and the other where the mean of :math:`\Lambda/\ell` under the
    shifted noise is :math:`\cos\psi`.
    """
    high = 1.5 * r - math.log(math.cos(psi)) / r
    return float(brentq(lambda y: _distances(r, y, psi)[1], 0.9 * r, 1.1 * high, xtol=1e-7 * high, rtol=1e-12))


def _distances(r: float, place: float, psi: float) -> tuple[float, float, float]:
    r""":math:`H = E\,|v - e^{i\psi}|` for :math:`v = \Lambda/\ell = e^{r(t - y)}`, with y the place, and two slopes.

    By the trapezoidal rule. The integrand is analytic in the strip :math:`|\mathrm{Im}\,t| < \psi/r`, since :math:`v`
    reaches :math:`e^{\pm i\psi}` at :math:`y \pm i\psi/r` first. On a line at height b its modulus is at most
    :math:`(1 + v)\,\varphi(t)\,e^{b^2/2}`, of integral :math:`e^{b^2/2}(1 + m)`, :math:`m = E v`. So with
    :math:`a = \min(\psi/r, 1)` and steps of :math:`2\pi a/36` the rule errs by at most
    :math:`2 e^{1/2} (1 + m) / (e^{36} - 1) < 10^{-15} (1 + m)` (Trefethen & Weideman, 2014, theorem 5.1). Cut off are
    at most :math:`2\Phi(-9)(1 + m)`. All terms are positive, and none has a relative error above some hundred units in
    the last place where it matters: exponents are at most 200. ``_ERROR`` covers all three.

    Returns:
        H; the negative of its slope in y over r; its slope in psi.
    """
    step = 2 * math.pi * min(psi / r, 1.0) / _DIGITS
    t = step * np.arange(-math.ceil(_SPAN / step), math.ceil((_SPAN + r) / step) + 1)
    weight = np.exp(-t * t / 2) * (step / math.sqrt(2 * math.pi))
    v, sine = np.exp(r * (t - place)), math.sin(psi)
    along = v - math.cos(psi)
    distance = np.hypot(along, sine)
    pull = v / distance * weight
    return float(distance @ weight), float(along @ pull), sine * float(pull.sum())
