"""Means over images of several numbers that belong together."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lit_certattr.metrics.fixed_point_mean import FixedPointMean


class NamedMeans(FixedPointMean):
    """Means over images of several numbers, given under names, so that none is read without those beside it.

    Args:
        names: Names of the numbers, in their order.
        settings: All settings that the numbers depend on.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    def __init__(self, names: Sequence[str], *settings: object, **kwargs: Any) -> None:
        super().__init__(*settings, size=len(names), **kwargs)
        self.names = tuple(names)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """Each mean, a float32 scalar, by name; NaN before the first image."""
        return dict(zip(self.names, super().compute(), strict=True))
