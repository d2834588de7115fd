r"""Attacks on claims: the number itself is what is attacked, downwards for lower bounds and upwards for upper ones.

*Error.* The lower or upper confidence bound of one mean at level ``error``, by the bound of the claim. ∎
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks import SmoothedObjective
from lit_certattr.certificates.claim import Claim
from lit_certattr.certificates.claim_result import ClaimResult, mean_lower
from lit_certattr.certificates.claims_result import ClaimsResult
from lit_certattr.certificates.quantity import Evaluation, Quantity, Verdict, number, quantities_of
from lit_certattr.certificates.result import Result
from lit_certattr.numbers import Number
from lit_certattr.settings.revived import UnknownClass, revived


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


class ClaimQuantity(Quantity):
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
    place = 4

    def __init__(self, certificate: str, result: ClaimResult, level: int, number: Number, upwards: bool) -> None:
        super().__init__(certificate)
        self.result, self.level, self._number, self.upwards = result, level, number, upwards

    @property
    def name(self) -> str:  # type: ignore[override]
        """Which of the two."""
        return self.names[self.upwards]

    @property
    def claim(self) -> str:  # type: ignore[override]
        """Name of the claim."""
        return self.result.names[self.level]

    @property
    @override
    def attack(self) -> str:
        return f"{self.certificate}, {self.result.names[self.level]}, {'up' if self.upwards else 'down'}"

    @property
    @override
    def title(self) -> str:
        return f"{self.result.names[self.level]}, {'from above' if self.upwards else 'from below'}"

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
    def reach(self) -> float:
        """Where half of what is certified at the clean image is left."""
        half, low, high = self.certified(0.0) / 2, 0.0, 20 * self.result.sigma
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.certified(middle) > half > 0 else (low, middle)
        return low

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


def claims_of(result: ClaimsResult) -> Iterator[tuple[int, Claim]]:
    """The claims of a result that its record describes, each with its index; not those of unknown classes.

    Their masks are those of the result, wherever the mask files of the user are now.

    Args:
        result: A result with its record.
    """
    for level, plain in enumerate(result.sampling.get("claims", ())):
        try:
            claim = Claim(**revived(plain))
        except UnknownClass:  # a number that nobody has imported here
            continue
        yield level, claim.with_masks(result.masks_of(level))


@quantities_of.register
def _(result: ClaimResult, certificate: str) -> Iterator[Quantity]:
    for level, claim in claims_of(result):
        for upwards in (False, True):
            yield ClaimQuantity(certificate, result, level, claim.number, upwards)
