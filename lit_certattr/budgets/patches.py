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

from lit_certattr.budgets.budget import Axis, Budget, Edge, Split, check_pair
from lit_certattr.budgets.orbit import TOLERANCE
from lit_certattr.budgets.votes import Array, VoteBounds
from lit_certattr.errors import InputError
from lit_certattr.statistics.rounding import exact

_ROUNDING = 1e-12  # relative: more than a power is off by


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
        given, number = np.asarray(vote, np.float64), np.floor(np.asarray(radii, np.float64))
        filled = np.exp(number * math.log1p(-self.keep)) * np.where(number > 0, 1 - _ROUNDING, 1.0)
        return np.asarray(np.minimum(given, np.maximum(filled - (1 - given), 0.0)))

    @override
    def reach(self, vote: float, level: float) -> float:
        """The largest number of patches that leaves a vote at a level, plus one half.

        One half, so that no rounding of a radius can move it to another number of patches.

        Args:
            vote: Lower bound of a vote at the image, in [0, 1].
            level: Vote in [0, 1]; at most ``vote``, else the result is not positive.
        """
        filled = level + 1 - vote
        if filled <= 0:
            return math.inf
        about = math.log(filled) / math.log1p(-self.keep)
        if not vote > level:
            return about
        number = math.floor(about) + 1
        while number > 0 and float(self.lower(vote, number)) < level:
            number -= 1 + (number >> 40)  # all of the digits that the logarithm may lack
        return number + 0.5


@attrs.frozen
class PatchBudget(Budget):
    """Any new content of some patches of a grid; the length of a change is the number of patches that it touches.

    Attributes:
        keep: Probability that the noise keeps a patch.
        cells: Patches in each direction.
        sigma: Standard deviation of the pixel noise.
        fill: The grey that the noise puts in place of a patch.
    """

    name = "patches"
    limit = "at most"
    keep: float
    cells: int
    sigma: float = 0.0
    fill: float = 0.5

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
    def below(self, radius: float) -> str:
        number = self.whole(radius)
        return f"at most {number} changed patch{'' if number == 1 else 'es'}"

    @override
    def axes(self, radius: float, channels: int = 3) -> list[Axis]:
        number = self.whole(radius)
        hidden = self.hidden(number)
        content = f"any new content of up to {number} of the {self.cells**2} patches"
        same = f"up to {hidden} patches filled with the grey of the noise ({exact(self.fill)})"
        return [
            Axis("patches", 0.0, float(number), "patches", content),
            Axis("hidden patches", 0.0, float(hidden), "patches", same, for_majorities=True),
        ]

    def hidden(self, number: int) -> int:
        r"""How many patches may be filled with the grey of the noise, where so many may get any content.

        Filled patches need no luck to look alike, only the votes in which they are seen can be lost:
        :math:`h(x') \ge 1 - (1 - h(x)) / (1 - \lambda)^r`.

        Args:
            number: Patches that may get any content.
        """
        lost = 2 * ((1 - self.keep) ** number - 0.5)  # twice the votes against, at most
        hidden = math.floor(math.log(lost) / math.log1p(-self.keep) * (1 - _ROUNDING)) if 0 < lost < 1 else 0
        return min(max(hidden, number), self.cells**2)

    def whole(self, radius: float) -> int:
        """Largest number of patches within a radius.

        Args:
            radius: Length up to which something is certified.
        """
        return math.floor(min(radius, self.cells**2))

    @override
    def length(self, image: Tensor, changed: Tensor) -> float:
        clean, other = check_pair(image, changed)
        cell = cells_of(clean.shape[1], clean.shape[2], self.cells)
        return float(cell[(clean != other).any(0)].unique().numel())

    @override
    def majority_length(self, image: Tensor, changed: Tensor) -> float:
        r"""Number of repainted patches that move a majority as far as a change does.

        Of r patches that were hidden (filled with the grey of the noise), a that were uncovered (grey before) and m
        with another content, :math:`h(x') \ge (1 - \lambda)^{a + m} [1 - (1 - h(x)) / (1 - \lambda)^{r + m}]_+`. With
        pixel noise, a rest elsewhere is covered, too: filling patches only shrinks it, so it moves a vote by at most
        :math:`\|r\|_2 / \sigma` standard deviations, and a majority is left if the patches leave
        :math:`\Phi(\|r\|_2 / \sigma)`. The patches that change most count as changed, as many as is best.

        Args:
            image: The certified image ``[C, H, W]``.
            changed: The changed image ``[C, H, W]``.

        Returns:
            A whole number of patches; infinity where no number moves a majority as far.
        """
        length = self.length(image, changed)
        if not length:
            return 0.0
        clean, other = check_pair(image, changed)
        cell = cells_of(clean.shape[1], clean.shape[2], self.cells).flatten()

        def by_patch(values: Tensor) -> Tensor:
            return torch.zeros(self.cells**2, dtype=torch.float64).index_add_(0, cell, values.sum(0).flatten())

        squares = by_patch((clean - other).square())
        hidden, uncovered = (by_patch(((one - self.fill).abs() > TOLERANCE).double()) == 0 for one in (other, clean))
        order = squares.argsort(descending=True, stable=True)
        rests = squares[order].flip(0).cumsum(0).flip(0).sqrt().tolist()
        lengths, seen, alike = [length], 0, 0
        for number, (patch, rest) in enumerate(zip([*order.tolist(), -1], [*rests, 0.0], strict=True)):
            if rest == 0 or self.sigma:
                lengths.append(self._as_repainted(seen, alike, rest / self.sigma if rest else 0.0))
            if number >= length:
                break
            alike += not bool(hidden[patch])
            seen += not bool(uncovered[patch])
        return min(lengths)

    def _as_repainted(self, seen: int, alike: int, rest: float) -> float:
        """The number of repainted patches that move a majority as far.

        Args:
            seen: Patches in which votes can be lost where the image's content was seen: hidden and repainted ones.
            alike: Patches that must be filled for both images to look alike: uncovered and repainted ones.
            rest: l2 norm of the rest over the standard deviation of the pixel noise.
        """
        needed = float(ndtr(rest * (1 + 1e-9))) if rest else 0.5
        against = (1 - self.keep) ** seen * (1 - needed / (1 - self.keep) ** alike) * (1 - _ROUNDING) - _ROUNDING
        return float(math.ceil(math.log(0.5 + against) / math.log1p(-self.keep))) if against > 0 else math.inf

    @override
    def split(self, image: Tensor, changed: Tensor) -> Split:
        return Split({"changed patches": self.length(image, changed)})

    @override
    def edges(self, image: Tensor, radius: float, majorities: bool = False) -> list[Edge]:
        """Examples: random patches of noise, others with the colours inverted, and hidden ones."""
        number = min(self.whole(radius), self.cells**2)
        if not number:
            return []
        clean, found = image.detach().cpu().double(), []
        cell = cells_of(clean.shape[1], clean.shape[2], self.cells)
        generator = torch.Generator().manual_seed(0)  # the same in each report of a run
        noise = torch.rand(clean.shape, generator=generator, dtype=torch.float64)
        grey = torch.full_like(clean, self.fill)
        for count, what, content in (
            (number, "repainted", noise),
            (number, "repainted", 1 - clean),
            (self.hidden(number) if majorities else number, "hidden", grey),
        ):
            chosen = torch.randperm(self.cells**2, generator=generator)[:count]
            words = f"{count} of {self.cells**2} patches {what}, an example"
            found.append(Edge(words, torch.where(torch.isin(cell, chosen), content, clean)))
        return found

    @override
    def candidates(
        self, image: Tensor, radius: float, count: int, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Changed images: random patches, black, white, of noise, or a copy of another patch's place.

        Args:
            image: Image ``[C, H, W]`` in [0, 1].
            radius: Number of patches that no change exceeds.
            count: Number of changed images.
            generator: Random generator on the CPU; ``None`` for torch's global one.
        """
        number = self.whole(radius)
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
    seen = kept.gather(1, cell.flatten().expand(len(kept), -1))  # on a CPU ten times as fast as kept[:, cell]
    return torch.where(seen.view(-1, 1, *cell.shape), images, fill)
