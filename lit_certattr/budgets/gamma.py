"""Gamma curves: another display, another film, another tone curve of a camera."""

import math
from collections.abc import Sequence

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.budget import Axis, Split
from lit_certattr.budgets.orbit import INSIDE, OrbitBudget, both_ways
from lit_certattr.budgets.votes import GaussianVotes
from lit_certattr.statistics.rounding import at_least, at_most

_ROUNDING = 1e-12
_LARGEST = 700.0  # |ln gamma| that is written, so that gamma is a float


def gamma_curved(images: Tensor, log_gamma: Tensor) -> Tensor:
    """Images to the power of gamma; differentiable in the images, with derivative 0 at black.

    Args:
        images: Images ``[b, C, H, W]`` in [0, 1].
        log_gamma: Natural logarithm of gamma of each, ``[b]``, in the same type and on the same device.
    """
    dark = images <= 0
    # The power of a positive number alone: at 0 the derivative of x^gamma is infinite for gamma < 1.
    curved = torch.where(dark, 1.0, images).pow(log_gamma.exp()[:, None, None, None])
    return torch.where(dark, 0.0, curved)


@attrs.frozen
class GammaBudget(OrbitBudget):
    r"""Gamma curves :math:`x \to x^\gamma`, :math:`\gamma > 0`; the length of a change is :math:`|\ln \gamma|`.

    Attributes:
        spread: Standard deviation of :math:`\ln \gamma` in the noise.
    """

    name = "gamma"
    spread: float

    @property
    @override
    def typical(self) -> float:
        return self.spread

    @property
    @override
    def votes(self) -> GaussianVotes:
        return GaussianVotes(self.spread)

    @property
    @override
    def measure(self) -> str:
        return "length |ln gamma|"

    @property
    @override
    def definition(self) -> str:
        return (
            "Only gamma curves x -> x^gamma of the image with values in [0, 1] are covered, before anything is "
            "rounded. The length of a change is |ln gamma|."
        )

    @override
    def axes(self, radius: float, channels: int = 3) -> list[Axis]:
        largest = math.exp(min(radius, _LARGEST))
        words = f"gamma between {at_most(1 / largest)} and {at_least(largest)}"
        return [Axis("gamma", 1 / largest, largest, "gamma", words)]

    @override
    def change(self, image: Tensor, amounts: Tensor) -> Tensor:
        """The changed image.

        Args:
            image: Image ``[C, H, W]``.
            amounts: Natural logarithm of gamma, float64 ``[1]``.
        """
        changed = gamma_curved(image[None].double().cpu(), amounts.cpu())[0]
        return changed.to(image.device, image.dtype)

    @override
    def amounts_of(self, image: Tensor, changed: Tensor) -> Tensor:
        # Where the curve moves a value most: ln gamma = ln(ln x' / ln x) is best known there.
        seen = (image > 0) & (image < 1) & (changed > 0) & (changed < 1)
        if not bool(seen.any()):
            return torch.zeros(1, dtype=torch.float64)
        before, after = image[seen].log(), changed[seen].log()
        ratios = (after / before).log()
        weights = (before * image[seen]).square()  # the derivative of x^gamma by ln gamma at gamma = 1, squared
        return ((weights * ratios).sum() / weights.sum())[None]

    @override
    def length_of(self, image: Tensor, amounts: Tensor) -> float:
        return abs(float(amounts[0])) * (1 + _ROUNDING)

    @override
    def named(self, image: Tensor, amounts: Tensor) -> Split:
        return Split(gamma=math.exp(float(amounts[0])))

    @override
    def extremes(self, image: Tensor, radius: float) -> list[tuple[str, Sequence[float]]]:
        amount = radius * INSIDE
        low, high = at_most(math.exp(-amount), 3), at_least(math.exp(amount), 3)
        return [(f"gamma {high}, the darkest", [amount]), (f"gamma {low}, the brightest", [-amount])]

    @override
    def search(self, image: Tensor, radius: float, count: int, generator: torch.Generator | None = None) -> Tensor:
        return both_ways(radius * INSIDE, count)
