"""A metric of what maps say about the image at hand."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_certattr.errors import InputError
from lit_certattr.metrics.fixed_point_mean import settings_state
from lit_certattr.metrics.functional.class_overlap import overlap_of_counts, top_k_sets
from lit_certattr.smoothing import top_k_size


class SameClassOverlap(Metric):
    """Mean top-K overlap of the maps of *different* images with the same prediction; small is informative.

    ``compute`` gives ``same_class_overlap`` beside ``different_class_overlap`` (pairs with different predictions),
    ``chance_overlap`` (K / N) and ``constant_maps`` (share of the maps that take part in no pair). See
    :func:`~lit_certattr.metrics.functional.class_overlap` for how to read them.

    The states are sums: one count of 4 bytes a class and pixel (200 MB for 1,000 classes at 224 x 224; where that is
    too much, take a part of the classes, or maps at the resolution of their layer).

    Args:
        num_classes: Number of classes.
        map_shape: Height and width of the maps.
        top_k: K as a share of the pixels in (0, 1), or their number.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If a number is out of range; on update, if maps or predictions do not fit.

    Example:
        >>> metric = SameClassOverlap(num_classes=10, map_shape=(2, 2), top_k=1)
        >>> metric.update(torch.tensor([[[9.0, 1.0], [0.0, 0.0]]]), torch.tensor([3]))
        >>> metric.update(torch.tensor([[[7.0, 2.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 5.0]]]), torch.tensor([3, 8]))
        >>> metric.compute()
        {'same_class_overlap': tensor(1.), 'different_class_overlap': tensor(0.),
         'chance_overlap': tensor(0.2500), 'constant_maps': tensor(0.)}
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    votes: Tensor
    counts: Tensor
    constant: Tensor

    def __init__(self, num_classes: int, map_shape: tuple[int, int], top_k: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 1 or len(map_shape) != 2 or min(map_shape) < 1:
            raise InputError(f"num_classes and map_shape must be positive, got {num_classes} and {tuple(map_shape)}")
        pixels = map_shape[0] * map_shape[1]
        self.num_classes, self.map_shape, self.top_k = num_classes, (map_shape[0], map_shape[1]), top_k
        self.size = top_k_size(top_k, pixels)
        self.add_state(settings_state(type(self), self.map_shape, self.size), torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("votes", torch.zeros(num_classes, pixels, dtype=torch.int32), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("constant", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, maps: Tensor, predictions: Tensor) -> None:
        """Add maps ``[B, H, W]`` and the predicted classes ``[B]`` of their images, each image once.

        Args:
            maps: Maps ``[B, H, W]``.
            predictions: Predicted classes ``[B]`` of their images.

        Raises:
            InputError: If the maps have another shape than the metric, or a prediction is no class.
        """
        if maps.shape[1:] != self.map_shape:
            raise InputError(f"maps must be [B, {self.map_shape[0]}, {self.map_shape[1]}], got {tuple(maps.shape)}")
        classes, masks, constant = top_k_sets(maps, predictions, self.top_k)
        if not bool(((classes >= 0) & (classes < self.num_classes)).all()):
            raise InputError(f"predictions must be classes 0 to {self.num_classes - 1}, got {predictions.tolist()}")
        if self.votes.is_inference():  # reset under inference_mode; such a tensor cannot be written to outside of it
            self.votes = self.votes.clone()
        device = self.votes.device
        self.votes.index_add_(0, classes.to(device), masks.to(device, torch.int32))
        self.counts = self.counts + classes.bincount(minlength=self.num_classes).to(device)
        self.constant = self.constant + constant.to(device)

    def compute(self) -> dict[str, Tensor]:
        """The overlaps, float32 scalars by name; NaN where there is no pair."""
        found = overlap_of_counts(self.votes, self.counts, self.constant, self.size)
        names = ("same_class_overlap", "different_class_overlap", "chance_overlap", "constant_maps")
        return dict(zip(names, found, strict=True))

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot the values, or those of several steps; see :meth:`torchmetrics.Metric.plot`."""
        return self._plot(val, ax)
