"""What the certificate of the prediction gives back: the share of the noisy copies predicted as the explained class."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.capabilities import Clause
from lit_certattr.certificates.claims_result import Array, Interval, Verdict
from lit_certattr.certificates.radii import budget_of, checked_radii
from lit_certattr.certificates.result import Result, check_same_shape, invalid_flags
from lit_certattr.errors import InputError
from lit_certattr.statistics import clopper_pearson_lower, clopper_pearson_upper
from lit_certattr.statistics.rounding import at_least, at_most, exact

MAJORITY = 0.5
"""Share above which the class is the prediction of the smoothed network."""
_OWN, _OTHER = "share predicted as the explained class", "share predicted as another class"


@attrs.frozen(eq=False, repr=False)
class PredictionResult(Result):
    r"""Certified share of the noisy copies that are predicted as the explained class, at every radius.

    Attributes:
        votes: int64 ``[2]``: samples that are predicted as the class, and as another one; the rest tie or have logits
            that are not finite.
        lower: Lower confidence bound of the probability of the first.
        upper: One minus the lower confidence bound of the probability of the second.
        height: Height of the maps of the run.
        width: Width of the maps of the run.
    """

    kind: ClassVar[str] = "prediction"
    statistics: ClassVar[tuple[str, ...]] = ("votes",)
    majorities: ClassVar[bool] = True

    votes: Tensor
    lower: float
    upper: float
    height: int
    width: int

    def __attrs_post_init__(self) -> None:
        if (self.votes.dtype, tuple(self.votes.shape)) != (torch.int64, (2,)):
            raise ValueError("votes must be int64 [2]")
        if not (0 <= self.lower <= 1 and 0 <= self.upper <= 1):
            raise ValueError("lower and upper must lie in [0, 1]")

    @property
    @override
    def map_shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def num_tied(self) -> int:
        """Number of samples whose class ties with another one."""
        return self.num_samples - self.num_invalid - int(self.votes.sum())

    def intervals(self, radii: Sequence[float] | Array) -> tuple[Array, Array]:
        """Certified share of the noisy copies predicted as the class, for all radii at once.

        Args:
            radii: l2 radii, in pixel units.

        Returns:
            Lower and upper ends, float64 ``[radii]`` each.

        Raises:
            InputError: If a radius is negative or no finite number.
        """
        votes, lengths = self.change_budget.votes, checked_radii(radii)
        return votes.lower(self.lower, lengths), votes.upper(self.upper, lengths)

    def interval(self, radius: float = 0.0) -> Interval:
        """Certified share of the noisy copies predicted as the class, under every perturbation within a radius.

        Args:
            radius: l2 radius, in pixel units.

        Raises:
            InputError: If the radius is negative or not a finite number.
        """
        budget_of(radius)  # checks
        low, high = self.intervals([radius])
        return Interval(float(low[0]), float(high[0]))

    def holds(self, radius: float) -> bool:
        """Whether the class is certified to keep its majority under every perturbation within a radius.

        Args:
            radius: l2 radius, in pixel units.
        """
        return self.interval(radius).low > MAJORITY

    def is_refuted(self, radius: float) -> bool:
        """Whether the class is certified to have no majority under any perturbation within a radius.

        Args:
            radius: l2 radius, in pixel units.
        """
        return self.interval(radius).high < MAJORITY

    @property
    def verdict(self) -> Verdict:
        """What is certified of the class at the image: it has the majority, it has none, or neither is shown."""
        if self.is_refuted(0.0):
            return "refuted at the clean image"
        return "holds" if self.radius > 0 else "not shown"

    @property
    def radius(self) -> float:
        """Largest l2 radius up to which the class is certified to keep its majority; 0 where it is not."""
        return self._largest(self.lower, self.holds)

    @property
    def refuted_radius(self) -> float:
        """Largest l2 radius up to which the class is certified to have no majority; 0 where it is not."""
        return self._largest(1 - self.upper, self.is_refuted)

    def _largest(self, share: float, shown: Callable[[float], bool]) -> float:
        """Radius up to which a share is above one half."""
        radius, slack = max(0.0, self.change_budget.votes.reach(share, MAJORITY)), 1e-13
        while radius > 0 and not shown(radius):  # the inverse is rounded: step back until it is shown
            radius *= 1 - slack
            slack = min(2 * slack, 1.0)
        return radius

    def certified_count(self, radius: float = 0.0) -> tuple[int, int]:
        """1 if it is decided at a radius whether the class has the majority, and 1.

        Args:
            radius: l2 radius, in pixel units.
        """
        return int(self.holds(radius) or self.is_refuted(radius)), 1

    @property
    def explained(self) -> str:
        """The class in words."""
        return class_in_words(self.sampling.get("target"))

    def clauses(self, explained: str) -> list[Clause]:
        """What holds up to a radius, for a statement together with other certificates.

        Args:
            explained: The explained class in words.
        """
        return [Clause(f"the smoothed network still predicts {explained}", self.radius)] if self.radius else []

    def statement(self, radius: float | None = None) -> str:
        """What is certified, in plain words.

        Args:
            radius: Budget in pixel l2 units, for which the interval is given; ``None`` gives the radius up to which the
                class keeps its majority, or has none.

        Raises:
            InputError: If the radius is negative or not a finite number.
        """
        budget = budget_of(radius)
        low, high = self.interval(budget or 0.0)
        within = exact(budget) if budget else at_least(self.radius or self.refuted_radius)
        where = f"for every perturbation with {self.change_budget.measure} at most {within}"
        share = f"the share of the noisy copies that are predicted as {self.explained} is"
        if budget is not None:
            said = f"{share} at least {at_least(low)} and at most {at_most(high)} {where}{self._majority(budget)}"
        elif self.verdict == "holds":
            said = f"{share} above one half {where}, so the smoothed network predicts {self.explained} there"
        elif self.refuted_radius:
            said = f"{share} below one half {where}: the maps explain a class that has no majority under this noise"
        else:
            said = (
                f"{share} at least {at_least(low)} and at most {at_most(high)} at the clean image; whether it is above "
                "one half is not shown at any positive radius"
            )
        return (
            f"{self._surely()}, {said}. The noise is {self.noise_in_words()}; the interval holds for all radii at "
            f"once.{self._lengths_in_words(budget)} The prediction for an image without noise is not covered."
        )

    def _majority(self, radius: float) -> str:
        if self.holds(radius):
            return f", so the smoothed network predicts {self.explained} there"
        if self.is_refuted(radius):
            return ", so the class has no majority there"
        return ""

    def rederive(self) -> "PredictionResult":
        """The result that the votes give.

        Raises:
            InputError: If no samples can have given them.
        """
        own, other = self.votes.tolist()
        if min(own, other, self.num_invalid, self.num_tied) < 0:
            raise InputError(
                f"{own} and {other} votes and {self.num_invalid} invalid samples of {self.num_samples} are impossible"
            )
        level = self.spent_alpha / 2
        flags = invalid_flags(self.num_invalid, self.num_samples)
        if self.num_tied:
            flags.append(
                f"{self.num_tied} of {self.num_samples} noisy copies have several largest logits; they count against "
                "the class from below and for it from above"
            )
        changes: dict[str, Any] = {
            "lower": float(clopper_pearson_lower(own, self.num_samples, level)),
            "upper": float(1 - clopper_pearson_lower(other, self.num_samples, level)),
            "flags": flags,
        }
        return attrs.evolve(self, **changes)

    def claims(self) -> dict[str, Tensor]:
        """What everything rests on: lower bounds of both shares, float64 ``[1]`` each."""
        return {_OWN: _one(self.lower), _OTHER: _one(1 - self.upper)}

    def upper_bounds(self, fresh: "PredictionResult", level: float) -> dict[str, Tensor]:
        """What independent noise allows for them, by exact binomial bounds.

        Args:
            fresh: Result of the same certificate for the same image, from independent noise.
            level: Probability that a single bound is below its mean.
        """
        check_same_shape(self.votes, fresh.votes)
        bounds = clopper_pearson_upper(fresh.votes.numpy(), fresh.num_samples, level)
        return {name: _one(float(bound)) for name, bound in zip((_OWN, _OTHER), bounds, strict=True)}


def class_in_words(target: int | None) -> str:
    """A class in words.

    Args:
        target: Its index; ``None`` if it is not recorded.
    """
    return "the explained class" if target is None else f"class {target}"


def _one(value: float) -> Tensor:
    assert math.isfinite(value)
    return torch.tensor([value], dtype=torch.float64)
