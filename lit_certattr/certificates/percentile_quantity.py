r"""Attacks on percentiles: the percentile of the number is pushed down for lower ends and up for upper ones.

A number of the map may have any size, so what is left of it is given on the scale of the noise at the image itself: the
share of the run's own noisy maps whose number is at most this one (at least, from above). The median starts near one
half there. Ends of intervals are numbers of noisy maps, so nothing is lost: one end lies below another if and only if
its share does.

*Error.* One order statistic of the fresh samples bounds the percentile at the perturbed image at level ``error``
(:func:`~lit_certattr.statistics.quantile_upper_rank`), for any distribution. ∎
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks import SmoothedObjective
from lit_certattr.certificates.claims_quantity import ClaimsQuantity
from lit_certattr.certificates.percentile_result import PercentileResult
from lit_certattr.certificates.quantity import Evaluation, Quantity, Verdict, number, quantities_of
from lit_certattr.certificates.result import Result
from lit_certattr.numbers import Number
from lit_certattr.statistics import quantile_lower_rank, quantile_upper_rank


class PercentileOfNumber(SmoothedObjective):
    r"""Pushes a percentile of a number of the noisy maps.

    The gradient of a percentile is the mean gradient of the number where the number equals the percentile,
    :math:`\nabla q = E[\nabla g \mid g = q]` (Hong, 2009, theorem 2); the surrogate weights the noisy maps by a
    Gaussian kernel around their empirical percentile.

    Args:
        number: The number.
        probability: Order p of the percentile, in (0, 1).
        sign: -1 pushes it down, 1 up.

    Example:
        >>> from lit_certattr.numbers import CentreOfMass
        >>> maps = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]], [[[1.0, 1.0]]], [[[1.0, 3.0]]]])
        >>> round(float(PercentileOfNumber(CentreOfMass("column"), 0.5, 1).value(maps)), 3)
        0.754
    """

    def __init__(self, number: Number, probability: float, sign: int) -> None:
        self.number, self.probability, self.sign = number, probability, sign

    @override
    def surrogate(self, maps: Tensor) -> Tensor:
        values = self.number.soft(maps.flatten(0, 1)).view(maps.shape[:2])
        known = torch.isfinite(values)
        filled = torch.where(known, values, 0.0)
        fixed = filled.detach()
        centre = self._quantile(torch.where(known, fixed, self.sign * torch.inf)).nan_to_num(0.0, 0.0, 0.0)
        width = fixed.std(0, correction=0).clamp_min(1e-12) * len(maps) ** -0.2
        weights = torch.exp(-0.5 * ((fixed - centre) / width).square()) * known
        return self.sign * (weights * filled).sum(0) / weights.sum(0).clamp_min(1e-12)

    @override
    def value(self, maps: Tensor) -> Tensor:
        """As in the base class; a map without a number helps the attacker, and the mean decides between equal ones."""
        values = self.number(maps.flatten(0, 1)).view(maps.shape[:2])
        filled = torch.where(torch.isnan(values), self.sign * torch.inf, values)
        mean = torch.where(torch.isnan(values), 0.0, values).mean(0)
        return self.sign * (self._quantile(filled) + 0.01 * mean)

    @override
    def has_gradient(self, map_shape: Sequence[int]) -> bool:
        return self.number.has_gradient(map_shape)

    def _quantile(self, values: Tensor) -> Tensor:
        """The percentile of the draws ``[draws, B]`` for each image."""
        return values.sort(0).values[_rank(len(values), self.probability) - 1]


class PercentileQuantity(ClaimsQuantity[PercentileResult]):
    """The percentile of a number, as a share of the run's noisy maps that lie below it; or above it, from above.

    Args:
        certificate: Name of the certificate.
        result: Its result.
        level: Index of the claim.
        number: The number that is attacked.
        upwards: Whether the upper end is attacked.
    """

    kind = PercentileResult.kind
    names = ("percentile", "percentile from above")

    def __init__(self, certificate: str, result: PercentileResult, level: int, number: Number, upwards: bool) -> None:
        super().__init__(certificate, result, level, number, upwards)
        self._values = self._signed(result).sort().values

    def _signed(self, result: Result) -> Tensor:
        """Numbers of the samples, a map without one counting for the attacker; their negatives for upper ends."""
        assert isinstance(result, PercentileResult)
        return -result.above[self.level] if self.upwards else result.below[self.level]

    def _share(self, end: float) -> float:
        """Share of the run's noisy maps whose (signed) number is at most this; 0 for no end."""
        if end == -math.inf:
            return 0.0
        return int(torch.searchsorted(self._values, end, right=True)) / len(self._values)

    @property
    @override
    def unit(self) -> str:
        return f"noisy maps {'above' if self.upwards else 'below'} {self.result.about()}"

    @override
    def certified(self, radius: float) -> float:
        low, high = self.result.interval(self.level, radius)
        return self._share(-high if self.upwards else low)

    @override
    def reach(self) -> float:
        """Where half of what is certified at the clean image is left; the budget if there is one."""
        if math.isfinite(self.result.budget):
            return self.result.budget if self.certified(self.result.budget) > 0 else 0.0
        return super().reach()

    @override
    def objective(self, device: torch.device) -> SmoothedObjective:
        return PercentileOfNumber(self._number, self.result.probability, 1 if self.upwards else -1)

    @override
    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        values, p = self._signed(results[self.certificate]).sort().values, self.result.probability
        rank = _rank(len(values), p)
        return number(self._share(float(values[len(values) - rank if self.upwards else rank - 1])))

    @override
    def judge(self, evaluation: Evaluation, error: float) -> Verdict:
        values, p = self._signed(evaluation.results[self.certificate]).sort().values, self.result.probability
        count = len(values)
        rank = (
            count + 1 - quantile_lower_rank(count, p, error) if self.upwards else quantile_upper_rank(count, p, error)
        )
        upper = 1.0 if rank > count else self._share(float(values[rank - 1]))
        return Verdict(self.measure(evaluation.results, {}), number(upper))


def _rank(count: int, probability: float) -> int:
    """Rank of the percentile among ``count`` values, from 1: the first at which their distribution reaches p."""
    return min(count, max(1, math.ceil(count * probability - 1e-12)))


@quantities_of.register
def _(result: PercentileResult, certificate: str) -> Iterator[Quantity]:
    return PercentileQuantity.of(result, certificate)
