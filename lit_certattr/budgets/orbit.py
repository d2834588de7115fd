"""Changes that a few amounts describe: an exposure, a gamma, a contrast, a blur."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.budget import LARGEST, REST, Budget, Edge, Split, check_pair

TOLERANCE = 2.0**-20
"""How far the values of a changed image may be from those of an exact change: a few roundings of float32;
of a value above 1 as a share of it."""
INSIDE = 1 - 1e-6
"""Share of a radius that searches use: a certificate is about lengths below it, and float32 images are rounded."""


class OrbitBudget(Budget):
    """The images that one image becomes under a family of changes with a few amounts; no other image is covered.

    There is no l2 rest: an image that is not one of the family, be it by one grey level, has an infinite length.
    """

    @abstractmethod
    def change(self, image: Tensor, amounts: Tensor) -> Tensor:
        """The changed image.

        Args:
            image: Image ``[C, H, W]``.
            amounts: Amounts ``[m]``, float64, in the units of the axes.

        Returns:
            Image ``[C, H, W]`` in the type of ``image``.
        """

    @abstractmethod
    def amounts_of(self, image: Tensor, changed: Tensor) -> Tensor:
        """The amounts of a change, if it is one of the family; any amounts if not.

        Args:
            image: The certified image ``[C, H, W]``, float64.
            changed: The changed image ``[C, H, W]``, float64.

        Returns:
            float64 ``[m]``.
        """

    @abstractmethod
    def length_of(self, image: Tensor, amounts: Tensor) -> float:
        """Length of the change with some amounts, never too small.

        Args:
            image: The certified image ``[C, H, W]``, float64.
            amounts: float64 ``[m]``.
        """

    @abstractmethod
    def search(self, image: Tensor, radius: float, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Amounts of changes below a radius, the longest ones first: a grid for one amount, else at random.

        Args:
            image: Image ``[C, H, W]``.
            radius: Length that no change exceeds.
            count: Number of changes.
            generator: Random generator on the CPU; ``None`` for torch's global one.

        Returns:
            float64 ``[count, m]``.
        """

    @abstractmethod
    def named(self, image: Tensor, amounts: Tensor) -> Split:
        """Amounts as a user reads them, by name.

        Args:
            image: Image ``[C, H, W]``.
            amounts: float64 ``[m]``.
        """

    @override
    def split(self, image: Tensor, changed: Tensor) -> Split:
        """The nearest change of the family, and how far the changed image is from it; empty where there is none."""
        clean, other = check_pair(image, changed)
        amounts = self.amounts_of(clean, other)
        if not bool(amounts.isfinite().all()):
            return Split()
        found, rest = self.named(clean, amounts), other - self.change(clean, amounts)
        found[REST], found[LARGEST] = float(rest.norm()), float(rest.abs().max())
        return found

    @abstractmethod
    def extremes(self, image: Tensor, radius: float) -> list[tuple[str, Sequence[float]]]:
        """The longest changes of each kind alone: what to call them, and their amounts.

        Args:
            image: Image ``[C, H, W]``.
            radius: Length that no change exceeds.
        """

    @override
    def edges(self, image: Tensor, radius: float, majorities: bool = False) -> list[Edge]:
        clean = image.detach().cpu().double()
        return [
            Edge(words, self.change(clean, torch.tensor(amounts, dtype=torch.float64)))
            for words, amounts in self.extremes(clean, radius)
        ]

    @override
    def candidates(
        self, image: Tensor, radius: float, count: int, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        for amounts in self.search(image, radius, count, generator):
            yield self.change(image, amounts)

    @override
    def length(self, image: Tensor, changed: Tensor) -> float:
        clean, other = check_pair(image, changed)
        amounts = self.amounts_of(clean, other)
        if not bool(amounts.isfinite().all()):
            return math.inf
        off = (self.change(clean, amounts) - other).abs() / other.abs().clamp_min(1)  # float32 rounds as coarsely
        return self.length_of(clean, amounts) if float(off.max()) <= TOLERANCE else math.inf


def both_ways(longest: float, count: int) -> Tensor:
    """Amounts from minus to plus some amount, the largest first, float64 ``[count, 1]``.

    Args:
        longest: Largest amount.
        count: Number of amounts.
    """
    amounts = torch.linspace(-longest, longest, max(2, count), dtype=torch.float64)[:count]
    return amounts[amounts.abs().argsort(descending=True, stable=True), None]
