"""From joint counts of pairs of pixels to larger certified overlaps."""

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor

from lit_certattr.certificates.overlap_bounds import bound_tables, displacement_radii
from lit_certattr.errors import InputError

Array = npt.NDArray[np.float64]
ALPHA_OF_PAIRS = 0.5
"""Share of alpha for the bounds of pairs; the bounds of single pixels get the rest."""


def choose_band(selection: Tensor, size: int, pairs: int) -> tuple[Tensor, Tensor]:
    """The pixels on both sides of the threshold whose order is tested pair by pair.

    Args:
        selection: Counts ``[...]`` of the samples that choose S, its top ``size`` pixels, ties by index.
        size: K.
        pairs: Largest number of pixels on each side.

    Returns:
        Flat indices of the insiders with the lowest counts and of the outsiders with the highest, each in order of
        decreasing counts.

    Example:
        >>> [side.tolist() for side in choose_band(torch.tensor([9, 5, 7, 1, 4]), 2, 2)]
        [[0, 2], [1, 4]]
    """
    order = selection.flatten().argsort(descending=True, stable=True)
    return order[max(0, size - pairs) : size], order[size : size + pairs]


def count_pairs(insiders: Tensor, outsiders: Tensor) -> Tensor:
    """Number of masks that hold both pixels of each pair, int32 ``[b, c]``; exact for fewer than 2**24 masks.

    Args:
        insiders: Masks ``[n, b]`` of the insiders.
        outsiders: Masks ``[n, c]`` of the outsiders.
    """
    with torch.autocast(insiders.device.type, enabled=False):  # 16 bits would round the counts
        return (insiders.float().T @ outsiders.float()).to(torch.int32)


def check_joint(joint: Tensor, insiders: Tensor, outsiders: Tensor, num_samples: int) -> None:
    """Refuse joint counts that no masks with these counts of single pixels can have given.

    Args:
        joint: Joint counts ``[b, c]``.
        insiders: Counts ``[b]`` of the insiders.
        outsiders: Counts ``[c]`` of the outsiders.
        num_samples: Number of masks.

    Raises:
        InputError: If a count is out of range.
    """
    if joint.shape != (len(insiders), len(outsiders)):
        raise InputError(
            f"joint counts {tuple(joint.shape)} of {len(insiders)} insiders and {len(outsiders)} outsiders"
        )
    most = torch.minimum(insiders[:, None], outsiders[None])
    least = (insiders[:, None] + outsiders[None] - num_samples).clamp(min=0)
    if bool(((joint < least) | (joint > most)).any()):
        raise InputError("a joint count is larger than the count of a pixel, or too small for both")


def pair_bounds(
    joint: npt.NDArray, insiders: npt.NDArray, outsiders: npt.NDArray, num_samples: int, alpha: float
) -> tuple[Array, Array]:
    """Bounds, for all pairs at once, of the probabilities that a mask holds only the insider, or only the outsider.

    Args:
        joint: Numbers of masks that hold both pixels, ``[b, c]``.
        insiders: Numbers of masks that hold the insider, ``[b]``.
        outsiders: Numbers of masks that hold the outsider, ``[c]``.
        num_samples: Number of masks, none of which chose the pairs.
        alpha: Probability that any bound is false.

    Returns:
        Exact binomial lower bounds of the first probability, and upper bounds of the second, ``[b, c]``.
    """
    lower, upper = bound_tables(num_samples, alpha / (2 * max(1, joint.size)), "clopper_pearson")
    return lower[insiders[:, None] - joint], upper[outsiders[None] - joint]


def pair_radii(lower: npt.ArrayLike, upper: npt.ArrayLike, sigma: float) -> Array:
    r"""Radii below which an insider stays above an outsider.

    Theorem. Let :math:`f_i, f_j` be 0/1 functions of the noisy image, :math:`A(x) = E f_i (1 - f_j)(x + \sigma Z)` and
    :math:`B(x) = E f_j (1 - f_i)(x + \sigma Z)`. If :math:`A(x) \ge l`, :math:`B(x) \le u` and
    :math:`\|\delta\|_2 < \frac{\sigma}{2}(\Phi^{-1}(l) - \Phi^{-1}(u))`, then
    :math:`h_i(x + \delta) > h_j(x + \delta)`.

    Proof. :math:`h_i - h_j = A - B` at every point. Both are means of functions with values in [0, 1], so
    :math:`A(x + \delta) \ge \Phi(\Phi^{-1}(l) - r) > \Phi(\Phi^{-1}(u) + r) \ge B(x + \delta)` with
    :math:`r = \|\delta\|/\sigma` (Neyman & Pearson). ∎ (A random level that cuts a map is averaged over first.)

    Masks that hold both pixels cancel, so the radius is larger than the radius from the means, since :math:`\Phi^{-1}`
    is steep near 0: by 21 % for independent pixels with means .35 and .15, and by more for pixels that are chosen
    together.

    Args:
        lower: Lower bounds of A.
        upper: Upper bounds of B, of the same shape.
        sigma: Standard deviation of the noise.

    Returns:
        Radii of that shape; ``-inf`` where the order is not certified even without a perturbation.

    Example:
        >>> float(pair_radii(0.20, 0.01, 1.0).round(4)), float(pair_radii(0.25, 0.06, 1.0).round(4))
        (0.7424, 0.4401)
    """
    low, high = ndtri(np.asarray(lower, np.float64)), ndtri(np.asarray(upper, np.float64))
    with np.errstate(invalid="ignore"):
        return np.where(low > high, sigma / 2 * (low - high), -np.inf)


def displacement_radii_with_pairs(
    lower: Array,
    upper: Array,
    inside: npt.NDArray[np.bool_],
    sigma: float,
    band: tuple[npt.NDArray, npt.NDArray],
    pairs: Array,
) -> Array:
    r"""Displacement radii from bounds of all pixels and certified orders of some pairs.

    Theorem. For insiders a and outsiders b let :math:`h_a(x + \delta) > h_b(x + \delta)` whenever
    :math:`\|\delta\| < R_{ab}`. Let :math:`R_a^{(m)}` and :math:`R_b^{(m)}` be the m-th smallest radii of a and of b.
    If m pixels of S are missing from the top K of :math:`h(x + \delta)`, then :math:`\|\delta\|` is at least the m-th
    smallest of the :math:`R_a^{(m)}` and at least the m-th smallest of the :math:`R_b^{(m)}`.

    Proof. m outsiders are in, each no lower than each of the m missing insiders: :math:`R_{ab} \le \|\delta\|` for all
    these pairs. So each missing insider has m radii up to :math:`\|\delta\|`, :math:`R_a^{(m)} \le \|\delta\|`, and
    there are m such insiders; the same for the outsiders. ∎

    Here :math:`R_{ab}` is the larger of the radius of the pair, where it was tested, and of
    :math:`\frac{\sigma}{2}(\Phi^{-1}(l_a) - \Phi^{-1}(u_b))`. Without pairs this is
    :func:`~lit_certattr.certificates.displacement_radii`. (The largest number of missing pixels is the largest
    balanced biclique in the graph of pairs that are not certified; that is hard to compute, and hardly smaller on
    measured maps.)

    If the bounds of v pixels fail, the others still give the theorem for m - v of the missing and of the new pixels.

    On measured maps, b pixels on each side gain nothing beyond the first 2b radii, so there only the bounds of single
    pixels are used. For the first 2b radii the 3b lowest insiders and highest outsiders, and the pixels of the pairs,
    are enough: no other pixel can be among the m smallest.

    Args:
        lower: Lower bounds ``[N]`` of all pixels.
        upper: Upper bounds ``[N]``.
        inside: Mask ``[N]`` of S, with K ones.
        sigma: Standard deviation of the noise.
        band: Flat indices of the insiders ``[b]`` and of the outsiders ``[c]`` that were tested.
        pairs: :func:`pair_radii` ``[b, c]``.

    Returns:
        Float64 ``[K]``, as from :func:`~lit_certattr.certificates.displacement_radii`.

    Example:
        >>> h, inside = np.array([0.5, 0.4, 0.2, 0.1]), np.array([True, True, False, False])
        >>> band = np.array([1]), np.array([2])
        >>> displacement_radii_with_pairs(h, h, inside, 1.0, band, np.array([[0.4]])).round(3).tolist()
        [0.4, 0.641]
    """
    radii = displacement_radii(lower, upper, inside, sigma)
    most = min(2 * max(map(len, band)), radii.size, inside.size - radii.size)
    insiders = _nearest(np.flatnonzero(inside), lower, band[0], most + len(band[0]))
    outsiders = _nearest(np.flatnonzero(~inside), -upper, band[1], most + len(band[1]))
    table = pair_radii(lower[insiders][:, None], upper[outsiders][None], sigma)
    tested = np.ix_(_places(insiders, band[0]), _places(outsiders, band[1]))
    table[tested] = np.maximum(table[tested], pairs)
    rows, columns = np.sort(table, axis=1)[:, :most], np.sort(table, axis=0)[:most]
    diagonals = np.diagonal(np.sort(rows, axis=0)), np.diagonal(np.sort(columns, axis=1))
    radii[:most] = np.maximum(radii[:most], np.maximum(diagonals[0][:most], diagonals[1][:most]))
    return np.asarray(np.maximum.accumulate(radii))


def _nearest(pixels: npt.NDArray, key: Array, tested: npt.NDArray, count: int) -> npt.NDArray:
    """The ``count`` of these pixels with the smallest key, and those that were tested, as sorted flat indices."""
    first = pixels[np.argsort(key[pixels], kind="stable")[:count]]
    return np.union1d(first, tested)


def _places(pixels: npt.NDArray, tested: npt.NDArray) -> npt.NDArray:
    return np.searchsorted(pixels, tested)
