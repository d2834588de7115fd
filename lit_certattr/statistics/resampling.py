"""How far means over images would change with other images: the bootstrap, and an exact test of the signs."""

import numpy as np
import numpy.typing as npt

from lit_certattr.statistics.binomial import binomial_tail

Array = npt.NDArray[np.float64]

_BLOCK = 2**22


def bootstrap_intervals(
    values: npt.ArrayLike, confidence: float = 0.95, num_draws: int = 2000, seed: int = 0
) -> tuple[Array, Array]:
    """Percentile bootstrap intervals of several means over the same images (Efron, 1979).

    Whole images are drawn again with replacement, so that numbers of one image stay together. The intervals are
    approximate, each for itself, and too narrow for few images. They assume that the images are a random sample; they
    say nothing about a single image.

    Args:
        values: Numbers ``[images, means]``; NaN where an image has none, which leaves the image out of that mean.
        confidence: Probability that an interval is to have, in (0, 1).
        num_draws: Number of bootstrap samples.
        seed: Seed of the draws.

    Returns:
        Lower and upper ends ``[means]``; NaN for means of fewer than two images or of equal numbers, whose bootstrap
        samples do not vary.

    Example:
        >>> low, high = bootstrap_intervals([[0.1, 1.0], [0.2, 1.0], [0.4, 1.0], [0.5, 1.0]])
        >>> low.round(3).tolist(), high.round(3).tolist()
        ([0.15, nan], [0.45, nan])
    """
    given = np.asarray(values, np.float64)
    known = np.isfinite(given)
    filled, counted = np.where(known, given, 0.0), known.astype(np.float64)
    generator, num_images = np.random.default_rng(seed), len(given)
    share = np.full(num_images, 1 / max(num_images, 1))
    means = np.full((num_draws, given.shape[1]), np.nan)
    step = max(1, _BLOCK // max(num_images, 1))
    for start in range(0, num_draws if num_images > 1 else 0, step):
        drawn = generator.multinomial(num_images, share, min(step, num_draws - start)).astype(np.float64)
        weight = drawn @ counted
        means[start : start + step] = np.where(weight > 0, drawn @ filled / np.where(weight > 0, weight, 1), np.nan)
        del drawn  # before the next one, of the same size, is there
    low, high = np.full((2, given.shape[1]), np.nan)
    for place in range(given.shape[1]):
        own, found = given[known[:, place], place], means[:, place]
        if len(own) > 1 and float(np.ptp(own)) > 0:
            tail = (1 - confidence) / 2
            low[place], high[place] = np.quantile(found[np.isfinite(found)], [tail, 1 - tail])
    return low, high


def sign_test(num_larger: int, num_smaller: int) -> float:
    """Two-sided p-value of the exact sign test of pairs (Arbuthnott, 1710); pairs without a difference do not count.

    Args:
        num_larger: Number of pairs with a positive difference.
        num_smaller: Number of pairs with a negative difference.

    Returns:
        The probability, if both signs are equally likely, of a split that is at least as uneven; 1 without pairs.

    Example:
        >>> sign_test(8, 0), sign_test(3, 3), sign_test(0, 0)
        (0.0078125, 1.0, 1.0)
    """
    num_pairs = num_larger + num_smaller
    if not num_pairs:
        return 1.0
    return min(1.0, 2 * float(binomial_tail(max(num_larger, num_smaller), num_pairs, 0.5)))
