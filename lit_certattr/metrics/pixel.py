"""Metrics of pixel certificates."""

from typing import Any

from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates import Result
from lit_certattr.metrics.functional.certified import LabelShare, fraction_of, one_share_of, radius_of
from lit_certattr.metrics.image_mean import ImageMean


class CertifiedFraction(ImageMean):
    """Share of the pixels that are certified at a radius, mean over images (%certified).

    A scalar, so that it can be logged, plotted and monitored by itself; ``part`` chooses which one. See
    :func:`~lit_certattr.metrics.functional.certified_fraction` for why it needs its ``"null"`` baseline beside
    it; :func:`~lit_certattr.metrics.certified_metrics` gives both.

    Args:
        radius: Budget in pixel l2 units; at 0 every label counts.
        level: Which of the certificate's ``top_k`` levels.
        part: ``"certified"``, ``"one"``, ``"zero"``, ``"abstain"`` or ``"null"``.
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
        >>> metric = CertifiedFraction(radius=0.1, part="one")
        >>> metric.update(accumulator.compute())
        >>> metric.compute()
        tensor(0.5000)
    """

    plot_upper_bound = 1.0

    def __init__(self, radius: float = 0.0, level: int = 0, part: LabelShare = "certified", **kwargs: Any) -> None:
        super().__init__(radius, level, part, **kwargs)
        fraction_of(radius, level, part)  # checks
        self.radius, self.level, self.part = float(radius), level, part

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """More certified is better, more abstentions are worse; the baseline is neither."""
        return {"abstain": False, "null": None}.get(self.part, True)

    @override
    def value(self, result: Result) -> Tensor:
        return fraction_of(self.radius, self.level, self.part)(result)


class CertifiedOneShare(ImageMean):
    """Certified-important pixels as a share of K, mean over images; it may exceed 1.

    More than K pixels can be in the top K of most noisy maps, see
    :func:`~lit_certattr.metrics.functional.certified_one_share`.

    Args:
        radius: Budget in pixel l2 units; at 0 every label counts.
        level: Which of the certificate's ``top_k`` levels.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If an argument is out of range, or on update if the result has no such level.
    """

    higher_is_better = True
    plot_upper_bound = 2.0  # at tau = 1/2

    def __init__(self, radius: float = 0.0, level: int = 0, **kwargs: Any) -> None:
        super().__init__(radius, level, **kwargs)
        one_share_of(radius, level)  # checks
        self.radius, self.level = float(radius), level

    @override
    def value(self, result: Result) -> Tensor:
        return one_share_of(self.radius, self.level)(result)


class MeanCertifiedRadius(ImageMean):
    """Certified radius in pixel l2 units, mean over pixels (0 where the certificate abstains) and images.

    Args:
        level: Which of the certificate's ``top_k`` levels.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If the level is out of range, or on update if the result has no such level.
    """

    higher_is_better = True

    def __init__(self, level: int = 0, **kwargs: Any) -> None:
        super().__init__(level, **kwargs)
        radius_of(level)  # checks
        self.level = level

    @override
    def value(self, result: Result) -> Tensor:
        return radius_of(self.level)(result)
