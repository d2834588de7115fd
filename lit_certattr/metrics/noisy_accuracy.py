"""The metric of the noisy accuracy of certified images."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates import Result
from lit_certattr.metrics.image_mean import ImageMean


class NoisyAccuracy(ImageMean):
    """Share of the noisy copies that are predicted as the explained class, mean over images.

    Certificates hold whatever it is, but below one half a map explains a class that the network hardly sees under the
    noise; what helps depends on the law (:attr:`~lit_certattr.smoothing.Noise.remedy`). Results of a
    :class:`~lit_certattr.Certifier` have it, whatever their kind; others are left out.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> from torch import nn
        >>> from lit_certattr import certify
        >>> metric = NoisyAccuracy()
        >>> image, network = torch.rand(1, 4, 4), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> metric.update(certify(network, image, num_samples=100)["pixel"])
        >>> 0 <= metric.compute() <= 1
        tensor(True)
    """

    higher_is_better = True
    plot_lower_bound, plot_upper_bound = 0.0, 1.0

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    @override
    def value(self, result: Result) -> Tensor:
        accuracy = result.noisy_accuracy
        return torch.tensor(torch.nan if accuracy is None else accuracy, dtype=torch.float64)
