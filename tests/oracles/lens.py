"""LENS, rank correlation and smoothing the slow way: sets of pixels, loops over all pairs."""

import itertools
import math
from collections.abc import Iterable

import numpy as np

Pixel = tuple[int, int]


def ranking(a: np.ndarray) -> list[Pixel]:
    """Pixels from best to worst, ties in row-major order."""
    height, width = a.shape
    return sorted(itertools.product(range(height), range(width)), key=lambda p: (-a[p], p))


def top_k(a: np.ndarray, k: int) -> set[Pixel]:
    return set(ranking(a)[:k])


def near(pixels: Iterable[Pixel], window: int, shape: tuple[int, ...]) -> set[Pixel]:
    """All pixels at chessboard distance at most ``window`` from one of ``pixels``."""
    return {
        p
        for p in itertools.product(range(shape[0]), range(shape[1]))
        if any(max(abs(p[0] - q[0]), abs(p[1] - q[1])) <= window for q in pixels)
    }


def diverse(a: np.ndarray, k: int, window: int) -> list[Pixel]:
    """Greedy picks in their order."""
    picks: list[Pixel] = []
    for p in ranking(a):
        if len(picks) < k and p not in near(picks, window, a.shape):
            picks.append(p)
    return picks


def sets(a: np.ndarray, b: np.ndarray, k: int, window: int, div: bool) -> list[set[Pixel]]:
    return [set(diverse(m, k, window)) if div else top_k(m, k) for m in (a, b)]


def intersection(a: np.ndarray, b: np.ndarray, k: int, window: int = 0, div: bool = False) -> float:
    s, t = sets(a, b, k, window, div)
    return len(s & t) / max(len(s), len(t))


def precision(a: np.ndarray, b: np.ndarray, k: int, window: int, div: bool = False) -> float:
    s, t = sets(a, b, k, window, div)
    return len(s & near(t, window, a.shape)) / len(s)


def recall(a: np.ndarray, b: np.ndarray, k: int, window: int, div: bool = False) -> float:
    return precision(b, a, k, window, div)


def chance(b: np.ndarray, k: int, window: int, div: bool = False) -> float:
    """Mean precision over all S of one size, T fixed."""
    t = set(diverse(b, k, window)) if div else top_k(b, k)
    return len(near(t, window, b.shape)) / b.size


def chance_of_both(shape: tuple[int, int], k: int, window: int) -> float:
    """Mean precision over all S and all T."""
    n = shape[0] * shape[1]
    areas = [len(near([p], window, shape)) for p in itertools.product(range(shape[0]), range(shape[1]))]
    return sum(1 - math.comb(n - area, k) / math.comb(n, k) for area in areas) / n


def dissimilarity(a: np.ndarray, b: np.ndarray, k: int, window: int) -> float:
    return 1 - (precision(a, b, k, window) + recall(a, b, k, window)) / 2


def set_difference(a: np.ndarray, b: np.ndarray, k: int) -> float:
    return len(top_k(a, k) ^ top_k(b, k)) / k


def smooth(a: np.ndarray, window: int, padding: str) -> np.ndarray:
    """``zero`` and ``symmetric`` as published and as it should be; ``inside`` for means over the pixels inside only."""
    height, width = a.shape

    def mirrored(i: int, side: int) -> int:
        i %= 2 * side
        return i if i < side else 2 * side - 1 - i

    out = np.zeros(a.shape)
    reach = range(-window, window + 1)
    for i, j in itertools.product(range(height), range(width)):
        offsets = [(i + di, j + dj) for di in reach for dj in reach]
        inside = [p for p in offsets if 0 <= p[0] < height and 0 <= p[1] < width]
        if padding == "symmetric":
            out[i, j] = np.mean([a[mirrored(p, height), mirrored(q, width)] for p, q in offsets])
        else:
            out[i, j] = sum(a[p] for p in inside) / (len(inside) if padding == "inside" else len(offsets))
    return out


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = np.ravel(x) - np.mean(x), np.ravel(y) - np.mean(y)
    norm = math.sqrt((x @ x) * (y @ y))
    return float(x @ y) / norm if norm else math.nan


def average_ranks(a: np.ndarray) -> np.ndarray:
    return np.array([(a < v).sum() + ((a == v).sum() + 1) / 2 for v in np.ravel(a)])


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return pearson(average_ranks(a), average_ranks(b))


def kendall(a: np.ndarray, b: np.ndarray) -> float:
    """Tau-b over all pairs of pixels."""
    pairs = list(itertools.combinations(zip(np.ravel(a), np.ravel(b), strict=True), 2))
    agree = sum(np.sign(p[0] - q[0]) * np.sign(p[1] - q[1]) for p, q in pairs)
    apart = [sum(p[side] != q[side] for p, q in pairs) for side in (0, 1)]
    return float(agree) / math.sqrt(apart[0] * apart[1]) if all(apart) else math.nan


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / norm) if norm else math.nan


def centre(a: np.ndarray) -> np.ndarray:
    mass = np.abs(a)
    return sum(mass[p] * np.array(p) for p in np.ndindex(a.shape)) / mass.sum() if mass.any() else np.full(2, math.nan)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. (2004) on |a| / max |a|: Gaussian 11 x 11, deviation 1.5, borders mirrored without their edge."""
    a, b = (np.abs(m) / (np.abs(m).max() or 1) for m in (a, b))
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    kernel = np.outer(line, line) / line.sum() ** 2
    a, b = (np.pad(m, 5, mode="reflect") for m in (a, b))
    values = []
    for i, j in itertools.product(range(a.shape[0] - 10), range(a.shape[1] - 10)):
        x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
        mx, my = (kernel * x).sum(), (kernel * y).sum()
        vx, vy, cov = (kernel * x * x).sum() - mx**2, (kernel * y * y).sum() - my**2, (kernel * x * y).sum() - mx * my
        values.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return float(np.mean(values))


def published_near(flat: Iterable[int], window: int, shape: tuple[int, ...]) -> set[int]:
    """Windows as in the authors' code: offsets of the flat index, which wrap into the next row; never pixel 0."""
    reach = range(-window, window + 1)
    found = {f + i * shape[1] + j for f in flat for i in reach for j in reach}
    return {f for f in found if 0 < f < shape[0] * shape[1]}


def published_precision(a: np.ndarray, b: np.ndarray, k: int, window: int) -> float:
    s, t = ({i * a.shape[1] + j for i, j in top_k(m, k)} for m in (a, b))
    return len(s & published_near(t, window, a.shape)) / k


def published_diverse(a: np.ndarray, k: int, window: int) -> set[int]:
    """Greedy as in the authors' code: the second pixel that is free is blocked, but not taken."""
    left = [i * a.shape[1] + j for i, j in ranking(a)]
    picks = [left[0]]
    left = [f for f in left if f not in published_near(left[:1], window, a.shape)]
    for _ in range(k - 1):
        left = [f for f in left if f not in published_near(left[:1], window, a.shape)]
        picks.append(left[0])
    return set(picks)
