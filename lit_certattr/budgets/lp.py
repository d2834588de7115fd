"""The ball of a norm: what an adversary has."""

import math
import re

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.budget import Axis, Budget, check_pair
from lit_certattr.budgets.votes import GaussianVotes
from lit_certattr.errors import InputError
from lit_certattr.statistics.rounding import at_least

_ROUNDING = 1e-12  # relative: more than the sum of squares of a million float64 values is off by
_TOLERANCE = 2.0**-10  # of a grey level: what float32 makes of a multiple of 1/levels


@attrs.frozen
class LpBudget(Budget):
    """All changes of the pixels, measured by a norm of their differences.

    Attributes:
        scale: Standard deviation of Gaussian noise, in pixel units; ``None`` for another law, under which a change does
            not move a vote in the same way.
        norm: Name of the norm, ``"l1"``, ``"l2"``, ..., ``"linf"``.
        levels: Grey levels between 0 and 1 if only images of whole grey levels are covered; ``None`` for all images.

    Example:
        >>> budget = LpBudget(0.25)
        >>> round(budget.length(torch.zeros(1, 1, 2), torch.tensor([[[0.3, 0.4]]])), 6)
        0.5
    """

    scale: float | None
    norm: str = "l2"
    levels: int | None = None

    @property
    @override
    def name(self) -> str:  # type: ignore[override]
        return self.norm

    @property
    @override
    def typical(self) -> float:
        return self.scale or 1.0  # a law for which no certificate speaks of lengths

    @property
    @override
    def votes(self) -> GaussianVotes:
        """How far a change of a given length can move a vote.

        Raises:
            InputError: If the noise is not Gaussian.
        """
        if self.scale is None:
            raise InputError("how far a change can move a vote is known here for Gaussian noise alone")
        return GaussianVotes(self.scale)

    @property
    @override
    def measure(self) -> str:
        return f"{self.norm} norm"

    @property
    @override
    def a_measure(self) -> str:
        return f"an {self.norm} norm"

    @property
    @override
    def radius_word(self) -> str:
        return f"{self.norm} radius"

    @property
    @override
    def unit(self) -> str:
        return f"{self.norm} radius (pixel units)"

    @property
    def order(self) -> float:
        """Order of the norm.

        Raises:
            InputError: If it is no lp norm.
        """
        if not re.fullmatch(r"l(inf|\d+(\.\d+)?)", self.norm):
            raise InputError(f"no length of a change is known for radii in {self.norm}")
        return float(self.norm[1:])

    @override
    def axes(self, radius: float, channels: int = 3) -> list[Axis]:
        words = f"any change of the pixels with {self.norm} norm below {at_least(radius)}"
        return [Axis(self.norm, 0.0, radius, "pixel units", words)]

    @override
    def length(self, image: Tensor, changed: Tensor) -> float:
        clean, other = check_pair(image, changed)
        if self.levels is not None:
            grey = other * self.levels
            if bool(((grey - grey.round()).abs() > _TOLERANCE).any()):
                return math.inf
            # The noise is added to the nearest grey levels, so their distance counts, not that of what a float holds.
            clean, other = (clean * self.levels).round() / self.levels, grey.round() / self.levels
        length = float(torch.linalg.vector_norm(other - clean, self.order))
        return length * (1 + _ROUNDING)
