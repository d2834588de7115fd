"""Noise of gamma: the image under a random gamma curve."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.gamma import GammaBudget, gamma_curved
from lit_certattr.devices import onto
from lit_certattr.errors import InputError
from lit_certattr.smoothing.transform import LARGEST_POWER, TransformNoise, check_spread


class GammaNoise(TransformNoise):
    r"""The image to the power of :math:`e^c`, :math:`c \sim N(0, s^2)`, and pixel noise.

    Theorem. All votes h satisfy :math:`h(x^\gamma) \ge \Phi(\Phi^{-1}(h(x)) - |\ln\gamma| / s)`. Proof:
    :math:`(x^\gamma)^{e^c} = x^{e^{c + \ln\gamma}}`, so a noisy copy of :math:`x^\gamma` is the same function of
    :math:`c + \ln\gamma` that one of x is of c (Neyman and Pearson). ∎ Assumption: values in [0, 1], on which these
    curves are closed, so that nothing is clipped.

    Args:
        log_gamma: Standard deviation s of :math:`\ln\gamma`; .2 makes two thirds of the curves lie between .82 and
            1.22.
        sigma: Standard deviation of the pixel noise, in pixel units; 0 for none. It buys no l2 radius.

    Raises:
        InputError: If a strength is out of range.

    Example:
        >>> import torch
        >>> noise = GammaNoise(log_gamma=0.2)
        >>> grey = torch.full((1, 8, 8), 0.4)
        >>> round(noise.budget.length(grey, grey**1.25), 4)  # ln 1.25
        0.2231
    """

    milder_alone: ClassVar[str] = "a smaller log_gamma"

    def __init__(self, log_gamma: float, sigma: float = 0.0) -> None:
        super().__init__(sigma)
        self.log_gamma = check_spread("log_gamma", log_gamma, LARGEST_POWER)

    @property
    @override
    def budget(self) -> GammaBudget:
        return GammaBudget(self.log_gamma)

    @override
    def check(self, image: Tensor, name: str) -> None:
        """Refuse an image with values outside [0, 1], whose powers are not defined or leave the range.

        Raises:
            InputError: If a value is negative or above 1.
        """
        low, high = float(image.min()), float(image.max())
        if low < 0 or high > 1:
            raise InputError(
                f"image {name}: {type(self).__name__} needs values in [0, 1], these lie between {low:.4g} and "
                f"{high:.4g}; put the normalisation into the network"
            )

    @override
    def size(self, shape: Sequence[int]) -> int:
        return 1

    @override
    def transform(self, images: Tensor, numbers: Tensor) -> Tensor:
        return gamma_curved(images, onto(numbers[:, 0] * self.log_gamma, images, images.dtype))
