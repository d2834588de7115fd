"""Metrics of locality-sensitive overlap, guaranteed by pixel certificates."""

from typing import Any

from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates import Result
from lit_certattr.metrics.functional.certified_lens import lens_precision_of, lens_recall_of
from lit_certattr.metrics.image_mean import ImageMean


class CertifiedLENSRecall(ImageMean):
    """Lower bound on the LENS recall under all perturbations up to a radius, mean over images.

    See :func:`~lit_certattr.metrics.functional.certified_lens_recall` for the statement and its proof. It is 0 where no
    pixel is certified important: the majority set may then be empty, which counts as 0.

    Args:
        radius: Budget in pixel l2 units.
        window: Distance that a pixel may move, in pixels.
        level: Which of the certificate's ``top_k`` levels.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the result has no such level.

    Example:
        >>> import torch
        >>> from lit_certattr.certificates import PixelCertificate
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> certificate = PixelCertificate(top_k=[0.5], alpha=0.01)
        >>> accumulator = certificate.start(GaussianNoise(sigma=0.25), (1, 4))
        >>> accumulator.update(torch.tensor([[[4.0, 3.0, 2.0, 1.0]]]).expand(100, 1, 4))
        >>> metric = CertifiedLENSRecall(radius=0.1)
        >>> metric.update(accumulator.compute())
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(self, radius: float = 0.0, window: int = 1, level: int = 0, **kwargs: Any) -> None:
        super().__init__(radius, window, level, **kwargs)
        lens_recall_of(radius, window, level)  # checks
        self.radius, self.window, self.level = float(radius), window, level

    @override
    def value(self, result: Result) -> Tensor:
        return lens_recall_of(self.radius, self.window, self.level)(result)


class CertifiedLENSPrecision(CertifiedLENSRecall):
    """Lower bound on the LENS precision under all perturbations up to a radius, mean over images.

    See :func:`~lit_certattr.metrics.functional.certified_lens_precision`. An empty released set counts as 0.

    Args:
        radius: Budget in pixel l2 units.
        window: Distance that a pixel may move, in pixels.
        level: Which of the certificate's ``top_k`` levels.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the result has no such level.
    """

    @override
    def value(self, result: Result) -> Tensor:
        return lens_precision_of(self.radius, self.window, self.level)(result)
