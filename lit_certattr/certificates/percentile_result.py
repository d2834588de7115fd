"""What the certificate of percentiles gives back: an interval for a percentile of each number, at every radius."""

import math
from collections.abc import Sequence
from typing import ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.claims_result import Array, ClaimsResult
from lit_certattr.certificates.count_bounds import upper_bounds_of_counts
from lit_certattr.certificates.radii import checked_radii
from lit_certattr.errors import InputError
from lit_certattr.statistics import hoeffding_margin, quantile_lower_rank, quantile_upper_rank, shift

_LOW, _HIGH = "a number of at least the lower end", "a number of at most the upper end"
_LENGTHS = (0.0, 0.25, 0.5, 1.0, 1.5)  # over sigma, at which fresh noise tests the band
_ROUNDING = 1e-12  # of a sum of probabilities; it moves a rank to the safe side


@attrs.frozen(eq=False, repr=False)
class PercentileResult(ClaimsResult):
    r"""Certified intervals of a percentile of numbers of the map.

    With probability at least :math:`1 - \alpha`, for all claims, the p-percentile of the number over the noise lies in
    the interval: for every perturbation with an l2 norm up to r, for all r at once, or up to one budget.

    Attributes:
        probability: Order p of the percentile; .5 for the median.
        budget: The one l2 radius that the intervals are about, in pixel units; infinity for all radii at once.
    """

    kind: ClassVar[str] = "percentiles"

    probability: float
    budget: float

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not (0 < self.probability < 1 and self.budget > 0):
            raise ValueError("probability must lie in (0, 1), budget must be positive")

    @override
    def about(self) -> str:
        return "the median" if self.probability == 0.5 else f"the {100 * self.probability:g} % percentile"

    @override
    def intervals(self, claim: int | str, radii: Sequence[float] | Array) -> tuple[Array, Array]:
        claim = self.index_of(claim)
        radii = checked_radii(radii)
        lengths, n = radii / self.scale * (1 + 1e-15), self.num_samples
        ordered = [np.sort(values[claim].numpy()) for values in (self.below, self.above)]
        level = self.spent_alpha * self.shares[claim] / 2
        if math.isfinite(self.budget):
            length = self.budget / self.scale * (1 + 1e-15)
            ranks = [
                quantile_lower_rank(n, float(shift(self.probability, -length)), level),
                quantile_upper_rank(n, float(shift(self.probability, length)), level),
            ]
            inside = radii <= self.budget
            ends = [_at_rank(values, np.full(len(lengths), rank)) for values, rank in zip(ordered, ranks, strict=True)]
            return np.where(inside, ends[0], -math.inf), np.where(inside, ends[1], math.inf)
        # One-sided, of both distributions: P[sup(F_n - F) > d] <= exp(-2 n d^2) up to 1/2 (Massart, 1990).
        band = hoeffding_margin(n, level)
        low = np.ceil(n * (shift(self.probability, -lengths) - band - _ROUNDING))
        high = np.ceil(n * (shift(self.probability, lengths) + band + _ROUNDING))
        return _at_rank(ordered[0], low.clip(0)), _at_rank(ordered[1], high.clip(max=n + 1))

    @override
    def radius(self, claim: int | str) -> float:
        claim = self.index_of(claim)
        if not self.has_bounds(claim) or not self.holds(claim, 0.0):
            return 0.0
        if math.isfinite(self.budget):
            return self.budget
        low, high = 0.0, 40 * self.scale  # where no interval has an end
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.holds(claim, middle) else (low, middle)
        return low

    @override
    def rederive(self) -> "PercentileResult":
        if bool(
            (torch.isinf(self.below) & (self.below > 0)).any() | (torch.isinf(self.above) & (self.above < 0)).any()
        ):
            raise InputError("a number of a sample is infinite")
        result = super().rederive()
        assert isinstance(result, PercentileResult)
        return result

    def _lengths(self) -> Array:
        """Lengths over sigma of the claims that fresh noise tests."""
        return np.array([self.budget / self.scale] if math.isfinite(self.budget) else _LENGTHS)

    def _ends(self) -> tuple[Tensor, Tensor]:
        """Ends of the intervals at these lengths, float64 ``[claims, lengths]`` each."""
        ends = [self.intervals(claim, self._lengths() * self.scale) for claim in range(len(self.names))]
        low, high = (torch.from_numpy(np.stack([one[side] for one in ends])) for side in (0, 1))
        return low, high

    def claims(self) -> dict[str, Tensor]:
        """What the intervals mean at a few lengths: how often a number is at least at the end, or at most."""
        low, high = self._ends()
        below = torch.from_numpy(1 - shift(self.probability, -self._lengths()))
        above = torch.from_numpy(shift(self.probability, self._lengths()))
        return {
            _LOW: torch.where(torch.isfinite(low), below, 0.0),
            _HIGH: torch.where(torch.isfinite(high), above, 0.0),
        }

    def upper_bounds(self, fresh: "PercentileResult", level: float) -> dict[str, Tensor]:
        """What independent noise allows for them: Clopper-Pearson bounds."""
        self.check_alike(fresh)
        low, high = self._ends()
        counts = {
            _LOW: (fresh.below[:, None, :] >= low[:, :, None]).sum(2),
            _HIGH: (fresh.above[:, None, :] <= high[:, :, None]).sum(2),
        }
        return {name: upper_bounds_of_counts(count, fresh.num_samples, level) for name, count in counts.items()}


def _at_rank(ordered: Array, ranks: Array) -> Array:
    """The values of ranks 1 to n; minus infinity for rank 0, infinity for rank n + 1."""
    return np.concatenate([[-math.inf], ordered, [math.inf]])[np.asarray(ranks, dtype=np.int64)]
