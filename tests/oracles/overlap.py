"""Top-K overlap the slow way: every feasible top-K set, and the rules as they were published."""

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta, norm


def shift(p: ArrayLike, r: ArrayLike) -> Any:
    """Phi(Phi^-1(p) + r)."""
    return norm.cdf(norm.ppf(p) + r)


def top_set(p: np.ndarray, size: int) -> np.ndarray:
    """Mask of the largest entries, ties to the lower index."""
    mask = np.zeros(len(p), bool)
    mask[np.argsort(-np.asarray(p), kind="stable")[:size]] = True
    return mask


def smallest_overlap(lower: np.ndarray, upper: np.ndarray, inside: np.ndarray) -> int:
    """Smallest overlap of S with a set that can be the top K of some values in the boxes [lower, upper].

    A set can be the top K iff each of its members can reach each of the others: upper[a] >= lower[b].
    """
    n, size = len(lower), int(inside.sum())
    best = size
    for chosen in itertools.combinations(range(n), size):
        others = [b for b in range(n) if b not in chosen]
        if all(upper[a] >= lower[b] for a in chosen for b in others):
            best = min(best, int(sum(inside[a] for a in chosen)))
    return best


def population_rule(p: np.ndarray, size: int, rho: float, sigma: float) -> int:
    """Levine et al.: rank i is compared with rank 2K - i + 1; overlap is free where that rank does not exist."""
    ranked = np.sort(p)[::-1]
    kept = 0
    for i in range(1, size + 1):
        j = 2 * size - i + 1
        if j > len(p) or shift(ranked[i - 1], -rho / sigma) > shift(ranked[j - 1], rho / sigma):
            kept = i
        else:
            break
    return kept


def published_rule(
    mean: np.ndarray, size: int, rho: float, sigma: float, num_samples: int, alpha: float
) -> tuple[int, float]:
    """The finite-sample rule of the authors' code, with Hoeffding's bound over all pixels."""
    c = math.sqrt(math.log(2 * len(mean) / alpha) / (2 * num_samples))
    ranked = np.sort(mean)[::-1]
    kept = 0
    for i in range(size):
        low, high = ranked[i] - c, ranked[2 * size - 1 - i]
        kept += bool(low > 0 and shift(low, -2 * rho / sigma) - c > high)
    return kept, c


def exact_bounds(count: np.ndarray, num_samples: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Clopper-Pearson through SciPy's beta distribution."""
    count = np.asarray(count)
    with np.errstate(invalid="ignore"):
        lower = np.where(count > 0, beta.ppf(level, count, num_samples - count + 1), 0.0)
        upper = np.where(count < num_samples, beta.isf(level, count + 1, num_samples - count), 1.0)
    return lower, upper
