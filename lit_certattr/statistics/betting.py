"""Lower confidence bounds by betting: the tightest in this package for means of bounded variables that are not 0/1."""

import math

import numpy as np
import numpy.typing as npt


def betting_lower(
    values: npt.ArrayLike, level: float, cap: float = 0.9, anytime: bool = False, stakes_level: float | None = None
) -> float:
    r"""Lower confidence bound for the mean of values in [0, 1], by betting that the mean is larger than m.

    The capital :math:`K_t(m) = \prod_{i \le t} (1 + \min(\lambda_i, c/m)\,(z_i - m))`, with stakes
    :math:`\lambda_i` that look at earlier values only, is a non-negative supermartingale as soon as
    :math:`E[z_i \mid z_1, \dots, z_{i-1}] \le m` for all i. By Ville's inequality it ever reaches 1/level with
    probability at most ``level``. It decreases in m; the bound is the largest m at which it reaches 1/level, found by
    bisection.
    (Waudby-Smith & Ramdas, 2024; the stakes are their predictable plug-in.)

    The values need not be independent or have the same mean: the bound then holds for the largest of their
    conditional means.

    Args:
        values: Values ``[n]`` in [0, 1], in the order in which they were drawn.
        level: Probability that the bound is above the mean.
        cap: Largest share c of the capital that one value can lose, in (0, 1).
        anytime: Use stakes that do not depend on n, so that the bounds of all prefixes hold at once; looser at n.
        stakes_level: Level for which the stakes are made, ``level`` by default. With stakes of one level the bound
            never decreases as ``level`` grows; it is tightest near that level, and valid at every level.

    Returns:
        The bound, in [0, 1]; 0 if no larger bound is valid.

    Example:
        >>> round(betting_lower([0.95, 0.85, 0.975, 0.925] * 64, 0.001), 6)
        0.896512
    """
    z = np.asarray(values, np.float64)
    stakes = _stakes(z, level if stakes_level is None else stakes_level, anytime)
    target = math.log(1 / level)

    def rejected(m: float) -> bool:
        gains = np.minimum(stakes, cap / m) * (z - m)
        return bool(z.size and np.cumsum(np.log1p(gains)).max() >= target)

    low, high = 1e-12, 1.0
    if not rejected(low):
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low


def _stakes(z: npt.NDArray[np.float64], level: float, anytime: bool) -> npt.NDArray[np.float64]:
    """Predictable plug-in stakes: each from the running variance of the values before it."""
    t = np.arange(1, z.size + 1)
    mean = (0.5 + np.cumsum(z)) / (t + 1)
    variance = (0.25 + np.cumsum((z - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])[: z.size]
    stakes: npt.NDArray[np.float64] = np.sqrt(
        2 * math.log(1 / level) / (before * (t * np.log1p(t) if anytime else z.size))
    )
    return stakes
