"""Upper bounds of the probabilities that counts estimate."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lit_certattr.statistics import clopper_pearson_upper


def upper_bounds_of_counts(counts: Tensor, num_samples: int, level: float) -> Tensor:
    """Clopper-Pearson upper bounds, float64, of the probabilities of counts of any shape.

    Args:
        counts: Counts in 0..``num_samples``.
        num_samples: Number of samples.
        level: Probability that a single bound is below its probability.
    """
    return _upper_table(num_samples, level)[counts]


@lru_cache(maxsize=64)
def _upper_table(num_samples: int, level: float) -> Tensor:
    return torch.from_numpy(np.asarray(clopper_pearson_upper(np.arange(num_samples + 1), num_samples, level)))
