"""Binomial statistics in exact rational arithmetic: slow, obvious, and the judge of the fast ones."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import comb


def tail(count: int, num_samples: int, probability: float | Fraction) -> Fraction:
    """P[Bin(n, p) >= count]; a float probability is taken as the rational number that it is."""
    p = Fraction(probability)
    terms = (comb(num_samples, j) * p**j * (1 - p) ** (num_samples - j) for j in range(max(count, 0), num_samples + 1))
    return Fraction(1) if count <= 0 else sum(terms, Fraction(0))


def smallest_significant(num_samples: int, tau: float, level: float | Fraction) -> int:
    """Smallest count whose tail at ``tau`` is within the level, n + 1 if none."""
    significant = (k for k in range(num_samples + 1) if tail(k, num_samples, tau) <= Fraction(level))
    return next(significant, num_samples + 1)


def two_label_threshold(num_samples: int, tau: float | Fraction, level: float | Fraction) -> int:
    """Smallest majority whose error, both labels together and worst over all votes, is within the level."""
    tau, level = Fraction(tau), Fraction(level)
    for k in range(num_samples // 2 + 1, num_samples + 1):
        if tail(k, num_samples, tau) + tail(k, num_samples, 1 - tau) <= level:
            return k
    return num_samples + 1


def false_claim_probability(
    num_samples: int,
    threshold: int,
    claims: Mapping[int, float] | Sequence[float],
    one: float | Fraction,
    zero: float | Fraction,
) -> Fraction:
    """Probability that a pixel with votes ``one`` and ``zero`` gets any claim above its true vote.

    A label with ``k >= threshold`` counts claims a vote of at least ``claims[k]``. The two labels cannot both
    have a majority, so their errors add up.
    """

    def of_one_label(vote: Fraction) -> Fraction:
        wrong = (k for k in range(threshold, num_samples + 1) if Fraction(claims[k]) > vote)
        return tail(next(wrong, num_samples + 1), num_samples, vote)

    return of_one_label(Fraction(one)) + of_one_label(Fraction(zero))


def holm_rejects(counts: Sequence[int], num_samples: int, tau: float, alpha: float) -> list[bool]:
    """Holm on the sorted exact p-values, one at a time; equal ones share the fate of the first."""
    p_value = {k: tail(k, num_samples, tau) for k in set(counts)}
    order = sorted(range(len(counts)), key=lambda i: p_value[counts[i]])
    rejected = [False] * len(counts)
    for rank, index in enumerate(order):
        same_as_before = rank and counts[order[rank - 1]] == counts[index]
        if not same_as_before and p_value[counts[index]] > Fraction(alpha) / (len(counts) - rank):
            break
        rejected[index] = True
    return rejected
