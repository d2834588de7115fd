"""Noise of contrast and brightness."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.affine import AffineBudget, stretched
from lit_certattr.budgets.affine_votes import Law
from lit_certattr.devices import onto
from lit_certattr.smoothing.transform import LARGEST_POWER, TransformNoise, check_spread


class AffineNoise(TransformNoise):
    r"""The image with random contrast and brightness, :math:`e^k (x + b)`, and pixel noise.

    Theorem: the exact bound of :mod:`lit_certattr.budgets.affine_votes`, which is attained, for
    :math:`k \sim N(0, s^2)` and :math:`b \sim N(0, t^2)`. Assumption: the images as the network gets them are not
    clipped.

    The bound is exact for majorities: labels of pixels, and the predicted class. For other levels of a vote, as in
    claims, it is loose.

    Args:
        log_contrast: Standard deviation s of the logarithm of the factor.
        brightness: Standard deviation t of what is added, in pixel units.
        sigma: Standard deviation of the pixel noise, in pixel units; 0 for none. It buys no l2 radius.

    Raises:
        InputError: If a strength is out of range.

    Example:
        >>> import torch
        >>> noise = AffineNoise(log_contrast=0.2, brightness=0.3)
        >>> image = torch.linspace(0, 1, 64).view(1, 8, 8)
        >>> round(noise.budget.length(image, image + 0.1), 4), round(noise.budget.length(image, 1.2 * image), 2)
        (0.1, 0.28)
    """

    milder_alone: ClassVar[str] = "a smaller log_contrast and brightness"

    def __init__(self, log_contrast: float, brightness: float, sigma: float = 0.0) -> None:
        super().__init__(sigma)
        self.log_contrast = check_spread("log_contrast", log_contrast, LARGEST_POWER)
        self.brightness = check_spread("brightness", brightness)

    @property
    @override
    def budget(self) -> AffineBudget:
        return AffineBudget(Law(self.log_contrast, self.brightness), self.sigma)

    @override
    def size(self, shape: Sequence[int]) -> int:
        return 2

    @override
    def transform(self, images: Tensor, numbers: Tensor) -> Tensor:
        log_contrast, brightness = numbers[:, 0] * self.log_contrast, numbers[:, 1] * self.brightness
        return stretched(images, *(onto(one, images, images.dtype) for one in (log_contrast, brightness)))
