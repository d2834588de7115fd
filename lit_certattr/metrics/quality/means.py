"""Means over images of a quality of maps, beside what it is compared with."""

from typing import Any

from torch import Tensor

from lit_certattr.metrics.named_means import NamedMeans
from lit_certattr.metrics.quality.base import MapQuality


class QualityMeans(NamedMeans):
    """Means over images of all numbers of a quality, by their names.

    Args:
        quality: What was measured.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> from lit_certattr.metrics.quality import RandomLogitQuality
        >>> means = QualityMeans(RandomLogitQuality())
        >>> means.update(torch.tensor([[0.5, 0.0], [0.25, 0.0]]))
        >>> means.compute()
        {'random_logit': tensor(0.3750), 'random_logit_chance': tensor(0.)}
    """

    def __init__(self, quality: MapQuality, **kwargs: Any) -> None:
        super().__init__(quality.columns, repr(quality), **kwargs)

    def update(self, values: Tensor) -> None:
        """Add the numbers of some images, ``[B, columns]``."""
        self.add(values)
