"""What the certificate of means gives back: bounds of the mean of each number over the noise, at every radius."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets import GaussianVotes
from lit_certattr.certificates.claims_result import Array, ClaimsResult
from lit_certattr.certificates.radii import checked_radii
from lit_certattr.errors import InputError
from lit_certattr.statistics import betting_lower, clopper_pearson_lower, shift, step_down_bounds
from lit_certattr.statistics.rounding import exact

_LOW, _HIGH = "mean of a number", "one minus the mean of a number"


def mean_lower(values: Tensor, level: float, bound: str, stakes_level: float | None = None) -> float:
    """Lower confidence bound of a mean.

    Args:
        values: Independent values in [0, 1], ``[n]``, in their order.
        level: Probability that the bound is above the mean.
        bound: ``"clopper_pearson"``, exact for values of 0 and 1, or ``"betting"``.
        stakes_level: Level for which the stakes of ``"betting"`` are made; ``level`` by default.

    Returns:
        The bound, in [0, 1].

    Example:
        >>> round(mean_lower(torch.ones(10, dtype=torch.float64), 0.001, "clopper_pearson"), 4)
        0.5012
    """
    if bound == "clopper_pearson":
        return float(clopper_pearson_lower(int(values.sum()), len(values), level))
    return betting_lower(values.numpy(), level, stakes_level=stakes_level)


@attrs.frozen(eq=False, repr=False)
class ClaimResult(ClaimsResult):
    r"""Certified means of numbers of the map, at every radius.

    With probability at least :math:`1 - \alpha` the mean of every number lies between ``lower`` and ``upper`` at the
    image, and for every perturbation with an l2 norm up to r, for all r at once, between
    :math:`\Phi(\Phi^{-1}(L) - r/\sigma)` and :math:`\Phi(\Phi^{-1}(U) + r/\sigma)`.

    Attributes:
        bound: How the mean of each claim is bounded, ``"betting"`` or ``"clopper_pearson"``.
        smallest: Smallest value of each number; ``below`` and ``above`` hold them scaled to [0, 1].
        largest: Largest value of each number.
        holm_radius: l2 radius at which Holm's step-down test decides; infinity for none, where the claims share alpha
            by their weights alone.
        lower: float64 ``[claims]``: lower confidence bounds of the scaled means.
        upper: float64 ``[claims]``: upper confidence bounds of the scaled means.
    """

    kind: ClassVar[str] = "claims"

    bound: tuple[str, ...] = attrs.field(converter=tuple)
    smallest: tuple[float, ...] = attrs.field(converter=tuple)
    largest: tuple[float, ...] = attrs.field(converter=tuple)
    holm_radius: float
    lower: Tensor
    upper: Tensor

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        count = len(self.names)
        if {tuple(self.lower.shape), tuple(self.upper.shape)} != {(count,)}:
            raise ValueError("lower and upper must be [claims]")
        if {self.lower.dtype, self.upper.dtype} != {torch.float64}:
            raise ValueError("lower and upper must be float64")
        if any(len(one) != count for one in (self.bound, self.smallest, self.largest)):
            raise ValueError("bound, smallest and largest must have one entry for each claim")
        if not set(self.bound) <= {"betting", "clopper_pearson"}:
            raise ValueError("bound must be betting or clopper_pearson")
        if not self.holm_radius > 0:
            raise ValueError("holm_radius must be positive")

    @override
    def about(self) -> str:
        return "the mean"

    def _level(self, claim: int) -> float:
        return self.spent_alpha * self.shares[claim] / 2

    @override
    def bounds(self) -> dict[str, Any]:
        """The confidence bounds of the means.

        Raises:
            InputError: If a number of a sample is outside its range.
        """
        if bool((self.below < 0).any() | (self.above > 1).any()):
            raise InputError("the scaled numbers of the samples must lie in [0, 1]")
        exact = [index for index, bound in enumerate(self.bound) if bound == "clopper_pearson"]
        for numbers in (self.below[exact], self.above[exact]):
            if bool(((numbers != 0) & (numbers != 1)).any()):
                raise InputError("the exact bound is for numbers of 0 and 1 only")
        levels = [self._level(claim) for claim in range(len(self.names))]
        lower = [mean_lower(*one) for one in zip(self.below, levels, self.bound, strict=True)]
        other = [mean_lower(1 - one[0], *one[1:]) for one in zip(self.above, levels, self.bound, strict=True)]
        sides = self._step_down(levels) if math.isfinite(self.holm_radius) else {}
        for (claim, upwards), bound in sides.items():
            (other if upwards else lower)[claim] = bound
        return {
            "lower": torch.tensor(lower, dtype=torch.float64),
            "upper": 1 - torch.tensor(other, dtype=torch.float64),
        }

    def _step_down(self, levels: Sequence[float]) -> dict[tuple[int, bool], float]:
        """Bounds of the sides that claims ask about, by claim and side; from above, those of one minus the mean."""
        asked = [
            (claim, upwards)
            for claim in range(len(self.names))
            for upwards, given in ((False, self.at_least[claim] > -math.inf), (True, self.at_most[claim] < math.inf))
            if given
        ]

        def bound_of(claim: int, upwards: bool) -> Callable[[float], float]:
            values, own, kind = self.below[claim], levels[claim], self.bound[claim]
            if upwards:
                values = 1 - self.above[claim]
            return lambda level: mean_lower(values, level, kind, own)

        bounds = step_down_bounds(
            [bound_of(*side) for side in asked],
            [self._threshold(*side) for side in asked],
            [levels[claim] for claim, _ in asked],
        )
        return dict(zip(asked, bounds, strict=True))

    def _threshold(self, claim: int, upwards: bool) -> float:
        """The smallest mean with which a side of a claim holds at the radius of the test, a little rounded up."""

        def enough(mean: float) -> bool:
            lower, upper = (0.0, 1 - mean) if upwards else (mean, 1.0)
            low, high = self._intervals(lower, upper, claim, [self.holm_radius])
            return bool(high[0] <= self.at_most[claim] if upwards else low[0] >= self.at_least[claim])

        if not isinstance(self.change_budget.votes, GaussianVotes):
            below, above = 0.0, 1.0
            while above - below > 1e-12:
                middle = (below + above) / 2
                below, above = (below, middle) if enough(middle) else (middle, above)
            return above
        start, width = self.smallest[claim], self.largest[claim] - self.smallest[claim]
        asked = (self.largest[claim] - self.at_most[claim] if upwards else self.at_least[claim] - start) / width
        slack = 1e-15
        while True:
            mean = float(shift(asked, self.holm_radius / self.scale * (1 + slack) + slack))
            if mean >= 1 or enough(mean):
                return min(1.0, mean)
            slack *= 4

    @override
    def intervals(self, claim: int | str, radii: Sequence[float] | Array) -> tuple[Array, Array]:
        claim = self.index_of(claim)
        return self._intervals(float(self.lower[claim]), float(self.upper[claim]), claim, checked_radii(radii))

    def _intervals(self, lower: float, upper: float, claim: int, radii: Sequence[float] | Array) -> tuple[Array, Array]:
        """The intervals that follow from bounds of the scaled mean."""
        votes = self.change_budget.votes
        low, high = votes.lower(lower, radii), votes.upper(upper, radii)
        start, width = self.smallest[claim], self.largest[claim] - self.smallest[claim]
        return start + width * low, start + width * high

    @override
    def says_something(self, claim: int | str, radius: float) -> bool:
        claim = self.index_of(claim)
        if self.has_bounds(claim):
            return self.holds(claim, radius)
        return self.interval(claim, radius).low > self.smallest[claim]

    @override
    def radius(self, claim: int | str) -> float:
        claim = self.index_of(claim)
        if not self.has_bounds(claim) or not self.holds(claim, 0.0):
            return 0.0
        start, width = self.smallest[claim], self.largest[claim] - self.smallest[claim]
        lengths, votes = [], self.change_budget.votes
        if self.at_least[claim] > -math.inf:
            lengths.append(votes.reach(float(self.lower[claim]), (self.at_least[claim] - start) / width))
        if self.at_most[claim] < math.inf:
            lengths.append(votes.reach_up(float(self.upper[claim]), (self.at_most[claim] - start) / width))
        radius, slack = max(0.0, min(lengths)), 1e-13
        while radius > 0 and not self.holds(claim, radius):  # the inverse is rounded: step back until it holds
            radius *= 1 - slack
            slack = min(2 * slack, 1.0)
        return radius

    @override
    def notes(self) -> list[str]:
        if not math.isfinite(self.holm_radius):
            return []
        return [
            f"The claims were tested together at radius {exact(self.holm_radius)} (Holm's step-down test, as was fixed "
            "before sampling): a claim that holds there is not shown beyond, unless all claims hold there."
        ]

    def claims(self) -> dict[str, Tensor]:
        """What everything rests on: lower bounds of the scaled means, and of one minus them, float64 ``[claims]``."""
        return {_LOW: self.lower, _HIGH: 1 - self.upper}

    def upper_bounds(self, fresh: "ClaimResult", level: float) -> dict[str, Tensor]:
        """What independent noise allows for them, by the same kind of bound."""
        self.check_alike(fresh)
        pairs = {_LOW: 1 - fresh.below, _HIGH: fresh.above}
        return {
            name: torch.tensor(
                [1 - mean_lower(one, level, bound) for one, bound in zip(values, self.bound, strict=True)],
                dtype=torch.float64,
            )
            for name, values in pairs.items()
        }
