"""Metric of soft stability, updated with finished numbers."""

from typing import Any

import torch

from lit_certattr.metrics.functional.soft_stability import SoftStabilities
from lit_certattr.metrics.named_means import NamedMeans


class SoftStability(NamedMeans):
    """Mean soft stability over images, with the means of the ends of its exact intervals.

    ``compute`` gives ``soft_stability``, ``soft_stability_lower`` and ``soft_stability_upper``. The interval of each
    image holds with its own probability; the means of the ends are no interval of the mean.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> metric = SoftStability()
        >>> metric.update(SoftStabilities(*torch.tensor([[0.5, 1.0], [0.4, 0.9], [0.6, 1.0]])))
        >>> metric.compute()["soft_stability"]
        tensor(0.7500)
    """

    higher_is_better = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(("soft_stability", "soft_stability_lower", "soft_stability_upper"), **kwargs)

    def update(self, found: SoftStabilities) -> None:
        """Add what :func:`~lit_certattr.metrics.functional.soft_stability` found on some images."""
        self.add(torch.stack(found, dim=1))
