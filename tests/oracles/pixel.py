"""Pixel certificates the slow way: sorting, loops over pixels, SciPy's own distributions."""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from scipy.stats import beta, binom, norm


def top_k(values: np.ndarray, size: int) -> np.ndarray:
    """Mask of the ``size`` largest values; ties go to the lower index."""
    flat = [float(value) for value in np.asarray(values).ravel()]
    best = sorted(range(len(flat)), key=lambda i: (-flat[i], i))[:size]
    mask = np.zeros(len(flat), bool)
    mask[best] = True
    return mask.reshape(np.shape(values))


def share_size(num_pixels: int, percent: float) -> int:
    """Number of ranks r with r / N <= percent / 100."""
    return int(Fraction(str(percent)) * num_pixels / 100)


def certify_both_sides(ones: np.ndarray, num_samples: int, tau: float, alpha: float) -> tuple[np.ndarray, int]:
    """Labels without selection samples, Bonferroni over the pixels; also the threshold."""
    level = alpha / ones.size
    for k in range(num_samples // 2 + 1, num_samples + 2):
        if binom.sf(k - 1, num_samples, tau) + binom.sf(k - 1, num_samples, 1 - tau) <= level:
            break
    return np.where(ones >= k, 1, np.where(num_samples - ones >= k, 0, -1)), k


def peer_labels(
    ones_selection: np.ndarray, ones_test: np.ndarray, num_selection: int, num_test: int, tau: float, alpha: float
) -> np.ndarray:
    """The published procedure: pick the label on some samples, test it one-sided on the others."""
    label = (2 * ones_selection > num_selection).astype(int)
    count = np.where(label == 1, ones_test, num_test - ones_test)
    return np.where(binom.sf(count - 1, num_test, tau) <= alpha / count.size, label, -1)


def radius_bound(ones: np.ndarray, num_samples: int, sigma: float, level: float) -> np.ndarray:
    """The largest radius that a one-sided exact bound of the winning label's vote allows, per pixel."""
    winner = np.maximum(ones, num_samples - ones)
    lower = beta.ppf(level, winner, num_samples - winner + 1)
    return np.asarray(sigma * norm.ppf(np.maximum(lower, 0.5)))


def compose(labels_of_size: Mapping[int, np.ndarray]) -> np.ndarray:
    """Degree of each pixel: the number of the smallest level at which it is certified important."""
    degree: np.ndarray = np.zeros((), int)
    for j, size in enumerate(sorted(labels_of_size, reverse=True), start=1):
        degree = np.where(labels_of_size[size] == 1, j, degree)
    return degree
