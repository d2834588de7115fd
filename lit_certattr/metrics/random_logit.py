"""A metric of how much maps depend on the class that they explain, updated with finished numbers."""

from typing import Any

import torch

from lit_certattr.metrics.functional.other_class import RandomLogits
from lit_certattr.metrics.named_means import NamedMeans


class RandomLogit(NamedMeans):
    """Similarity of the map of the target to that of a random other class, mean over images; small is good.

    ``compute`` gives ``random_logit`` and ``random_logit_chance`` (the same when the pixels of the other map are in
    random order). Images with a constant map are left out and counted.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> metric = RandomLogit()
        >>> metric.update(RandomLogits(torch.tensor([0.9, 0.7]), torch.tensor([0.1, 0.1]), torch.tensor([3, 5])))
        >>> metric.compute()
        {'random_logit': tensor(0.8000), 'random_logit_chance': tensor(0.1000)}
    """

    higher_is_better = False
    plot_lower_bound = None
    plot_upper_bound = 1.0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(("random_logit", "random_logit_chance"), **kwargs)

    def update(self, found: RandomLogits) -> None:
        """Add what :func:`~lit_certattr.metrics.functional.random_logit` found on some images."""
        self.add(torch.stack([found.map, found.chance], dim=1))
