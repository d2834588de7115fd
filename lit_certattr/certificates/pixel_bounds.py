"""The proved vote and the radius of a pixel's label as functions of its count; computed once for all pixels."""

from functools import lru_cache
from typing import Literal, NamedTuple, cast, get_args

import numpy as np

from lit_certattr.budgets import VoteBounds
from lit_certattr.errors import InputError
from lit_certattr.statistics import clopper_pearson_lower

Correction = Literal["bonferroni", "holm"]


def check_correction(name: str) -> Correction:
    """Check that a correction exists, and return its name.

    Args:
        name: Name of the correction.

    Raises:
        InputError: If there is no such correction.
    """
    if name not in get_args(Correction):
        raise InputError(f"correction must be one of {', '.join(get_args(Correction))}, got {name!r}")
    return cast(Correction, name)


class Fixed(NamedTuple):
    """The vote that Holm's test proves, the same for all labels; Bonferroni has Clopper-Pearson bounds instead."""

    vote: float


@lru_cache(maxsize=64)
def vote_table(num_samples: int, threshold: int, level: float | Fixed) -> np.ndarray:
    """Proved lower bound of the vote for a label, for each of the ``num_samples + 1`` counts.

    Args:
        num_samples: Number of samples.
        threshold: Votes needed for a label; the bound is 0 below it.
        level: Level of the Clopper-Pearson bound, or the vote that Holm's test proves.
    """
    counts = np.arange(num_samples + 1)
    if threshold > num_samples:
        return np.zeros(num_samples + 1)
    vote = level.vote if isinstance(level, Fixed) else clopper_pearson_lower(counts, num_samples, level)
    return np.where(counts >= threshold, vote, 0.0)


@lru_cache(maxsize=64)
def radius_table(num_samples: int, threshold: int, level: float | Fixed, bounds: VoteBounds) -> np.ndarray:
    """Radius of a label with each of the ``num_samples + 1`` counts, in the units of the budget.

    Args:
        num_samples: Number of samples.
        threshold: Votes needed for a label; the radius is 0 below it.
        level: As for :func:`vote_table`.
        bounds: How far a change can move a vote.
    """
    counts = np.arange(num_samples + 1)
    vote = vote_table(num_samples, threshold, level)
    return np.where(counts >= threshold, bounds.radius(vote), 0.0)
