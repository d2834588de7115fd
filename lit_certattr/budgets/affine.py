"""Contrast and brightness together."""

import math
from collections.abc import Sequence
from functools import lru_cache

import attrs
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.affine_votes import AffineVotes, Change, Law, distance, lower_vote, needed_vote
from lit_certattr.budgets.budget import Axis, Split, check_pair
from lit_certattr.budgets.exposure_rest import needed_vote as needed_vote_before_rest
from lit_certattr.budgets.orbit import INSIDE, OrbitBudget
from lit_certattr.statistics.rounding import at_least, at_most

_ROUNDING = 1e-12
_FINEST = 0.005  # smallest step along the axis of contrast, in standard deviations of at most 1


def stretched(images: Tensor, log_contrast: Tensor, brightness: Tensor) -> Tensor:
    """Images with another contrast and brightness, :math:`e^k (x + b)`; differentiable in the images.

    Args:
        images: Images ``[b, C, H, W]``.
        log_contrast: Logarithm k of the factor of each, ``[b]``, in the same type and on the same device.
        brightness: Amount b that is added before, ``[b]``.
    """
    return (images + brightness[:, None, None, None]) * log_contrast.exp()[:, None, None, None]


@attrs.frozen
class AffineBudget(OrbitBudget):
    r"""Changes :math:`x \to e^k (x + b)` of contrast and brightness.

    The length of a change is :math:`t\, \Phi^{-1}(p)` for the vote p at the image with which the changed image surely
    has a majority: the change of brightness that is as bad. The changes below a length are no box:
    :meth:`brightness_beside` is its edge.

    Attributes:
        law: Standard deviations of k and b in the noise.
        sigma: Standard deviation of the pixel noise.
    """

    name = "contrast and brightness"
    law: Law
    sigma: float = 0.0

    @property
    @override
    def typical(self) -> float:
        return self.law.brightness

    @property
    @override
    def votes(self) -> AffineVotes:
        return AffineVotes(self.law.brightness)

    @property
    @override
    def unit(self) -> str:
        return "length (brightness alone: pixel units)"

    @property
    @override
    def definition(self) -> str:
        return (
            "Only changes x -> c (x + b) of contrast and brightness of the whole image are covered, before anything is "
            "clipped or rounded. The length of a change is the change of brightness alone that moves a majority as far."
        )

    @override
    def axes(self, radius: float, channels: int = 3) -> list[Axis]:
        low, high = (math.exp(end) for end in contrast_range(self.law, radius))
        grey = at_least(255 * radius, 3)
        light = f"brightness within +-{at_least(radius)} ({grey} of 255 grey levels)"
        return [
            Axis("brightness", -radius, radius, "pixel units", light),
            Axis("contrast", low, high, "factor", f"contrast between {at_most(low)} and {at_least(high)} times"),
        ]

    def brightness_beside(self, radius: float, log_contrast: float) -> float:
        """Brightness, in both directions, beside one change of contrast: the edge to a few ten-thousandths.

        Args:
            radius: Length of both together.
            log_contrast: Logarithm of the factor.

        Returns:
            The amount that is added before the multiplication; 0 where the contrast alone is as long or longer.
        """
        return _edge(self.law, radius, log_contrast)

    def _length(self, log_contrast: float, brightness: float, level: float = 0.5) -> float:
        return _length_of(self.law, Change(log_contrast, brightness), level)

    @override
    def change(self, image: Tensor, amounts: Tensor) -> Tensor:
        """The changed image.

        Args:
            image: Image ``[C, H, W]``.
            amounts: Logarithm of the factor, and the amount that is added before; float64 ``[2]``.
        """
        changed = stretched(image[None].double().cpu(), amounts[:1].cpu(), amounts[1:].cpu())[0]
        return changed.to(image.device, image.dtype)

    @override
    def amounts_of(self, image: Tensor, changed: Tensor) -> Tensor:
        rest, other = image - image.mean(), changed - changed.mean()
        factor = float((rest * other).sum() / rest.square().sum()) if bool((rest != 0).any()) else 1.0
        if factor <= 0:
            return torch.full((2,), math.nan, dtype=torch.float64)
        if abs(factor - 1) < 1e-7:  # below the rounding of float32
            factor = 1.0
        brightness = float(changed.mean()) / factor - float(image.mean())
        return torch.tensor([math.log(factor), brightness], dtype=torch.float64)

    @override
    def length_of(self, image: Tensor, amounts: Tensor) -> float:
        log_contrast, brightness = amounts.tolist()
        return self._length(log_contrast, brightness)

    @override
    def majority_length(self, image: Tensor, changed: Tensor) -> float:
        """Length of a change for majorities; contrast, brightness and a rest are covered together with pixel noise.

        A random contrast multiplies the rest as a random exposure does: what a majority needs before the rest
        (:mod:`~lit_certattr.budgets.exposure_rest`, without an exposure) has to be left by contrast and brightness.

        Args:
            image: The certified image ``[C, H, W]``.
            changed: The changed image ``[C, H, W]``.
        """
        length = self.length(image, changed)
        if not self.sigma or length < math.inf:
            return length
        clean, other = check_pair(image, changed)
        amounts = self.amounts_of(clean, other)
        if not bool(amounts.isfinite().all()):
            return math.inf
        rest = float((other - self.change(clean, amounts)).norm()) / self.sigma * (1 + _ROUNDING)
        # A contrast of e^k is an exposure of k / ln 2 stops.
        level = needed_vote_before_rest(self.law.log_contrast / math.log(2), 0.0, rest)
        log_contrast, brightness = amounts.tolist()
        return self._length(log_contrast, brightness, level) if level < 1 else math.inf

    @override
    def named(self, image: Tensor, amounts: Tensor) -> Split:
        log_contrast, brightness = amounts.tolist()
        return Split(contrast=math.exp(log_contrast), brightness=brightness)

    @override
    def extremes(self, image: Tensor, radius: float) -> list[tuple[str, Sequence[float]]]:
        low, high = (end * INSIDE for end in contrast_range(self.law, radius))
        bright = radius * INSIDE
        light = f"{at_least(bright, 3)} ({at_least(255 * bright, 3)} of 255)"
        return [
            (f"brightness -{light}", [0.0, -bright]),
            (f"brightness +{light}", [0.0, bright]),
            (f"contrast {at_most(math.exp(low), 3)} times, the lowest", [low, 0.0]),
            (f"contrast {at_least(math.exp(high), 3)} times, the highest", [high, 0.0]),
        ]

    @override
    def search(self, image: Tensor, radius: float, count: int, generator: torch.Generator | None = None) -> Tensor:
        low, high = contrast_range(self.law, radius)
        rows = max(2, count // 3)
        found = []
        for log_contrast in torch.linspace(low, high, rows, dtype=torch.float64).tolist():
            edge = self.brightness_beside(radius, log_contrast) * INSIDE
            found += [(log_contrast, -edge), (log_contrast, edge), (log_contrast, 0.0)]
        return torch.tensor(found, dtype=torch.float64)[: max(count, 1)]


def _length_of(law: Law, change: Change, level: float = 0.5) -> float:
    needed = needed_vote(law, change, level)
    return law.brightness * float(ndtri(needed)) * (1 + _ROUNDING) if needed < 1 else math.inf


@lru_cache(maxsize=1024)
def _edge(law: Law, radius: float, log_contrast: float) -> float:
    # One direction is enough: with -b for b both laws stay what they are.
    low, high = 0.0, radius + abs(log_contrast)
    while high - low > 2e-4 * high:
        middle = (low + high) / 2
        inside = _length_of(law, Change(log_contrast, middle)) < radius
        low, high = (middle, high) if inside else (low, middle)
        if high < 1e-6 * law.brightness:
            break
    return low


@lru_cache(maxsize=256)
def contrast_range(law: Law, radius: float) -> tuple[float, float]:
    """The changes of contrast alone that are shown to be shorter than a radius, as logarithms.

    From one contrast whose least vote leaves something above one half, all contrasts are covered that are so near that
    no vote can change by more (:func:`~lit_certattr.budgets.affine_votes.distance`), and so on: the range has no gap.

    Args:
        law: The law of the noise.
        radius: Length in pixel units.
    """
    vote = float(ndtr(radius / law.brightness)) * (1 - 1e-14)
    ends = []
    for sign in (-1.0, 1.0):
        end = 0.0
        while True:
            left = (vote if end == 0 else lower_vote(law, Change(sign * end, 0.0), vote)) - 0.5
            step = _longest_step(law, left)
            if step < _FINEST * min(1.0, law.log_contrast):
                break
            end += step
        ends.append(sign * end)
    return ends[0], ends[1]


def _longest_step(law: Law, left: float) -> float:
    """Largest change of the logarithm of contrast that moves no vote by as much."""
    low, high = 0.0, 2.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if distance(law, middle) < left else (low, middle)
    return low
