"""Noise of blur."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from scipy.special import log_ndtr
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.blur import BlurBudget, after, each_after, spectrum
from lit_certattr.smoothing.transform import TransformNoise, check_spread


class BlurNoise(TransformNoise):
    r"""The image blurred by heat flow for a random time :math:`T \sim \mathrm{Exp}(\text{rate})`, and pixel noise.

    Theorem: the exact bound of :mod:`lit_certattr.budgets.blur`. A majority with the vote L stands against a blur by r
    pixels while :math:`r^2 / 2 < -\ln(2 - 2L) / \text{rate}`. Blur makes an image only smoother, so an image that is
    *sharper* is not covered.

    Args:
        rate: Rate of the time, per squared pixel. A time is half the variance of the blur: the median blur has
            :math:`(2 \ln 2 / \text{rate})^{1/2}` pixels.
        sigma: Standard deviation of the pixel noise, in pixel units; 0 for none. It buys no l2 radius.

    Raises:
        InputError: If a strength is out of range.

    Example:
        >>> noise = BlurNoise(rate=1.0)
        >>> round(float(noise.budget.votes.reach(0.95, 0.5)), 2)  # pixels
        2.15
    """

    milder_alone: ClassVar[str] = "a larger rate, which blurs less"

    def __init__(self, rate: float, sigma: float = 0.0) -> None:
        super().__init__(sigma)
        self.rate = check_spread("rate", rate)

    @property
    @override
    def budget(self) -> BlurBudget:
        return BlurBudget(self.rate, self.sigma)

    @override
    def size(self, shape: Sequence[int]) -> int:
        return 1

    def _times(self, numbers: Tensor) -> Tensor:
        """Exponential times from standard normals: minus the logarithm of a uniform number."""
        return -torch.from_numpy(log_ndtr(numbers[:, 0].numpy())) / self.rate

    @override
    def transform(self, images: Tensor, numbers: Tensor) -> Tensor:
        return after(spectrum(images), self._times(numbers))

    @override
    def prepared(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        transformed = spectrum(image)
        return lambda numbers: each_after(transformed, self._times(numbers))
