"""Metrics of certified top-K overlaps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.plot import plot_curve
from typing_extensions import override

from lit_certattr.certificates import Result
from lit_certattr.metrics.functional.certified import overlap_of
from lit_certattr.metrics.image_mean import ImageMean


class CertifiedOverlap(ImageMean):
    """Certified top-K overlap as a share of K at a radius, mean over images.

    Args:
        radius: Budget in pixel units.
        norm: Norm of the budget; results whose radii have another are refused.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If the radius is negative or not finite.

    Example:
        >>> from lit_certattr.certificates import TopKOverlapCertificate
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> certificate = TopKOverlapCertificate(top_k=0.5, alpha=0.01)
        >>> accumulator = certificate.start(GaussianNoise(sigma=0.5), (1, 4))
        >>> accumulator.update(torch.tensor([[[4.0, 3.0, 2.0, 1.0]]]).expand(100, 1, 4))
        >>> metric = CertifiedOverlap(radius=0.25)
        >>> metric.update(accumulator.compute())
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(self, radius: float = 0.0, norm: str = "l2", **kwargs: Any) -> None:
        super().__init__(radius, norm, **kwargs)
        overlap_of([radius])  # checks
        self.radius, self.norm = float(radius), norm

    @override
    def value(self, result: Result) -> Tensor:
        return overlap_of([self.radius], self.norm)(result)[0]


class CertifiedOverlapCurve(ImageMean):
    """Certified top-K overlap as a share of K at several radii, mean over images.

    Args:
        radii: Budgets in pixel units.
        norm: Norm of the budgets; results whose radii have another are refused.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If a radius is negative or not finite, or there is none.
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(self, radii: Sequence[float], norm: str = "l2", **kwargs: Any) -> None:
        super().__init__(tuple(radii), norm, size=len(radii), **kwargs)
        overlap_of(radii)  # checks
        self.radii, self.norm = tuple(float(radius) for radius in radii), norm

    @override
    def value(self, result: Result) -> Tensor:
        return overlap_of(self.radii, self.norm)(result)

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Plot the overlap against the radius; ``val`` is one curve of :meth:`compute` or several, default now's."""
        curves = self.compute() if val is None else val
        radii, names = torch.tensor(self.radii), (f"{self.norm} radius", "certified overlap / K")
        if isinstance(curves, Tensor):
            return plot_curve((radii, curves, radii), ax=ax, label_names=names, name=type(self).__name__)
        repeated = [radii] * len(curves)
        return plot_curve(
            (repeated, list(curves), repeated), ax=ax, label_names=names, legend_name="step", name=type(self).__name__
        )
