"""How much a shift of the input can change a Gaussian-smoothed value."""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Array = npt.NDArray[np.float64]


def shift(probability: npt.ArrayLike, shift_over_sigma: npt.ArrayLike) -> Array:
    r"""Worst case of a smoothed value under a shift of the input: :math:`\Phi(\Phi^{-1}(p) + r)`.

    For :math:`f: R^d \to [0, 1]` and :math:`h(x) = E f(x + \sigma Z)`, every perturbation with
    :math:`\|\delta\|_2 \le r\sigma` keeps :math:`h(x + \delta)` between ``shift(h(x), -r)`` and
    ``shift(h(x), r)`` (Neyman & Pearson; Cohen et al., 2019; Levine et al., 2019), and both are attained.
    ``shift(0, r) = 0`` and ``shift(1, r) = 1``.

    Args:
        probability: Smoothed values in [0, 1], any shape.
        shift_over_sigma: Length r of the shift in units of sigma, of either sign; broadcast against ``probability``.

    Returns:
        Float64 array in [0, 1].

    Example:
        >>> round(float(shift(0.3, -0.6)), 9)
        0.130421577
    """
    return np.asarray(ndtr(ndtri(np.asarray(probability, np.float64)) + shift_over_sigma))
