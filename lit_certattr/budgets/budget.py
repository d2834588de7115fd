"""What a certificate is about: the changes of an image that it allows, and how long each of them is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lit_certattr.budgets.votes import VoteBounds
from lit_certattr.errors import InputError
from lit_certattr.statistics.rounding import at_least


class Axis(NamedTuple):
    """One kind of change alone, as far as a radius allows it.

    Attributes:
        name: The kind of change, e.g. ``"brightness"``.
        low: Smallest amount that is allowed.
        high: Largest amount that is allowed.
        unit: Unit of the amounts, e.g. ``"of a pixel"``.
        words: What is allowed, in words; numbers are rounded to the safe side.
        for_majorities: Whether only majorities stand such a change, and no other level of a vote.
    """

    name: str
    low: float
    high: float
    unit: str
    words: str
    for_majorities: bool = False


REST, LARGEST = "l2 rest", "largest rest"
"""What no kind of change explains: its l2 norm, and its largest value, in pixel units."""


OUTSIDE = "changed pixels in no region"
"""What lies outside all regions of an image, where no change is covered."""


class Split(dict[str, float]):
    """Amounts of a change by name of the kind of change, and the norm of the rest as ``"l2 rest"``."""


class Edge(NamedTuple):
    """A changed image at the edge of a budget: changes of its kind are allowed up to this one.

    Attributes:
        words: What was changed, and by how much, e.g. ``"gamma 1.25"``; numbers are rounded to the safe side.
        image: The changed image ``[C, H, W]``, float64 on the CPU; its values may leave [0, 1].
    """

    words: str
    image: Tensor


class Budget(ABC):
    """The changes of an image that a certificate is about: what is allowed, in which units, and how long a change is.

    A result certifies something for all changes up to a length, its radius. All lengths of a budget are in the unit of
    its first axis: the radius is how far that axis may be used alone.
    """

    name: ClassVar[str]
    """Name of the kind of budget, in tables."""
    limit: ClassVar[str] = "below"
    """Which lengths a label of that radius stands, to follow :attr:`measure`."""

    @property
    @abstractmethod
    def votes(self) -> VoteBounds:
        """How far a change of a given length can move a vote."""

    @property
    @abstractmethod
    def typical(self) -> float:
        """A usual length: under a Gaussian law the standard deviation of the noise along the first axis."""

    def usual_radii(self, otherwise: Sequence[float]) -> tuple[float, ...]:
        """Radii at which tables and metrics show numbers unless the user gives others.

        Args:
            otherwise: Those for lengths that may be any number.
        """
        return tuple(otherwise)

    def sensible(self, length: float) -> float:
        """A length near another one that is worth an attack, with few digits.

        Args:
            length: Any positive length.
        """
        return float(f"{length:.2g}")

    @property
    def measure(self) -> str:
        """What the length of a change is, to follow the word "with"."""
        return "length"

    @property
    def a_measure(self) -> str:
        """The same with its article."""
        return f"a {self.measure}"

    @property
    def radius_word(self) -> str:
        """What a bound of the length is called, to follow an adjective."""
        return "length"

    @property
    def unit(self) -> str:
        """Unit of the lengths, for axes of figures."""
        return self.measure

    @property
    def definition(self) -> str:
        """A sentence that says what the length is; empty for a norm, which needs none."""
        return ""

    def placed(self, partition: Tensor) -> "Budget":
        """The budget for the regions of one image; unchanged where a budget is not about regions.

        Args:
            partition: Labels ``[H, W]`` of the regions of the clean image.

        Raises:
            InputError: If they are no labels of regions.
        """
        return self

    @abstractmethod
    def axes(self, radius: float, channels: int = 3) -> list[Axis]:
        """How far each kind of change may go alone.

        Args:
            radius: Length up to which something is certified.
            channels: Colour channels of the image.
        """

    @abstractmethod
    def length(self, image: Tensor, changed: Tensor) -> float:
        """Length of the change from one image to another.

        Args:
            image: The certified image ``[C, H, W]``.
            changed: The changed image ``[C, H, W]``.

        Returns:
            The length, never too small; infinity where no radius covers the change.

        Raises:
            InputError: If the images differ in shape, or are not finite.
        """

    def majority_length(self, image: Tensor, changed: Tensor) -> float:
        """Length of a change for statements about majorities: labels of pixels, and the predicted class.

        With pixel noise some budgets cover more for these: a change of their family and a rest in l2, e.g. of rounding.
        The length is then that of the change of the family alone that moves a majority as far.

        Args:
            image: The certified image ``[C, H, W]``.
            changed: The changed image ``[C, H, W]``.

        Returns:
            The length, never too small and at most :meth:`length`; infinity where no radius covers the change.

        Raises:
            InputError: If the images differ in shape, or are not finite.
        """
        return self.length(image, changed)

    def candidates(
        self, image: Tensor, radius: float, count: int, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Changed images for a search without gradients, the longest changes first; none where gradients are better.

        Args:
            image: Image ``[C, H, W]`` in [0, 1].
            radius: Length that no change reaches.
            count: Number of changed images.
            generator: Random generator on the CPU; ``None`` for torch's global one.
        """
        return iter(())

    def split(self, image: Tensor, changed: Tensor) -> Split:
        """How much of each kind of change a change has, and what is left; empty where its length says it all.

        Args:
            image: The certified image ``[C, H, W]``.
            changed: The changed image ``[C, H, W]``.
        """
        return Split()

    def below(self, radius: float) -> str:
        """Which lengths are below a radius, to follow the words "a change with".

        Args:
            radius: Length up to which something is certified.
        """
        return f"{self.a_measure} below {at_least(radius)}"

    def edges(self, image: Tensor, radius: float, majorities: bool = False) -> list[Edge]:
        """The image as different as each kind of change alone can make it; none where nobody would see a difference.

        Args:
            image: Image ``[C, H, W]`` in [0, 1].
            radius: Length up to which something is certified; the lengths of the changes are just below it.
            majorities: Whether all that is certified are majorities, for which more may be allowed.
        """
        return []

    def in_words(self, radius: float, channels: int = 3, majorities: bool = False) -> str:
        """What a radius allows, one kind of change after the other.

        Args:
            radius: Length up to which something is certified.
            channels: Colour channels of the image.
            majorities: Whether a statement is about majorities alone.
        """
        axes = self.axes(radius, channels)
        return "; ".join(axis.words for axis in axes if majorities or not axis.for_majorities)


def check_pair(image: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
    """Both images in float64 on the CPU.

    Args:
        image: The certified image ``[C, H, W]``.
        changed: The changed image ``[C, H, W]``.

    Raises:
        InputError: If they differ in shape, are no images, or are not finite.
    """
    for name, one in (("the certified image", image), ("the changed image", changed)):
        if not isinstance(one, Tensor) or one.ndim != 3 or not one.is_floating_point():
            got = f"{one.dtype} {tuple(one.shape)}" if isinstance(one, Tensor) else type(one).__name__
            raise InputError(f"{name} must be a floating-point tensor [C, H, W] in [0, 1], got {got}")
    if image.shape != changed.shape:
        raise InputError(
            f"the changed image has the shape {tuple(changed.shape)}, the certified one {tuple(image.shape)}: give it "
            "with the size and the channels with which it was certified"
        )
    if not bool(changed.isfinite().all()):
        raise InputError("the changed image has values that are NaN or infinite")
    return image.detach().cpu().double(), changed.detach().cpu().double()
