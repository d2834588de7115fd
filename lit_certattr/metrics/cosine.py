"""Metrics of certified cosines."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import KeepsCosine, offering
from lit_certattr.metrics.functional.certified import check_radius
from lit_certattr.metrics.image_mean import ImageMean


class CertifiedCosine(ImageMean):
    """Certified cosine of the smoothed map at a radius, 0 where none is certified, mean over images.

    Args:
        radius: Budget in pixel l2 units.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If the radius is negative or not finite.

    Example:
        >>> from lit_certattr.certificates import CosineCertificate
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> certificate = CosineCertificate(alpha=0.01, num_selection=8)
        >>> accumulator = certificate.start(GaussianNoise(sigma=0.5), (1, 2))
        >>> accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(500, 1, 2))
        >>> metric = CertifiedCosine(radius=0.25)
        >>> metric.update(accumulator.compute())
        >>> round(float(metric.compute()), 2)
        0.99
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(self, radius: float, **kwargs: Any) -> None:
        super().__init__(radius, **kwargs)
        self.radius = check_radius(radius)

    @override
    def value(self, result: Result) -> Tensor:
        cosine: KeepsCosine = offering(result, KeepsCosine)
        return torch.tensor(cosine.certified_cosine(self.radius), dtype=torch.float64)
