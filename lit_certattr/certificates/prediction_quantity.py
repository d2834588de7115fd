r"""Attacks on the prediction: the share of the noisy copies predicted as the class is pushed down, and up.

*Error.* An upper Clopper-Pearson bound of one share at level ``error``. ∎
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks import NoisyVotes, SmoothedObjective
from lit_certattr.certificates.prediction_result import PredictionResult
from lit_certattr.certificates.quantity import Evaluation, Quantity, Verdict, number, quantities_of
from lit_certattr.certificates.result import Result
from lit_certattr.statistics import clopper_pearson_upper


class PredictionQuantity(Quantity):
    """The share of the noisy copies that are predicted as the class, or as another one.

    Args:
        certificate: Name of the certificate.
        result: Its result.
        other: Whether the share of the others is attacked, which the upper bound bounds from below.
    """

    kind = PredictionResult.kind
    names = ("predicted as the class", "predicted as another class")
    place = 5

    def __init__(self, certificate: str, result: PredictionResult, other: bool) -> None:
        super().__init__(certificate)
        self.result, self.other, self.level = result, other, int(other)

    @property
    def name(self) -> str:  # type: ignore[override]
        """Which of the two."""
        return self.names[self.other]

    @property
    @override
    def attack(self) -> str:
        return f"{self.certificate}, {'up' if self.other else 'down'}"

    @property
    @override
    def unit(self) -> str:
        return "share of the noisy copies"

    @override
    def certified(self, radius: float) -> float:
        low, high = self.result.interval(radius)
        return 1 - high if self.other else low

    @override
    def reach(self) -> float:
        """Where half of what is certified at the clean image is left."""
        here = self.certified(0.0)
        return self.result.change_budget.votes.reach(here, here / 2) if 0 < here < 1 else 0.0

    @override
    def objective(self, device: torch.device) -> SmoothedObjective:
        return NoisyVotes(int(self.result.sampling["target"]), self.other)

    @override
    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        result = self._of(results)
        return number(int(result.votes[int(self.other)]) / result.num_samples)

    @override
    def judge(self, evaluation: Evaluation, error: float) -> Verdict:
        result = self._of(evaluation.results)
        upper = clopper_pearson_upper(int(result.votes[int(self.other)]), result.num_samples, error)
        return Verdict(self.measure(evaluation.results, {}), number(float(upper)))

    def _of(self, results: Mapping[str, Result]) -> PredictionResult:
        result = results[self.certificate]
        assert isinstance(result, PredictionResult)
        return result


@quantities_of.register
def _(result: PredictionResult, certificate: str) -> Iterator[Quantity]:
    if "target" in result.sampling:
        yield from (PredictionQuantity(certificate, result, other) for other in (False, True))
