"""Metrics of sensitivity and infidelity, updated with finished numbers."""

from typing import Any

import torch
from torch import Tensor

from lit_certattr.metrics.fixed_point_mean import FixedPointMean
from lit_certattr.metrics.functional.infidelity import Infidelities
from lit_certattr.metrics.named_means import NamedMeans


class MaxSensitivity(FixedPointMean):
    """Largest relative change of the map over random perturbations, mean over images.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> metric = MaxSensitivity()
        >>> metric.update(torch.tensor([0.25, 0.75]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def update(self, values: Tensor) -> None:
        """Add the sensitivities ``[B]`` of :func:`~lit_certattr.metrics.functional.max_sensitivity`."""
        self.add(values)


class Infidelity(NamedMeans):
    """Mean infidelity of the map over images, and of three maps that do not use the network.

    ``compute`` gives ``infidelity``, ``infidelity_zero``, ``infidelity_centre`` and ``infidelity_uniform``.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    higher_is_better = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(("infidelity", "infidelity_zero", "infidelity_centre", "infidelity_uniform"), **kwargs)

    def update(self, found: Infidelities) -> None:
        """Add what :func:`~lit_certattr.metrics.functional.infidelity` found on some images."""
        self.add(torch.stack(found, dim=1))
