"""Statements about the certificates of many images together."""

import numpy as np

from lit_certattr.errors import InputError
from lit_certattr.statistics.binomial import binomial_tail


def false_certificates(num_images: int, alpha: float, eta: float) -> int:
    r"""Upper bound on the number of false certificates among ``num_images`` images, with probability ``1 - eta``.

    Each certificate is false with probability at most ``alpha``, over the noise of its image. The noise of
    different images is independent (its stream is keyed by the id of the image), and images and classes are
    fixed before it is drawn. So the number of false certificates is stochastically at most
    :math:`\mathrm{Bin}(N, \alpha)`, whatever their true probabilities of error: couple each with a coin of
    probability ``alpha`` that shows heads whenever the certificate is false. The ``1 - eta`` quantile of that law
    bounds the number.

    The alternative is the union bound (Bonferroni): *none* is false, with probability at least :math:`1 - N\alpha`;
    it needs no independence.

    Args:
        num_images: Number of images N, at least 0.
        alpha: Probability of any false statement about one image, in [0, 1].
        eta: Probability that more certificates are false than the returned number, in (0, 1).

    Returns:
        The smallest ``m`` with ``P[Bin(N, alpha) > m] <= eta``.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> false_certificates(10_000, alpha=0.001, eta=0.001)
        21
    """
    if num_images < 0 or not 0 <= alpha <= 1 or not 0 < eta < 1:
        raise InputError(
            f"num_images must be at least 0, alpha in [0, 1] and eta in (0, 1), got {num_images}, {alpha}, {eta}"
        )
    low, high = 0, num_images  # P[Bin > N] = 0
    while low < high:
        middle = (low + high) // 2
        if np.asarray(binomial_tail(middle + 1, num_images, alpha)) <= eta:
            high = middle
        else:
            low = middle + 1
    return low
