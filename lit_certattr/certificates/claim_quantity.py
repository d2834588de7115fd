r"""Attacks on claims: the number itself is what is attacked, downwards for lower bounds and upwards for upper ones.

*Error.* The lower or upper confidence bound of one mean at level ``error``, by the bound of the claim. ∎
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks import SmoothedObjective
from lit_certattr.certificates.claim_result import ClaimResult, mean_lower
from lit_certattr.certificates.claims_quantity import ClaimsQuantity
from lit_certattr.certificates.quantity import Evaluation, Quantity, Verdict, number, quantities_of
from lit_certattr.certificates.result import Result
from lit_certattr.numbers import Number


class MeanNumber(SmoothedObjective):
    """Pushes the mean of a number of the noisy maps.

    Args:
        number: The number.
        sign: -1 pushes it down, 1 up.

    Example:
        >>> from lit_certattr.numbers import Gini
        >>> MeanNumber(Gini(), -1).value(torch.tensor([[[[0.0, 1.0]]], [[[1.0, 0.5]]]]))
        tensor([-0.3333])
    """

    def __init__(self, number: Number, sign: int) -> None:
        self.number, self.sign = number, sign

    @override
    def surrogate(self, maps: Tensor) -> Tensor:
        return self._mean(maps, self.number.soft(maps.flatten(0, 1)))

    @override
    def value(self, maps: Tensor) -> Tensor:
        """As in the base class; a map without a number is worth what helps the attacker."""
        return self._mean(maps, self.number(maps.flatten(0, 1)))

    @override
    def has_gradient(self, map_shape: Sequence[int]) -> bool:
        return self.number.has_gradient(map_shape)

    def _mean(self, maps: Tensor, values: Tensor) -> Tensor:
        worst = self.number.low if self.sign < 0 else self.number.high
        filled = torch.where(torch.isnan(values), 0.0 if worst is None else worst, values)
        return self.sign * filled.view(maps.shape[:2]).mean(0)


class ClaimQuantity(ClaimsQuantity[ClaimResult]):
    """The mean of a number, scaled to [0, 1]; or one minus it, which the upper bound bounds from below.

    Args:
        certificate: Name of the certificate.
        result: Its result.
        level: Index of the claim.
        number: The number that is attacked.
        upwards: Whether the upper bound is attacked.
    """

    kind = ClaimResult.kind
    names = ("number", "one minus number")

    @property
    @override
    def unit(self) -> str:
        return "one minus the mean" if self.upwards else "the mean"

    @override
    def certified(self, radius: float) -> float:
        result, level = self.result, self.level
        low, high = result.interval(level, radius)
        start, width = result.smallest[level], result.largest[level] - result.smallest[level]
        return (result.largest[level] - high) / width if self.upwards else (low - start) / width

    @override
    def objective(self, device: torch.device) -> SmoothedObjective:
        return MeanNumber(self._number, 1 if self.upwards else -1)

    def _values(self, result: Result) -> Tensor:
        """What is averaged, a map without a number counting for the attacker, float64 ``[n]``."""
        assert isinstance(result, ClaimResult)
        return 1 - result.above[self.level] if self.upwards else result.below[self.level]

    @override
    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        return number(float(self._values(results[self.certificate]).mean()))

    @override
    def judge(self, evaluation: Evaluation, error: float) -> Verdict:
        values = self._values(evaluation.results[self.certificate])
        upper = 1 - mean_lower(1 - values, error, self.result.bound[self.level])
        return Verdict(self.measure(evaluation.results, {}), number(upper))


@quantities_of.register
def _(result: ClaimResult, certificate: str) -> Iterator[Quantity]:
    return ClaimQuantity.of(result, certificate)
