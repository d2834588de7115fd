r"""Parts of an image that may get any content: stickers, occlusions, repainted patches or regions.

*Votes.* The image plane is divided into parts, once and for all images that are compared. Each part is kept with
probability :math:`\lambda`, else filled with a fixed grey, independently; :math:`h(x) = E f(\text{masked } x)`, f into
[0, 1]. Let x' differ from x in m parts only. Then :math:`h(x') \ge ((1 - \lambda)^m - (1 - h(x)))_+`. Proof: with
probability :math:`(1 - \lambda)^m` all m parts are filled, and the masked images are then the same. So
:math:`h(x') \ge E[f; \text{filled}] = (1 - \lambda)^m - E[1 - f; \text{filled}] \ge (1 - \lambda)^m - (1 - h(x))`. ∎
It is attained by f = 1 but on a part of the event "filled", and 0 wherever the new content is seen.

The parts may have any shape and number. They must not depend on the noise, and must be the same for x and x': a
segmentation of x serves, since it is fixed before any noise is drawn, but x' must not be divided anew. Of pixels in no
part, which are always kept, nothing is said: no change of them is covered.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import attrs
import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.budget import OUTSIDE, Axis, Budget, Edge, Split, check_pair
from lit_certattr.budgets.orbit import TOLERANCE
from lit_certattr.budgets.votes import Array, VoteBounds
from lit_certattr.statistics.rounding import exact

_ROUNDING = 1e-12  # relative: more than a power is off by
_LEAST = 1e-300


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


class MaskBudget(Budget):
    """Any new content of some parts of an image; the length of a change is the number of parts that it touches.

    Attributes:
        keep: Probability that the noise keeps a part.
        sigma: Standard deviation of the pixel noise.
        fill: The grey that the noise puts in place of a part.
    """

    limit = "at most"
    part: ClassVar[str]
    """What a part is called."""
    plural: ClassVar[str]
    """What parts are called."""
    keep: float
    sigma: float
    fill: float

    @abstractmethod
    def parts(self, height: int, width: int) -> Tensor:
        """The number of the part of each pixel, int64 ``[H, W]``; -1 for a pixel in none.

        Args:
            height: Height of the image.
            width: Width of the image.

        Raises:
            InputError: If an image of this size has no such parts.
        """

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of parts of the image."""

    @property
    @override
    def typical(self) -> float:
        return 1.0

    @override
    def usual_radii(self, otherwise: Sequence[float]) -> tuple[float, ...]:
        return (1.0, 2.0, 3.0, 4.0)

    @override
    def sensible(self, length: float) -> float:
        return float(max(1, math.floor(length)))

    @property
    @override
    def votes(self) -> PatchVotes:
        return PatchVotes(self.keep)

    @property
    @override
    def measure(self) -> str:
        return f"number of changed {self.plural}"

    @property
    @override
    def unit(self) -> str:
        return f"changed {self.plural}"

    @override
    def below(self, radius: float) -> str:
        number = self.whole(radius)
        return f"at most {number} changed {self.part if number == 1 else self.plural}"

    @override
    def axes(self, radius: float, channels: int = 3) -> list[Axis]:
        number = self.whole(radius)
        hidden = self.hidden(number)
        content = f"any new content of up to {number} of the {self.count} {self.plural}"
        same = f"up to {hidden} {self.plural} filled with the grey of the noise ({exact(self.fill)})"
        return [
            Axis(self.plural, 0.0, float(number), self.plural, content),
            Axis(f"hidden {self.plural}", 0.0, float(hidden), self.plural, same, for_majorities=True),
        ]

    def hidden(self, number: int) -> int:
        r"""How many parts may be filled with the grey of the noise, where so many may get any content.

        Filled parts need no luck to look alike, only the votes in which they are seen can be lost:
        :math:`h(x') \ge 1 - (1 - h(x)) / (1 - \lambda)^r`.

        Args:
            number: Parts that may get any content.
        """
        lost = 2 * ((1 - self.keep) ** number - 0.5)  # twice the votes against, at most
        hidden = math.floor(math.log(lost) / math.log1p(-self.keep) * (1 - _ROUNDING)) if 0 < lost < 1 else 0
        return min(max(hidden, number), self.count)

    def whole(self, radius: float) -> int:
        """Largest number of parts within a radius.

        Args:
            radius: Length up to which something is certified.
        """
        return math.floor(min(radius, self.count))

    @override
    def length(self, image: Tensor, changed: Tensor) -> float:
        clean, other = check_pair(image, changed)
        touched = self.parts(clean.shape[1], clean.shape[2])[(clean != other).any(0)].unique()
        return math.inf if bool((touched < 0).any()) else float(touched.numel())

    @override
    def majority_length(self, image: Tensor, changed: Tensor) -> float:
        r"""Number of repainted parts that move a majority as far as a change does.

        Of r parts that were hidden (filled with the grey of the noise), a that were uncovered (grey before) and m with
        another content, :math:`h(x') \ge (1 - \lambda)^{a + m} [1 - (1 - h(x)) / (1 - \lambda)^{r + m}]_+`. With pixel
        noise, a rest elsewhere is covered, too, also where pixels are in no part: filling parts only shrinks it, so it
        moves a vote by at most :math:`\|r\|_2 / \sigma` standard deviations, and a majority is left if the parts leave
        :math:`\Phi(\|r\|_2 / \sigma)`. The parts that change most count as changed, as many as is best.

        Args:
            image: The certified image ``[C, H, W]``.
            changed: The changed image ``[C, H, W]``.

        Returns:
            A whole number of parts; infinity where no number moves a majority as far.
        """
        length = self.length(image, changed)
        if not length:
            return 0.0
        clean, other = check_pair(image, changed)
        count = self.count
        parts = self.parts(clean.shape[1], clean.shape[2]).flatten()
        parts = torch.where(parts < 0, count, parts)  # pixels in no part are one more, which is never painted

        def by_part(values: Tensor) -> Tensor:
            return torch.zeros(count + 1, dtype=torch.float64).index_add_(0, parts, values.sum(0).flatten())

        differ = by_part((clean != other).double()) > 0
        # A difference whose square underflows is one, too.
        squares = torch.where(differ, by_part((clean - other).square()).clamp_min(_LEAST), 0.0)
        always, squares = squares[count], squares[:count]
        hidden, uncovered = (by_part(((one - self.fill).abs() > TOLERANCE).double()) == 0 for one in (other, clean))
        order = squares.argsort(descending=True, stable=True)
        rests = [*squares[order].tolist(), float(always)]
        rests = torch.tensor(rests, dtype=torch.float64).flip(0).cumsum(0).flip(0).sqrt().tolist()
        touched = int(differ[:count].sum())
        lengths, seen, alike = [length], 0, 0
        for number, (part, rest) in enumerate(zip([*order.tolist(), -1], rests, strict=True)):
            if rest == 0 or self.sigma:
                lengths.append(self._as_repainted(seen, alike, rest / self.sigma if rest else 0.0))
            if number >= touched:
                break
            alike += not bool(hidden[part])
            seen += not bool(uncovered[part])
        return min(lengths)

    def _as_repainted(self, seen: int, alike: int, rest: float) -> float:
        """The number of repainted parts that move a majority as far.

        Args:
            seen: Parts in which votes can be lost where the image's content was seen: hidden and repainted ones.
            alike: Parts that must be filled for both images to look alike: uncovered and repainted ones.
            rest: l2 norm of the rest over the standard deviation of the pixel noise.
        """
        needed = float(ndtr(rest * (1 + 1e-9))) if rest else 0.5
        against = (1 - self.keep) ** seen * (1 - needed / (1 - self.keep) ** alike) * (1 - _ROUNDING) - _ROUNDING
        return float(math.ceil(math.log(0.5 + against) / math.log1p(-self.keep))) if against > 0 else math.inf

    @override
    def split(self, image: Tensor, changed: Tensor) -> Split:
        clean, other = check_pair(image, changed)
        touched = self.parts(clean.shape[1], clean.shape[2])[(clean != other).any(0)]
        outside = int((touched < 0).sum())
        found = {self.unit: float(touched[touched >= 0].unique().numel())}
        return Split(found | {OUTSIDE: float(outside)} if outside else found)

    @override
    def edges(self, image: Tensor, radius: float, majorities: bool = False) -> list[Edge]:
        """Examples: random parts of noise, others with the colours inverted, and hidden ones."""
        number = self.whole(radius)
        if not number:
            return []
        clean, found = image.detach().cpu().double(), []
        parts = self.parts(clean.shape[1], clean.shape[2])
        generator = torch.Generator().manual_seed(0)  # the same in each report of a run
        noise = torch.rand(clean.shape, generator=generator, dtype=torch.float64)
        grey = torch.full_like(clean, self.fill)
        for count, what, content in (
            (number, "repainted", noise),
            (number, "repainted", 1 - clean),
            (self.hidden(number) if majorities else number, "hidden", grey),
        ):
            chosen = torch.randperm(self.count, generator=generator)[:count]
            words = f"{count} of {self.count} {self.plural} {what}, an example"
            found.append(Edge(words, torch.where(torch.isin(parts, chosen), content, clean)))
        return found

    @override
    def candidates(
        self, image: Tensor, radius: float, count: int, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Changed images: random parts, black, white, of noise, or a copy of what is elsewhere.

        Args:
            image: Image ``[C, H, W]`` in [0, 1].
            radius: Number of parts that no change exceeds.
            count: Number of changed images.
            generator: Random generator on the CPU; ``None`` for torch's global one.
        """
        number = self.whole(radius)
        parts = self.parts(image.shape[1], image.shape[2]).to(image.device)
        contents = (torch.zeros_like(image), torch.ones_like(image), None, image.flip(1, 2))
        for index in range(count if number else 0):
            chosen = torch.randperm(self.count, generator=generator)[:number].to(image.device)
            content = contents[index % len(contents)]
            if content is None:
                content = torch.rand(image.shape, generator=generator).to(image)
            yield torch.where(torch.isin(parts, chosen), content, image)


def filled(images: Tensor, kept: Tensor, parts: Tensor, fill: float) -> Tensor:
    """Images whose parts are filled with grey where they are not kept; differentiable in the images.

    Args:
        images: Images ``[b, C, H, W]``.
        kept: Whether each part is kept, bool ``[b, m]``.
        parts: Number of the part of each pixel, int64 ``[H, W]``, on the same device; -1 for pixels that stay.
        fill: The grey.
    """
    chosen = parts.flatten().expand(len(kept), -1)
    seen = kept.gather(1, chosen.clamp(min=0))  # on a CPU ten times as fast as kept[:, parts]
    seen |= chosen < 0
    return torch.where(seen.view(-1, 1, *parts.shape), images, fill)
