r"""Bounds on the angle between expectations of a bounded map under shifted noise: pure functions of two numbers.

Throughout, :math:`h(x) = E\,g(x + \eta)` with :math:`\|g\|_2 \le 1`, ``norm`` is :math:`\kappa = \|h(x)\|_2` (or a
lower bound of it), and ``variation`` is q, the total variation between the noise at x and at
:math:`x + \delta`. Proofs: docs/certificates.md.
"""

import math

from scipy.special import betainc, betaincinv, erf, erfinv

from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, Noise, UniformBallNoise


def total_variation(law: Noise, radius: float, dimension: int) -> float:
    r"""Largest total variation distance of the noise at x and at :math:`x + \delta`, :math:`\|\delta\|_2 \le` radius.

    Ball of radius r: the share of one ball outside the other,
    :math:`I_{\epsilon^2/4r^2}(\tfrac12, \tfrac{d+1}{2})`, and 1 from :math:`\epsilon = 2r` on. Gaussian:
    :math:`2\Phi(\epsilon/2\sigma) - 1` in every dimension, which is also the limit of the ball.

    Args:
        law: Noise law; ball or Gaussian.
        radius: l2 length of the shift, not negative.
        dimension: Number d of values of the *image* (channels too), not of the map.

    Raises:
        InputError: If the law is neither ball nor Gaussian noise, or the radius is negative.

    Example:
        >>> round(total_variation(UniformBallNoise(sigma=5**-0.5), radius=1.0, dimension=3), 12)  # unit ball: 11/16
        0.6875
    """
    if not radius >= 0:
        raise InputError(f"radius must not be negative, got {radius}")
    match law:
        case UniformBallNoise():
            half = radius / (2 * law.ball_radius(dimension))
            return float(betainc(0.5, (dimension + 1) / 2, half * half)) if half < 1 else 1.0
        case GaussianNoise():
            return float(erf(radius / (2 * math.sqrt(2) * law.sigma)))
    raise InputError(f"no total variation is known for {type(law).__name__}")


def radius_over_sigma(law: Noise, variation: float, dimension: int) -> float:
    """Inverse of :func:`total_variation`: the shift, in units of sigma, at which it reaches ``variation``.

    Args:
        law: Noise law; ball or Gaussian. Only its type matters.
        variation: Total variation in [0, 1).
        dimension: Number of values of the image.

    Raises:
        InputError: If the law is neither ball nor Gaussian noise.

    Example:
        >>> round(radius_over_sigma(GaussianNoise(1.0), 0.6826894921, 784), 6)
        2.0
    """
    match law:
        case UniformBallNoise():
            return 2 * math.sqrt((dimension + 2) * float(betaincinv(0.5, (dimension + 1) / 2, variation)))
        case GaussianNoise():
            return 2 * math.sqrt(2) * float(erfinv(variation))
    raise InputError(f"no total variation is known for {type(law).__name__}")


def cosine_bound_signed(norm: float, variation: float) -> float:
    r"""Smallest cosine of :math:`h(x)` and :math:`h(x + \delta)` over *all* g with :math:`\|g\|_2 \le 1`: tight.

    Non-decreasing in ``norm``, non-increasing in ``variation``; so a lower bound of the norm and the largest shift
    cover all smaller shifts. -1 where nothing is proved.

    Args:
        norm: :math:`\kappa`, in [0, 1].
        variation: q, in [0, 1].

    Example:
        >>> round(cosine_bound_signed(0.5, 0.1), 6), round(cosine_bound_signed(1.0, 0.3), 6)
        (0.916515, 0.903508)
    """
    k, q = min(norm, 1.0), variation
    if k <= 2 * q or k <= 0:
        return -1.0
    if k * k <= 1 - 2 * q + 4 * q * q:
        return math.sqrt((1 - 2 * q / k) * (1 + 2 * q / k))
    towards_common = math.acos(min(1.0, (k * k + 1 - 2 * q) / (2 * k * (1 - q))))
    return math.cos(towards_common + math.asin(q / (1 - q)))


def cosine_bound_nonnegative(norm: float, variation: float) -> float:
    r"""Lower bound of the cosine for maps without negative values, :math:`g \ge 0` and :math:`\|g\|_2 \le 1`.

    The better of the bound for such maps and :func:`cosine_bound_signed`; nearly tight. 0 where nothing is proved.

    Args:
        norm: :math:`\kappa`, in [0, 1].
        variation: q, in [0, 1].

    Example:
        >>> round(cosine_bound_nonnegative(0.5, 0.1), 6), round(cosine_bound_nonnegative(0.5, 0.3), 6)
        (0.959166, 0.5547)
    """
    k, q = min(norm, 1.0), variation
    if k <= q or k <= 0:
        return 0.0
    x = q / k
    turned = math.sqrt(1 - 2 * x * x) if x <= 0.5 else (1 - x) / math.hypot(1 - x, x)
    return max(turned, cosine_bound_signed(k, q))


def cosine_bound(norm: float, variation: float, nonnegative: bool) -> float:
    r"""The bound for signed maps, or for maps without negative values.

    Args:
        norm: :math:`\kappa`, in [0, 1].
        variation: q, in [0, 1].
        nonnegative: Whether the maps have no negative values.
    """
    return cosine_bound_nonnegative(norm, variation) if nonnegative else cosine_bound_signed(norm, variation)


def diameter_bound(norm: float, variation: float, diameter: float, floor: float = -1.0) -> float:
    r"""Lower bound :math:`\sqrt{1 - (qD/\kappa)^2}` from the diameter D of the range of g alone.

    Args:
        norm: :math:`\kappa = \|h(x)\|_2`, in the units of D.
        variation: q, in [0, 1].
        diameter: Largest l2 distance of two values of g: 2 in the unit ball, sqrt(2) in its non-negative part.
        floor: Bound that always holds: -1, or 0 for maps without negative values.

    Example:
        >>> round(diameter_bound(0.95, 0.1, 2.0), 6)
        0.977588
    """
    if norm <= 0 or variation * diameter >= norm:
        return floor
    x = variation * diameter / norm
    return math.sqrt((1 - x) * (1 + x))


def published_bound(norm: float, volume_ratio: float) -> float:
    r"""The formula :math:`\kappa / \sqrt{\kappa^2 + (V_U/V_S)^2}` of Wang & Kong (2024): **not a valid lower bound**.

    For comparison only; no certificate uses it. It takes the shift of the map to be perpendicular to
    :math:`h(x)`, but the worst one is perpendicular to :math:`h(x + \delta)`. It stays positive when the two balls
    are disjoint, where a map may reverse; with both lunes (:math:`V_U/V_S = 2q`) it exceeds the attained minimum for
    signed maps whenever :math:`0 < q` and :math:`\kappa^2 \le 1 - 2q + 4q^2`, and for maps without negative values
    it is valid exactly for :math:`q \le \kappa/2`.

    Args:
        norm: :math:`\kappa`, in [0, 1].
        volume_ratio: :math:`V_U / V_S`: 2q for both lunes (the charitable reading), q for one.

    Example:
        >>> round(published_bound(0.5, 0.4), 4), round(cosine_bound_signed(0.5, 0.2), 4)  # the second is attained
        (0.7809, 0.6)
    """
    return norm / math.hypot(norm, volume_ratio)


def max_variation(cosine: float, norm: float, nonnegative: bool) -> float:
    """Largest total variation at which :func:`cosine_bound` is still at least ``cosine``, rounded down.

    Args:
        cosine: Cosine to certify, in (0, 1].
        norm: Norm of the expectation, in [0, 1].
        nonnegative: Whether the maps have no negative values.

    Raises:
        InputError: If ``cosine`` is out of range.

    Example:
        >>> round(max_variation(0.9, 0.8, nonnegative=False), 10)
        0.1743559577
    """
    if not 0 < cosine <= 1:
        raise InputError(f"cosine must lie in (0, 1], got {cosine}")
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if cosine_bound(norm, middle, nonnegative) >= cosine else (low, middle)
    return low
