"""Changes of an image that a user can picture, each with the noise law whose budget it belongs to."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lit_certattr.budgets import AffineBudget, Budget
from lit_certattr.budgets.affine import stretched
from lit_certattr.budgets.blur import after, spectrum
from lit_certattr.budgets.gamma import gamma_curved
from lit_certattr.budgets.patches import cells_of


@dataclass(frozen=True)
class Change:
    """A kind of change up to some amount.

    Attributes:
        name: What a user would call it.
        law: Name of the noise law that is made for it.
        ends: The images with the largest amounts, from an image ``[C, H, W]``; none is clipped.
        grid: So many images of this kind, from an image and their number; ``None`` for those that the budget names.
    """

    name: str
    law: str
    ends: Callable[[Tensor], list[Tensor]]
    grid: Callable[[Tensor, int], list[Tensor]] | None = None

    def length(self, budget: Budget, image: Tensor) -> float:
        """Radius that a certificate needs for all changes of this kind.

        The length of a change grows with its amount in every budget here. Only along an axis of contrast the ends of a
        range say nothing of its inside: there the budget itself says which range is covered.

        Args:
            budget: Any budget.
            image: The certified image ``[C, H, W]``.
        """
        if isinstance(budget, AffineBudget) and self.law == "contrast":
            return _contrast_length(budget, self.ends)
        return max(budget.length(image, end) for end in self.ends(image))

    def points(self, budget: Budget, image: Tensor, length: float, count: int) -> Iterator[Tensor]:
        """Changed images for a search, the longest changes first.

        Args:
            budget: Budget of the law that is made for this change.
            image: The certified image ``[C, H, W]``.
            length: Radius that a certificate needs.
            count: Number of changed images.
        """
        if self.grid:
            return iter(self.grid(image, count))
        # A search stays below a radius: a little more includes the ends, and a half the last of the patches.
        beyond = length + 0.5 if self.law == "patches" else length * (1 + 1e-8)
        return budget.candidates(image, beyond, count, torch.Generator().manual_seed(0))


@lru_cache(maxsize=8)
def _contrast_length(budget: AffineBudget, ends: Callable[[Tensor], list[Tensor]]) -> float:
    """Smallest radius up to a thousandth whose range of contrast has no gap and contains both ends."""
    wanted = sorted(float(end) for end in ends(torch.ones(1, 1, 1)))
    low, high = 0.0, 10 * budget.typical
    for _ in range(14):
        middle = (low + high) / 2
        contrast = budget.axes(middle)[1]
        inside = contrast.low <= wanted[0] and contrast.high >= wanted[1]
        low, high = (low, middle) if inside else (middle, high)
    return high


def brightness(amount: float) -> Change:
    """Brightness within +-amount, in pixel units."""
    return Change(
        f"brightness +-{amount:g}",
        "brightness",
        lambda image: [image + amount, image - amount],
        lambda image, count: [image + shift for shift in torch.linspace(-amount, amount, count).tolist()],
    )


def exposure(stops: float, name: str) -> Change:
    """Exposure within +-stops."""
    return Change(f"exposure +-{name} stop", "exposure", lambda image: [image * 2**stops, image * 2**-stops])


def gamma(factor: float, name: str) -> Change:
    """Gamma from 1/factor to factor."""

    def ends(image: Tensor) -> list[Tensor]:
        exact = image[None].double().expand(2, -1, -1, -1)
        return list(gamma_curved(exact, _both(factor)).to(image))

    return Change(name, "gamma", ends)


def contrast(factor: float, name: str) -> Change:
    """Contrast from 1/factor to factor."""

    def ends(image: Tensor) -> list[Tensor]:
        exact = image[None].double().expand(2, -1, -1, -1)
        return list(stretched(exact, _both(factor), torch.zeros(2).double()).to(image))

    return Change(name, "contrast", ends)


def _both(factor: float) -> Tensor:
    """Logarithms of a factor and of its inverse."""
    return torch.tensor([math.log(factor), -math.log(factor)], dtype=torch.float64)


def blur(pixels: float) -> Change:
    """Gaussian blur of at most so many pixels."""
    time = torch.tensor([pixels**2 / 2]).double()
    return Change(
        f"blur {pixels:g} px", "blur", lambda image: [after(spectrum(image[None].double()), time)[0].to(image)]
    )


def patches(number: int, cells: int) -> Change:
    """So many repainted patches of a grid; its end here has the opposite content where that changes the image most."""

    def ends(image: Tensor) -> list[Tensor]:
        opposite = (image < 0.5).to(image)
        cell = cells_of(image.shape[1], image.shape[2], cells)
        far = torch.zeros(cells**2).index_add_(0, cell.flatten(), (opposite - image).square().sum(0).flatten())
        return [torch.where(torch.isin(cell, far.topk(number).indices), opposite, image)]

    return Change(f"{number} of {cells**2} patches", "patches", ends)


def all_changes(cells: int) -> list[Change]:
    """The rows of the tables.

    Args:
        cells: Patches in each direction.
    """
    return [
        *(brightness(amount) for amount in (0.05, 0.1, 0.2)),
        exposure(0.25, "1/4"),
        exposure(0.5, "1/2"),
        gamma(1.25, "gamma .8 to 1.25"),
        contrast(1.2, "contrast 1/1.2 to 1.2"),
        blur(0.5),
        blur(1.0),
        patches(1, cells),
        patches(2, cells),
    ]
