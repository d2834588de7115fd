"""What all metrics here share: a mean over images that no order and no process can change."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_certattr.certificates import Result
from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.certified import as_list

_ONE = 2**32
"""1.0 in the fixed-point sums: resolution 2e-10, room for a sum of 2e9."""


class FixedPointMean(Metric, ABC):
    """Mean over images of a number, or of an array of numbers, of each image.

    The states are integers, fixed-point sums and a count. Integer addition is exact and commutative, so any order of
    the images and any number of processes give the same bits; no precision setting touches it; and no map is kept.

    Args:
        shape: Shape of the numbers of one image; empty for a scalar.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False
    plot_lower_bound = 0.0

    total: Tensor
    num_images: Tensor

    def __init__(self, shape: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(tuple(shape), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("num_images", torch.tensor(0), dist_reduce_fx="sum")

    def add(self, values: Tensor) -> None:
        """Add the numbers ``[B, *shape]`` of some images.

        Raises:
            InputError: If one is not finite: a sum would silently lose it.
        """
        exact = values.detach().cpu().double()  # in double on the CPU: not every accelerator has it
        if not bool(torch.isfinite(exact).all()):
            raise InputError(f"{type(self).__name__} cannot average values that are NaN or infinite")
        fixed = (exact * _ONE).round().long().sum(0).to(self.total.device)
        self.total = self.total + fixed  # not in place: a state reset under inference_mode would refuse it
        self.num_images = self.num_images + len(exact)

    def mean(self) -> Tensor:
        """The mean over images, float32, of the shape of one image's numbers; NaN before the first image."""
        return self.total.float() / (self.num_images.float() * _ONE)

    def set_dtype(self, dst_type: str | torch.dtype) -> Self:
        """Does nothing: the states are integers, whatever the precision of the network."""
        return self

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot a value, or one a step; see :meth:`torchmetrics.Metric.plot`."""
        return self._plot(val, ax)


class ImageMean(FixedPointMean):
    """Mean over images of a number (or several) that each certified result has.

    Args:
        size: Numbers a result; ``None`` for a scalar.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    def __init__(self, size: int | None = None, **kwargs: Any) -> None:
        super().__init__(() if size is None else (size,), **kwargs)

    @abstractmethod
    def value(self, result: Result) -> Tensor:
        """The number of one image, float64."""

    def update(self, results: Result | Sequence[Result]) -> None:
        """Add the result of one image, or those of several; an empty list is fine (a process without images)."""
        for result in as_list(results):
            self.add(self.value(result)[None])

    def compute(self) -> Tensor:
        """The mean, float32; NaN before the first image."""
        return self.mean()


class NamedMeans(FixedPointMean):
    """Means over images of several numbers, given under names so that none is read without those beside it.

    Args:
        names: Names of the numbers, in their order.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    def __init__(self, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__((len(names),), **kwargs)
        self.names = tuple(names)

    def compute(self) -> dict[str, Tensor]:
        """Each mean, a float32 scalar, by name; NaN before the first image."""
        return dict(zip(self.names, self.mean(), strict=True))
