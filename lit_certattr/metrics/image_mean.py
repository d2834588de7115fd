"""What all metrics of certificates share: a mean over images that no order and no process can change."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_certattr.certificates import Result
from lit_certattr.metrics.functional.certified import as_list

_ONE = 2**32
"""1.0 in the fixed-point sums: resolution 2e-10, room for a sum of 2e9."""


class ImageMean(Metric, ABC):
    """Mean over images of a number (or several) that each result has.

    The states are two integers, a fixed-point sum and a count. Integer addition is exact and commutative, so
    any order of the images and any number of processes give the same bits; no precision setting touches it; and
    no map is kept.

    Args:
        size: Numbers a result; ``None`` for a scalar.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False
    plot_lower_bound = 0.0

    total: Tensor
    num_images: Tensor

    def __init__(self, size: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zeros = torch.zeros((), dtype=torch.int64) if size is None else torch.zeros(size, dtype=torch.int64)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("num_images", torch.tensor(0), dist_reduce_fx="sum")

    @abstractmethod
    def value(self, result: Result) -> Tensor:
        """The number of one image, float64."""

    def update(self, results: Result | Sequence[Result]) -> None:
        """Add the result of one image, or those of several; an empty list is fine (a process without images)."""
        for result in as_list(results):
            fixed = (self.value(result) * _ONE).round().long().to(self.total.device)
            self.total = self.total + fixed  # not in place: a state reset under inference_mode would refuse it
            self.num_images = self.num_images + 1

    def compute(self) -> Tensor:
        """The mean, float32; NaN before the first image."""
        return self.total.float() / (self.num_images.float() * _ONE)

    def set_dtype(self, dst_type: str | torch.dtype) -> Self:
        """Does nothing: the states are integers, whatever the precision of the network."""
        return self

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Plot a value, or one a step; see :meth:`torchmetrics.Metric.plot`."""
        return self._plot(val, ax)
