"""Optional capabilities of results besides the statement: protocols, which users test with ``isinstance``.

A kind of result has a capability if it has its methods; there is no list of kinds. A missing capability only disables
its uses: a result without :class:`CountsPixels` never stops the sampling, and an audit reports a result without
:class:`Rederivable`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

from torch import Tensor

from lit_certattr.certificates.result import Result
from lit_certattr.errors import InputError
from lit_certattr.settings.discovery import names_of


@runtime_checkable
class CountsPixels(Protocol):
    """Counts certified pixels, so that sampling can stop when there are enough."""

    def certified_count(self, radius: float = 0.0) -> tuple[int, int]:
        """Number of pixels, over all levels, that are certified at a radius, and the largest possible number.

        Args:
            radius: Budget in pixel units, in the norm of the result.
        """
        ...


@runtime_checkable
class KeepsOverlap(CountsPixels, Protocol):
    """Bounds how many of K pixels stay among the K most important ones."""

    def overlap(self, radius: float) -> int:
        """Number of the K pixels that no perturbation with a norm up to ``radius`` can displace, in 0..K."""
        ...


@runtime_checkable
class KeepsCosine(Protocol):
    """Bounds the cosine between the map of the image and the map of a perturbed image."""

    def certified_cosine(self, radius: float) -> float:
        """Certified cosine for every perturbation with an l2 norm up to ``radius``, in [0, 1]; 0 where none is."""
        ...


@runtime_checkable
class LabelsPixels(Protocol):
    """Labels pixels as important or unimportant, for one level of K or several.

    Attributes:
        top_k: The levels as the user gave them, shares or pixel counts.
        sizes: Number of pixels in the top K at each level.
    """

    top_k: tuple[float, ...]
    sizes: tuple[int, ...]

    def labels_at(self, radius: float) -> Tensor:
        """Labels that hold for every perturbation with an l2 norm up to ``radius``.

        Args:
            radius: Budget in pixel l2 units.

        Returns:
            int8 ``[K, H, W]``: 1 important, 0 unimportant, -1 if neither is certified.
        """
        ...


@runtime_checkable
class HasRadii(Protocol):
    """Has a radius for each pixel and level."""

    def pixel_radii(self) -> Tensor:
        """The l2 radii, float32 ``[K, H, W]``; 0 where nothing is certified."""
        ...


@runtime_checkable
class HasMajority(Protocol):
    """Knows which pixels are in the top K of most samples."""

    def majority(self) -> Tensor:
        """Whether more than half of the samples put a pixel in the top K, bool ``[K, H, W]``."""
        ...


@runtime_checkable
class HasSmoothedMap(Protocol):
    """Has an estimate of the smoothed map."""

    def smoothed_map(self) -> Tensor:
        """The estimate, float32 ``[H, W]``: votes as shares of the samples, or a mean of maps."""
        ...


@runtime_checkable
class HasNull(Protocol):
    """Knows the shares that random maps would reach."""

    def null_shares(self, radius: float = 0.0) -> dict[str, Tensor]:
        """Expected shares of certified pixels for independent random maps.

        Args:
            radius: Budget in pixel l2 units.

        Returns:
            ``"one"``, ``"zero"`` and ``"certified"``, each float64 ``[K]``.
        """
        ...


@runtime_checkable
class Rederivable(Protocol):
    """Can be derived again, by an audit, from the statistics that it holds."""

    def rederive(self) -> Self:
        """The result that the certifying function gives for the stored counts and settings.

        An unchanged result equals it bit for bit; a result that was altered afterwards does not.

        Raises:
            InputError: If no samples can have given these counts.
        """
        ...


@runtime_checkable
class Claims(Protocol):
    """Depends on lower bounds of means over the noise, which fresh noise can contradict."""

    def claims(self) -> dict[str, Tensor]:
        """Lower bounds of means over the noise, by name; all statements of this result depend on them.

        Each is float64 of any shape, e.g. ``[K, H, W]``; 0 claims nothing.
        """
        ...

    def upper_bounds(self, fresh: Any, level: float) -> dict[str, Tensor]:
        """Upper confidence bounds, from independent noise, of the means in :meth:`claims`.

        Args:
            fresh: Result of the same certificate for the same image, from noise that is independent of this result.
            level: Probability that a single bound is below its mean.

        Returns:
            Upper confidence bounds, float64, with the names and shapes of :meth:`claims`.

        Raises:
            InputError: If the maps have another shape.
        """
        ...


class Clause(NamedTuple):
    """Something that holds up to a radius.

    Attributes:
        text: It, in words that complete "for every perturbation within the radius, ...".
        radius: l2 radius in pixel units, positive.
    """

    text: str
    radius: float


@runtime_checkable
class HasClauses(Protocol):
    """Says what holds up to a radius in clauses, so that several certificates make one sentence."""

    def clauses(self, explained: str) -> list[Clause]:
        """What holds at some positive l2 radius; empty if nothing does.

        Args:
            explained: The explained class in words.
        """
        ...


@runtime_checkable
class CountsPredictions(Protocol):
    """Counts predictions of the noisy copies, so that they agree with the noisy accuracy of the image.

    Attributes:
        votes: Number of samples that are predicted as the explained class, and as another one, int64 ``[2]``.
        num_tied: Number of samples that tie.
    """

    votes: Tensor
    num_tied: int


@runtime_checkable
class HasVerdicts(Protocol):
    """Says of named claims whether they hold.

    Attributes:
        names: Names of the claims.
    """

    names: tuple[str, ...]

    def has_bounds(self, claim: int) -> bool:
        """Whether a claim, given by its index, can hold or be refuted."""
        ...

    def holds(self, claim: int, radius: float) -> bool:
        """Whether a claim is certified to hold for every perturbation with an l2 norm up to ``radius``."""
        ...

    def verdict(self, claim: int) -> str:
        """What becomes of a claim: holds, not shown, or refuted at the clean image."""
        ...


class Masks(NamedTuple):
    """How often each pixel was in the top K of a noisy map.

    Attributes:
        ties: Tie rule of the top K.
        size: K in pixels.
        votes: Votes of all samples, ``[H, W]``.
        tied: Average share of the pixels of a map that tie across the threshold.
    """

    ties: str
    size: int
    votes: Tensor
    tied: float


@runtime_checkable
class CountsMasks(Protocol):
    """Counts exact top-K masks, so that its counts agree with other certificates of the same image and samples.

    Attributes:
        num_constant: Number of samples with a constant map; they vote for nothing.
    """

    num_constant: int

    def masks(self) -> Iterator[Masks]:
        """The counts for each K; empty if the certificate counts other maps than masks."""
        ...


def offering(result: Result, capability: Any) -> Any:
    """Check that a result offers a capability, and return it.

    Args:
        result: A result.
        capability: One of the protocols of this module.

    Raises:
        InputError: If it does not; the message names kinds that do.
    """
    if isinstance(result, capability):
        return result
    known = names_of(Result, lambda kind: all(hasattr(kind, name) for name in _members(capability)))
    article = "an" if known.startswith(("A", "E", "I", "O")) else "a"
    raise InputError(f"needs {article} {known}, got {type(result).__name__}")


def _members(capability: Any) -> set[str]:
    """Names that a protocol requires."""
    asked: set[str] = set()
    for base in capability.__mro__:
        if base not in (Protocol, object):
            asked |= {*vars(base), *vars(base).get("__annotations__", {})}
    return {name for name in asked if not name.startswith("_")}
