"""What claims about numbers of a map give back, whatever the theorem behind them."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.capabilities import Clause
from lit_certattr.certificates.radii import budget_of
from lit_certattr.certificates.result import Result, check_same_shape, invalid_flags
from lit_certattr.errors import InputError
from lit_certattr.partitions import partition_hash
from lit_certattr.settings import whole_number
from lit_certattr.statistics.rounding import at_least, at_most, exact

Array = npt.NDArray[np.float64]
Verdict = Literal["holds", "not shown", "refuted at the clean image", ""]
"""What becomes of a claim with bounds; nothing for one without."""


class Interval(NamedTuple):
    """Where a number lies.

    Attributes:
        low: At least.
        high: At most.
    """

    low: float
    high: float


@attrs.frozen(eq=False, repr=False)
class ClaimsResult(Result):
    """Certified intervals of numbers of the map, one for each claim.

    Attributes:
        names: Names of the claims.
        words: What each number is.
        at_least: Bound of each claim from below; minus infinity for none.
        at_most: Bound of each claim from above; infinity for none.
        shares: Share of alpha of each claim.
        below: float64 ``[claims, n]``: the numbers of the samples in their order, where a map without one counts as
            the smallest value; the bounds from below rest on them.
        above: The same, where a map without a number counts as the largest value.
        masks: The parts of the image that the numbers are about, bool ``[masks, H, W]``; ``None`` if there is none.
        mask_of: Index of the claim of each mask.
        mean: float64 ``[H, W]``: mean of the noisy maps, each divided by its largest absolute value; to be looked at.
    """

    statistics = ("below", "above", "mean")

    names: tuple[str, ...] = attrs.field(converter=tuple)
    words: tuple[str, ...] = attrs.field(converter=tuple)
    at_least: tuple[float, ...] = attrs.field(converter=tuple)
    at_most: tuple[float, ...] = attrs.field(converter=tuple)
    shares: tuple[float, ...] = attrs.field(converter=tuple)
    below: Tensor
    above: Tensor
    mean: Tensor
    masks: Tensor | None = attrs.field(kw_only=True, default=None)
    mask_of: tuple[int, ...] = attrs.field(kw_only=True, default=(), converter=tuple)

    def __attrs_post_init__(self) -> None:
        if {self.below.dtype, self.above.dtype, self.mean.dtype} != {torch.float64}:
            raise ValueError("below, above and mean must be float64")
        expected, count = (len(self.names), self.num_samples), len(self.names)
        if not count or tuple(self.below.shape) != expected or tuple(self.above.shape) != expected:
            raise ValueError("below and above must be [claims, samples]")
        if any(len(one) != count for one in (self.words, self.at_least, self.at_most, self.shares)):
            raise ValueError("words, at_least, at_most and shares must have one entry for each claim")
        if self.mean.ndim != 2:
            raise ValueError("mean must be [H, W]")
        held = (0, torch.bool) if self.masks is None else (len(self.masks), self.masks.dtype)
        if held != (len(self.mask_of), torch.bool) or not set(self.mask_of) <= set(range(count)):
            raise ValueError("masks must be bool, each of one of the claims")
        if self.masks is not None and self.masks.shape[1:] != self.mean.shape:
            raise ValueError("masks must have the size of the maps")

    @abstractmethod
    def intervals(self, claim: int | str, radii: Sequence[float] | Array) -> tuple[Array, Array]:
        """Where the number of a claim lies under every perturbation within a radius, for all radii at once.

        Args:
            claim: Name or index of the claim.
            radii: l2 radii, in pixel units.

        Returns:
            Lower and upper ends, float64 ``[radii]`` each.

        Raises:
            InputError: If there is no such claim, or a radius is negative or no finite number.
        """

    @abstractmethod
    def radius(self, claim: int | str) -> float:
        """Largest l2 radius up to which a claim holds; 0 where it does not, or has no bounds.

        Args:
            claim: Name or index of the claim.
        """

    @abstractmethod
    def about(self) -> str:
        """What of the number is certified: its mean over the noise, or a percentile."""

    def index_of(self, claim: int | str) -> int:
        """Index of a claim.

        Args:
            claim: Its name, or its index from 0.

        Raises:
            InputError: If there is no such claim; the message names those that there are.
        """
        if isinstance(claim, str) and claim in self.names:
            return self.names.index(claim)
        if isinstance(claim, str) or claim not in range(len(self.names)):
            raise InputError(f"there is no claim {claim!r:.80}: the claims are {_numbered(self.names)}")
        return whole_number("the index of a claim", claim)

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Height and width of the maps."""
        return tuple(self.mean.shape)

    @property
    def num_missing(self) -> tuple[int, ...]:
        """How many noisy maps have no such number, for each claim."""
        return tuple(int(count) for count in (self.below != self.above).sum(1))

    def smoothed_map(self) -> Tensor:
        """Mean of the noisy maps, each divided by its largest absolute value, float32 ``[H, W]``."""
        return self.mean.float()

    @override
    def places(self) -> dict[str, str]:
        return super().places() | ({} if self.masks is None else {"masks": masks_identity(self.masks)})

    def masks_of(self, claim: int | str) -> list[Tensor]:
        """The parts of the image that the number of a claim is about, bool ``[H, W]`` each; often none.

        Args:
            claim: Name or index of the claim.
        """
        claim = self.index_of(claim)
        return [] if self.masks is None else [self.masks[i] for i, of in enumerate(self.mask_of) if of == claim]

    def covered(self, claim: int | str) -> float | None:
        """Share of the pixels that the one mask of a claim covers; a map that spreads evenly has this share inside.

        Args:
            claim: Name or index of the claim.

        Returns:
            The share, in (0, 1]; ``None`` for a number of no mask, or of several.
        """
        masks = self.masks_of(claim)
        return float(masks[0].double().mean()) if len(masks) == 1 else None

    def has_bounds(self, claim: int | str) -> bool:
        """Whether a claim can hold or be refuted.

        Args:
            claim: Name or index of the claim.
        """
        claim = self.index_of(claim)
        return not (self.at_least[claim] == -math.inf and self.at_most[claim] == math.inf)

    def interval(self, claim: int | str, radius: float = 0.0) -> Interval:
        """Where the number of a claim lies under every perturbation within a radius.

        Args:
            claim: Name or index of the claim.
            radius: l2 radius, in pixel units.

        Raises:
            InputError: If the radius is negative or not a finite number.
        """
        budget_of(radius)  # checks
        low, high = self.intervals(claim, [radius])
        return Interval(float(low[0]), float(high[0]))

    def holds(self, claim: int | str, radius: float) -> bool:
        """Whether a claim is certified to hold under every perturbation within a radius; never for one without bounds.

        Args:
            claim: Name or index of the claim.
            radius: l2 radius, in pixel units.
        """
        claim = self.index_of(claim)
        low, high = self.interval(claim, radius)
        return self.has_bounds(claim) and low >= self.at_least[claim] and high <= self.at_most[claim]

    def verdict(self, claim: int | str) -> Verdict:
        """What becomes of a claim; nothing for one without bounds.

        Args:
            claim: Name or index of the claim.

        Raises:
            InputError: If there is no such claim.
        """
        claim = self.index_of(claim)
        if not self.has_bounds(claim):
            return ""
        low, high = self.interval(claim)
        if high < self.at_least[claim] or low > self.at_most[claim]:
            return "refuted at the clean image"
        return "holds" if self.radius(claim) > 0 else "not shown"

    def says_something(self, claim: int | str, radius: float) -> bool:
        """Whether a claim holds at a radius; for one without bounds, whether its interval has an end there.

        Args:
            claim: Name or index of the claim.
            radius: l2 radius, in pixel units.
        """
        return self.holds(claim, radius) if self.has_bounds(claim) else self.interval(claim, radius).low > self.floor

    @property
    def floor(self) -> float:
        """What every number is at least; a lower end of this says nothing."""
        return -math.inf

    def certified_count(self, radius: float = 0.0) -> tuple[int, int]:
        """Claims that hold at a radius, and all; one without bounds counts where its interval says something.

        Args:
            radius: l2 radius, in pixel units.
        """
        return sum(self.says_something(claim, radius) for claim in range(len(self.names))), len(self.names)

    def sentence(self, claim: int | str, radius: float | None = None) -> str:
        """What is certified of one number, in a sentence.

        Args:
            claim: Name or index of the claim.
            radius: l2 radius, in pixel units; ``None`` for the largest one up to which the claim holds.
        """
        claim, budget = self.index_of(claim), budget_of(radius)
        verdict = self.verdict(claim)
        asked = self._asked(claim)
        number = f"{self.names[claim]!r}: {self.about()} of {self.words[claim]}"
        covered = self.covered(claim)
        beside = "" if covered is None else f" The mask covers {100 * covered:.3g} % of the map."
        if self.num_missing[claim] == self.num_samples:
            beside += " Nothing is shown of it: no noisy map has this number, as each is constant or not finite."
        every = f"every perturbation with {self.change_budget.measure} at most"
        if budget is None and verdict == "holds":
            within = at_least(self.radius(claim))
            return f"{number} is {asked} for {every} {within}.{beside}"
        low, high = self.interval(claim, budget or 0.0)
        where = (
            f"for every perturbation with {self.change_budget.measure} at most {exact(budget)}"
            if budget
            else "at the clean image"
        )
        said = f"{number} is at least {at_least(low)} and at most {at_most(high)} {where}"
        if not verdict or (budget is not None and verdict != "refuted at the clean image"):
            return f"{said}{'' if not verdict else f'; that it is {asked} there '}{self._shown(claim, budget)}.{beside}"
        return f"{said}; that it is {asked} is {verdict}.{beside}"

    def _shown(self, claim: int, budget: float | None) -> str:
        if not self.has_bounds(claim):
            return ""
        return "holds" if self.holds(claim, budget or 0.0) else "is not shown"

    def clauses(self, explained: str) -> list[Clause]:
        """What holds up to a radius, for a statement together with other certificates.

        Args:
            explained: The explained class in words, which claims do not name.
        """
        return [
            Clause(f"{self.about()} of {self.words[claim]} is {self._asked(claim)}", self.radius(claim))
            for claim in range(len(self.names))
            if self.verdict(claim) == "holds"
        ]

    def _asked(self, claim: int) -> str:
        """The bounds of a claim in words."""
        bounds = ("at least", self.at_least[claim]), ("at most", self.at_most[claim])
        return " and ".join(f"{word} {exact(bound)}" for word, bound in bounds if math.isfinite(bound))

    def statement(self, radius: float | None = None) -> str:
        """What is certified, one sentence for each claim.

        Args:
            radius: Budget in pixel l2 units, for which the intervals are given; ``None`` gives the radius up to which
                each claim holds.

        Raises:
            InputError: If the radius is negative or not a finite number.
        """
        sentences = " ".join(self.sentence(claim, radius) for claim in range(len(self.names)))
        return (
            f"{self._surely()}, all of the following at once. {sentences} The noise is {self.noise_in_words()}; the "
            f"intervals hold for all radii at once.{self._lengths_in_words(budget_of(radius))} What is "
            f"certified is {self.about()} over the noise, as its exact "
            "value: the number of a single map, noisy or not, and the predicted class are not covered."
        )

    def rederive(self) -> "ClaimsResult":
        """The result that the numbers of the samples give.

        Raises:
            InputError: If no samples can have given them.
        """
        missing = self.num_missing
        if bool(torch.isnan(self.below).any() | torch.isnan(self.above).any() | (self.below > self.above).any()):
            raise InputError("the numbers of the samples are none, or those from below are above those from above")
        if not 0 <= self.num_invalid <= min(missing):
            raise InputError(f"{self.num_invalid} invalid samples, but only {min(missing)} without a number")
        if not math.fsum(self.shares) <= 1 or min(self.shares) <= 0:
            raise InputError("the shares of alpha must be positive and add up to at most 1")
        if self.masks is not None and not bool(self.masks.flatten(1).any(1).all()):
            raise InputError("a mask of a claim is empty")
        flags = claims_flags(self.num_invalid, self.num_samples, self.names, missing)
        changes: dict[str, Any] = {"flags": flags} | self.bounds()
        return attrs.evolve(self, **changes)

    def bounds(self) -> dict[str, Any]:
        """Fields that follow from the numbers of the samples; none where a kind computes all it needs."""
        return {}

    def notes(self) -> list[str]:
        """What a reader must know of how the intervals were made; nothing by default."""
        return []

    def check_alike(self, fresh: "ClaimsResult") -> None:
        """Refuse to compare with a result of other claims.

        Args:
            fresh: The other result.

        Raises:
            InputError: If claims or maps differ.
        """
        check_same_shape(self.mean, fresh.mean)
        if (self.names, self.words) != (fresh.names, fresh.words):
            raise InputError(f"claims: stored {', '.join(self.names)}, derived {', '.join(fresh.names)}")


def _numbered(names: Sequence[str]) -> str:
    """Names with their indices."""
    return ", ".join(f"{index} ({name!r})" for index, name in enumerate(names))


def masks_identity(masks: Tensor) -> str:
    """What a record holds of the masks of claims.

    Args:
        masks: bool ``[masks, H, W]``.

    Example:
        >>> masks_identity(torch.ones(2, 4, 4, dtype=torch.bool))[:24]
        '2 masks; sha256 450b7d2e'
    """
    return f"{len(masks)} masks; sha256 {partition_hash(masks)}"


def claims_flags(num_invalid: int, num_samples: int, names: Sequence[str], missing: Sequence[int]) -> list[str]:
    """What a reader must know of maps without a number.

    Args:
        num_invalid: Samples of NaN or infinity.
        num_samples: All samples.
        names: Names of the claims.
        missing: Samples without a number, for each claim.
    """
    flags = invalid_flags(num_invalid, num_samples)
    for name, count in zip(names, missing, strict=True):
        if count:
            flags.append(
                f"{count} of {num_samples} noisy maps are constant or have no number for {name!r}; they count as its "
                "smallest value from below and as its largest from above"
            )
    return flags
