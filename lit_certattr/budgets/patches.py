r"""Patches: stickers, occlusions, repainted parts of the image.

*Votes.* Each of the cells of a grid is kept with probability :math:`\lambda`, else filled with a fixed grey,
independently; :math:`h(x) = E f(\text{masked } x)`, f into [0, 1]. Let x' differ from x in m cells only. Then
:math:`h(x') \ge ((1 - \lambda)^m - (1 - h(x)))_+`. Proof: with probability :math:`(1 - \lambda)^m` all m cells are
filled, and the masked images are then the same. So :math:`h(x') \ge E[f; \text{filled}] = (1 - \lambda)^m -
E[1 - f; \text{filled}] \ge (1 - \lambda)^m - (1 - h(x))`. ∎ It is attained by f = 1 but on a part of the event
"filled", and 0 wherever the new content is seen.
"""

import math
from collections.abc import Iterator

import attrs
import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.budget import Axis, Budget, check_pair
from lit_certattr.budgets.votes import Array, VoteBounds
from lit_certattr.errors import InputError

_ROUNDING = 1e-14


def cells_of(height: int, width: int, cells: int) -> Tensor:
    """The number of the cell of each pixel, int64 ``[H, W]``, row by row.

    Args:
        height: Height of the image.
        width: Width of the image.
        cells: Cells in each direction.

    Raises:
        InputError: If there are more cells than pixels in one direction.
    """
    if cells > min(height, width):
        raise InputError(
            f"a grid of {cells} x {cells} patches does not fit an image of {height} x {width} pixels: set cells to at "
            f"most {min(height, width)}"
        )
    rows, columns = (torch.arange(length) * cells // length for length in (height, width))
    return rows[:, None] * cells + columns


@attrs.frozen
class PatchVotes(VoteBounds):
    r"""Votes when patches are repainted: :math:`((1 - \lambda)^m - (1 - L))_+`.

    Attributes:
        keep: Probability :math:`\lambda` that a patch is kept.
    """

    keep: float

    @override
    def lower(self, vote: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
        filled = (1 - self.keep) ** np.floor(np.asarray(radii, np.float64)) * (1 - _ROUNDING)
        return np.asarray(np.maximum(filled - (1 - np.asarray(vote, np.float64)), 0.0))

    @override
    def reach(self, vote: float, level: float) -> float:
        """The number of patches as a real number: fewer patches than this leave the vote at the level.

        Args:
            vote: Lower bound of a vote at the image, in [0, 1].
            level: Vote in [0, 1]; at most ``vote``, else the result is not positive.
        """
        filled = level + 1 - vote
        return math.log(filled) / math.log1p(-self.keep) if filled > 0 else math.inf

    @override
    def radius(self, votes: npt.ArrayLike) -> Array:
        """Radii: fewer patches than this leave a vote above one half; 0 for votes that are not.

        A whole number plus one half, so that no rounding of a radius can move it to another number of patches.

        Args:
            votes: Lower bounds of votes at the image, in [0, 1], any shape.
        """
        given = np.asarray(votes, np.float64)
        found = np.where(given > 0.5, 0.5, 0.0)
        number = 1
        while (more := self.lower(given, number) > 0.5).any():
            found, number = np.where(more, number + 0.5, found), number + 1
        return found


@attrs.frozen
class PatchBudget(Budget):
    """Any new content of some patches of a grid; the length of a change is the number of patches that it touches.

    Attributes:
        keep: Probability that the noise keeps a patch.
        cells: Patches in each direction.
        sigma: Standard deviation of the pixel noise.
    """

    name = "patches"
    keep: float
    cells: int
    sigma: float = 0.0

    @property
    @override
    def typical(self) -> float:
        return 1.0

    @property
    @override
    def votes(self) -> PatchVotes:
        return PatchVotes(self.keep)

    @property
    @override
    def measure(self) -> str:
        return "number of changed patches"

    @property
    @override
    def a_measure(self) -> str:
        return "a number of changed patches"

    @property
    @override
    def unit(self) -> str:
        return "changed patches"

    @property
    @override
    def definition(self) -> str:
        return (
            f"A patch is a cell of a grid of {self.cells} x {self.cells}; it may get any content. A radius such as 2.5 "
            "is about changes of up to 2 patches, wherever they are."
        )

    @override
    def axes(self, radius: float, channels: int = 3) -> list[Axis]:
        number = self.whole(radius)
        words = f"any new content of up to {number} of the {self.cells**2} patches"
        return [Axis("patches", 0.0, float(number), "patches", words)]

    @staticmethod
    def whole(radius: float) -> int:
        """Largest number of patches below a radius.

        Args:
            radius: Length up to which something is certified.
        """
        return max(0, math.ceil(radius) - 1)

    @override
    def length(self, image: Tensor, changed: Tensor) -> float:
        clean, other = check_pair(image, changed)
        cell = cells_of(clean.shape[1], clean.shape[2], self.cells)
        return float(cell[(clean != other).any(0)].unique().numel())

    @override
    def majority_length(self, image: Tensor, changed: Tensor) -> float:
        r"""Number of patches for majorities; with pixel noise, patches and a rest r elsewhere are covered together.

        Filling patches only shrinks the rest, so it moves a vote by at most :math:`\|r\|_2 / \sigma` standard
        deviations: a majority is left if the patches leave :math:`\Phi(\|r\|_2 / \sigma)`. The patches that change most
        count as repainted, as many as is best.

        Args:
            image: The certified image ``[C, H, W]``.
            changed: The changed image ``[C, H, W]``.

        Returns:
            A whole number of patches that move a majority at least as far; infinity where no number does.
        """
        length = self.length(image, changed)
        if not self.sigma or not length:
            return length
        clean, other = check_pair(image, changed)
        cell = cells_of(clean.shape[1], clean.shape[2], self.cells)
        squares = torch.zeros(self.cells**2, dtype=torch.float64)
        squares.index_add_(0, cell.flatten(), (clean - other).square().sum(0).flatten())
        ordered = squares.sort(descending=True).values
        rests = (ordered.sum() - ordered.cumsum(0)).clamp_min(0).sqrt() / self.sigma
        lengths = [length]
        for number, rest in enumerate([float(ordered.sum().sqrt()) / self.sigma, *rests.tolist()]):
            if number >= length:
                break
            filled = (1 - self.keep) ** number * (1 - _ROUNDING) + 0.5 - float(ndtr(rest * (1 + 1e-9) + 1e-9))
            if filled > 0:
                lengths.append(float(math.ceil(math.log(filled) / math.log1p(-self.keep))))
        return min(lengths)

    @override
    def candidates(
        self, image: Tensor, radius: float, count: int, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Changed images: random patches, black, white, of noise, or a copy of another patch's place.

        Args:
            image: Image ``[C, H, W]`` in [0, 1].
            radius: Number of patches that no change reaches.
            count: Number of changed images.
            generator: Random generator on the CPU; ``None`` for torch's global one.
        """
        number = min(self.whole(radius), self.cells**2)
        cell = cells_of(image.shape[1], image.shape[2], self.cells).to(image.device)
        contents = (torch.zeros_like(image), torch.ones_like(image), None, image.flip(1, 2))
        for index in range(count if number else 0):
            chosen = torch.randperm(self.cells**2, generator=generator)[:number].to(image.device)
            content = contents[index % len(contents)]
            if content is None:
                content = torch.rand(image.shape, generator=generator).to(image)
            yield torch.where(torch.isin(cell, chosen), content, image)


def filled(images: Tensor, kept: Tensor, cell: Tensor, fill: float) -> Tensor:
    """Images whose patches are filled with grey where they are not kept; differentiable in the images.

    Args:
        images: Images ``[b, C, H, W]``.
        kept: Whether each patch is kept, bool ``[b, cells * cells]``.
        cell: Number of the patch of each pixel, int64 ``[H, W]``, on the same device.
        fill: The grey.
    """
    return torch.where(kept[:, cell][:, None], images, fill)
