"""A metric of how concentrated maps are."""

from typing import Any

import torch
from torch import Tensor

from lit_certattr.metrics.functional.concentration import sparseness
from lit_certattr.metrics.named_means import NamedMeans


class Sparseness(NamedMeans):
    """Gini index of the absolute values of the maps, mean over maps; a map of zeros has none and is left out.

    ``compute`` gives ``sparseness``, ``sparseness_centre`` (the image-centre baseline) and ``sparseness_random``
    (chance). See :func:`~lit_certattr.metrics.functional.sparseness`.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> metric = Sparseness()
        >>> metric.update(torch.tensor([[[0.0, 0.0], [0.0, 5.0]]]))
        >>> metric.compute()
        {'sparseness': tensor(0.7500), 'sparseness_centre': tensor(0.), 'sparseness_random': tensor(0.4142)}
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(("sparseness", "sparseness_centre", "sparseness_random"), **kwargs)

    def update(self, maps: Tensor) -> None:
        """Add maps ``[B, H, W]``."""
        self.add(torch.stack(sparseness(maps), dim=1))
