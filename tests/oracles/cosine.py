"""Cosine of two smoothed maps, slowly: brute force over the three regions of two overlapping noise laws.

A shift of the noise with total variation q leaves a common part, a part that only x has, and one that only
x + delta has, so h = (1 - q) c + q a and h' = (1 - q) c + q b with means a, b, c of a map of length at most 1.
"""

import numpy as np


def _unit(angles):
    return np.stack([np.cos(angles), np.sin(angles)], -1)


def smallest_cosine(norm, variation, steps=400):
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


def random_cosine(rng, variation, nonnegative, size=None):
    """A random (||h||, cos(h, h')) that some map in the unit ball has at this variation."""
    size = size or int(rng.integers(2, 6))

    def part():
        z = rng.standard_normal(size) * (rng.random(size) < 0.7)
        z = np.abs(z) if nonnegative else z
        length = np.linalg.norm(z)
        return z / length * min(1.0, 1.5 * rng.random()) if length else z

    c, a, b = part(), part(), part()
    h, moved = (1 - variation) * c + variation * a, (1 - variation) * c + variation * b
    lengths = np.linalg.norm(h) * np.linalg.norm(moved)
    return np.linalg.norm(h), float(h @ moved / lengths) if lengths > 0 else 1.0
