"""What all metrics of certificates share: a mean over images of a number that each result has."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from lit_certattr.certificates import Result
from lit_certattr.metrics.fixed_point_mean import FixedPointMean
from lit_certattr.metrics.functional.certified import as_list


class ImageMean(FixedPointMean):
    """Mean over images of a number (or several) that each result has.

    Args:
        settings: All settings that the number depends on.
        size: Numbers a result; ``None`` for a scalar.
        **kwargs: Passed to :class:`torchmetrics.Metric`.
    """

    @abstractmethod
    def value(self, result: Result) -> Tensor:
        """The number of one image, float64."""

    def update(self, results: Result | Sequence[Result]) -> None:
        """Add the result of one image, or those of several; an empty list is fine (a process without images)."""
        for result in as_list(results):
            self.add(self.value(result)[None])
