r"""Bounds on the quantiles of any real random number, from its order statistics.

The p-quantile is :math:`q_p = \inf\{y : F(y) \ge p\}`. All bounds hold for every distribution, also with ties.
"""

from lit_certattr.statistics.binomial import smallest_significant_count


def quantile_lower_rank(num_samples: int, probability: float, level: float) -> int:
    r"""Largest k such that the k-th smallest of n values is at most the p-quantile, with an error of ``level``.

    Proof: :math:`Y_{(k)} > q_p` means that at most k - 1 values are :math:`\le q_p`, each with a probability of at
    least p, so :math:`P[Y_{(k)} > q_p] \le P[\mathrm{Bin}(n, p) \le k - 1]`.

    Args:
        num_samples: Number of independent values n.
        probability: Order p of the quantile, in [0, 1].
        level: Probability of error in (0, 1).

    Returns:
        A rank from 1 to n; 0 if not even the smallest value is a bound.

    Example:
        >>> quantile_lower_rank(100, 0.5, 0.025)
        40
    """
    return num_samples + 1 - smallest_significant_count(num_samples, 1.0 - probability, level)


def quantile_upper_rank(num_samples: int, probability: float, level: float) -> int:
    r"""Smallest k such that the k-th smallest of n values is at least the p-quantile, with an error of ``level``.

    Proof: :math:`Y_{(k)} < q_p` means that at least k values are :math:`< q_p`, each with a probability of at most p,
    so :math:`P[Y_{(k)} < q_p] \le P[\mathrm{Bin}(n, p) \ge k]`.

    Args:
        num_samples: Number of independent values n.
        probability: Order p of the quantile, in [0, 1].
        level: Probability of error in (0, 1).

    Returns:
        A rank from 1 to n; n + 1 if not even the largest value is a bound.

    Example:
        >>> quantile_upper_rank(100, 0.5, 0.025)
        61
    """
    return smallest_significant_count(num_samples, probability, level)
