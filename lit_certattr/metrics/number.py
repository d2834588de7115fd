"""The metric of any number that a kind of certificate has."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates import Result
from lit_certattr.certificates.measures import NumberMeasure
from lit_certattr.metrics.functional.certified import check_radius
from lit_certattr.metrics.image_mean import ImageMean


class CertifiedNumber(ImageMean):
    """A number of each result at a radius, mean over images.

    Args:
        measure: Which number.
        radius: Budget in pixel units.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If the radius is negative or not finite.
    """

    def __init__(self, measure: NumberMeasure, radius: float, **kwargs: Any) -> None:
        super().__init__(measure.name, measure.top_k, radius, **kwargs)
        self.measure, self.radius = measure, check_radius(radius)

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """As the kind of certificate says."""
        return self.measure.higher_is_better

    @override
    def value(self, result: Result) -> Tensor:
        return torch.tensor(self.measure.value(result, self.radius), dtype=torch.float64)
