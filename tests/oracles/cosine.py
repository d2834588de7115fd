"""Cosine of two smoothed maps, slowly: brute force over the three regions of two overlapping noise laws.

A shift of the noise with total variation q leaves a common part, a part that only x has, and one that only
x + delta has, so h = (1 - q) c + q a and h' = (1 - q) c + q b with means a, b, c of a map of length at most 1.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr


def _unit(angles: np.ndarray | float) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], -1)


def smallest_cosine(norm: float, variation: float, steps: int = 400) -> float:
    """Minimum of cos(h, h') over all a, b, c in the unit disk with ||h|| = norm, by a grid over p = (1 - q) c.

    h = (norm, 0); h' lies on a disk of radius q around p; the largest angle of a point of that disk is searched
    on its boundary, too.
    """
    q, worst = variation, 1.0
    if norm <= 2 * q:
        return -1.0
    h = np.array([norm, 0.0])
    around = q * _unit(np.linspace(0, 2 * np.pi, 720, endpoint=False))
    for length in np.linspace(max(0.0, norm - q), min(1 - q, norm + q), steps):
        # p with |p| = length and |h - p| <= q: the extreme angle, by the law of cosines
        cosine = (norm**2 + length**2 - q**2) / (2 * norm * length)
        if cosine > 1:
            continue
        p = length * _unit(np.arccos(cosine))
        moved = p + around
        worst = min(worst, float((moved @ h / (np.linalg.norm(moved, axis=1) * norm)).min()))
    return worst


def random_cosine(
    rng: np.random.Generator, variation: float, nonnegative: bool, size: int | None = None
) -> tuple[float, float]:
    """A random (||h||, cos(h, h')) that some map in the unit ball has at this variation."""
    size = size or int(rng.integers(2, 6))

    def part() -> np.ndarray:
        z = rng.standard_normal(size) * (rng.random(size) < 0.7)
        z = np.abs(z) if nonnegative else z
        length = np.linalg.norm(z)
        return z / length * min(1.0, 1.5 * rng.random()) if length else z

    c, a, b = part(), part(), part()
    h, moved = (1 - variation) * c + variation * a, (1 - variation) * c + variation * b
    lengths = np.linalg.norm(h) * np.linalg.norm(moved)
    return float(np.linalg.norm(h)), float(h @ moved / lengths) if lengths > 0 else 1.0


# Gaussian noise: the same question by Lagrange duality on one fixed grid, with a general optimiser.

_GRID = np.linspace(-9.0, 9.0, 2001)
_MASS = np.exp(-_GRID * _GRID / 2) / np.sqrt(2 * np.pi) * (_GRID[1] - _GRID[0])

GAUSSIAN_LENGTHS = [  # norm, cosine, length: any sign; by total variation alone: any sign, without negative values
    (0.7, 0.9, 0.468, 0.385, 0.548),
    (0.9, 0.9, 0.849, 0.500, 0.710),
    (0.93, 0.9, 0.981, 0.532, 0.735),
    (0.93, 0.99, 0.360, 0.165, 0.233),
    (0.97, 0.99, 0.539, 0.184, 0.243),
    (0.99, 0.99, 0.846, 0.224, 0.248),
]


def gaussian_excess(angle: float, norm: float, length: float) -> float:
    """Smallest upper bound, over multipliers, of how far h' can reach beyond an angle to h = (norm, 0).

    max E[ratio u . n] over unit u with E u = h, n = (-sin, cos) of the angle, is the minimum over vectors m of
    E |ratio n + m| - m_1 norm. At most 0 means: the angle is not exceeded.
    """
    ratio = np.exp(length * _GRID - length * length / 2)
    normal = np.array([-np.sin(angle), np.cos(angle)])

    def value(multiplier: np.ndarray) -> tuple[float, np.ndarray]:
        x, y = (ratio * part + own for part, own in zip(normal, multiplier, strict=True))
        distance = np.sqrt(x * x + y * y) + 1e-300
        return distance @ _MASS - multiplier[0] * norm, np.array(
            [(x / distance) @ _MASS - norm, (y / distance) @ _MASS]
        )

    starts = ((0.0, 0.0), (1.0, -1.0), (2.0, -1.0))
    return min(float(minimize(value, start, jac=True, method="BFGS").fun) for start in starts)


def gaussian_cosine(norm: float, length: float, steps: int = 26) -> float:
    """Cosine of the smallest angle that is not exceeded, by bisection; 0 where none below 90 degrees is found."""
    low, high = 1e-4, np.pi / 2
    if gaussian_excess(high, norm, length) > 0:
        return 0.0
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (low, middle) if gaussian_excess(middle, norm, length) <= 0 else (middle, high)
    return float(np.cos(high))


def turned_by_search(norm: float, length: float, bins: int = 40, seed: int = 0) -> tuple[float, float]:
    """A map that turns far, found by a general optimiser: one angle in each of some intervals of the noise.

    Returns (||h||, cos(h, h')), with ||h|| at least the norm.
    """
    ends = np.concatenate([[-np.inf], np.linspace(-3.5, 3.5, bins - 1), [np.inf]])
    here, there = np.diff(ndtr(ends)), np.diff(ndtr(ends - length))

    def means(angles: np.ndarray) -> tuple[complex, complex]:
        u = np.exp(1j * angles)
        return complex(u @ here), complex(u @ there)

    def cosine(angles: np.ndarray) -> float:
        h, moved = means(angles)
        return (h.conjugate() * moved).real / max(abs(h) * abs(moved), 1e-12)

    rng = np.random.default_rng(seed)
    spread = np.arccos(norm)
    start = spread * np.where(ends[1:] < 0.7, 0.3, -2) + 0.1 * rng.standard_normal(bins)
    limits = {"type": "ineq", "fun": lambda angles: abs(means(angles)[0]) - norm - 1e-9}
    found = minimize(cosine, start, method="SLSQP", constraints=[limits], options={"maxiter": 400, "ftol": 1e-12})
    return abs(means(found.x)[0]), float(cosine(found.x))
