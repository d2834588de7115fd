"""A mean over images that does not depend on their order or on the number of processes."""

from abc import ABC
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn

ONE = 2**32
"""1.0 in the fixed-point sums: resolution 2e-10, room for a sum of 2e9."""


def settings_state(kind: type, *settings: object) -> str:
    """Name of the empty state of a metric with these settings: an identifier, different for different settings.

    Args:
        kind: Class of the metric.
        *settings: Its settings.
    """
    return f"settings_{kind.__name__}" + "".join(
        sign if sign.isalnum() else f"_{ord(sign):x}_" for sign in repr(settings)
    )


class FixedPointMean(Metric, ABC):
    """Mean over images of a number (or several) that each image has.

    The states are integers, a fixed-point sum and counts. Integer addition is exact and commutative, so any order of
    the images and any number of processes give the same bits; no precision setting affects it; and no map is kept.

    In a torchmetrics collection, metrics share one state permanently if their states are equal after the first batch,
    as often happens for two radii. So every metric has an empty state named after its settings: only equal metrics
    share.

    A number that is undefined for an image is NaN or infinite, and cannot be summed. The mean leaves it out,
    ``num_undefined`` counts it, and :meth:`compute` warns of it.

    Args:
        settings: All settings that the number depends on.
        size: Length of the vector per image; ``None`` for a scalar.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False
    plot_lower_bound: float | None = 0.0

    total: Tensor
    num_images: Tensor
    """Images that have the number."""
    num_undefined: Tensor
    """Images that do not."""

    def __init__(self, *settings: object, size: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state(settings_state(type(self), *settings), torch.tensor(0), dist_reduce_fx="sum")
        for state in ("total", "num_images", "num_undefined"):
            zeros = torch.zeros((), dtype=torch.int64) if size is None else torch.zeros(size, dtype=torch.int64)
            self.add_state(state, zeros, dist_reduce_fx="sum")

    def add(self, values: Tensor) -> None:
        """Add the numbers of some images, float ``[B]`` or ``[B, size]``."""
        values = values.detach().to(self.total.device)
        defined = values.isfinite()
        fixed = (torch.where(defined, values, 0.0) * ONE).round().long()
        # Not in place: a state reset under inference_mode would refuse it.
        self.total = self.total + fixed.sum(0)
        self.num_images = self.num_images + defined.sum(0)
        self.num_undefined = self.num_undefined + (~defined).sum(0)

    def compute(self) -> Tensor:
        """The mean, float32; NaN before the first image that has the number."""
        if undefined := int(self.num_undefined.max()):
            rank_zero_warn(f"{type(self).__name__} is not defined for {undefined} images; the mean leaves them out")
        return self.total.float() / (self.num_images.float() * ONE)

    def set_dtype(self, dst_type: str | torch.dtype) -> Self:
        """Does nothing: the states are integers, whatever the precision of the network."""
        return self

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot a value, or one per step; see :meth:`torchmetrics.Metric.plot`."""
        return self._plot(val, ax)
