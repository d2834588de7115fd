r"""Attacks on certified cosines.

*Error.* :math:`\langle h, h' \rangle \le U`, :math:`\|h\| \ge L`, :math:`\|h'\| \ge L'`, at ``error / 3`` each, give
:math:`\cos \le U / L L'`; by the union bound a verdict is wrong with probability at most ``error``. ∎
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks import SmoothedCosine, SmoothedObjective
from lit_certattr.certificates.cosine_result import CosineResult, inner_product_upper_bound, norm_lower_bound
from lit_certattr.certificates.quantity import Evaluation, Quantity, Verdict, number, quantities_of
from lit_certattr.certificates.result import Result


class CosineQuantity(Quantity):
    """Cosine between the smoothed maps of a perturbed image and of the clean image.

    Args:
        certificate: Name of the certificate.
        result: Its result.
    """

    kind = CosineResult.kind
    name = "cosine"
    names = ("cosine",)
    place = 3

    def __init__(self, certificate: str, result: CosineResult) -> None:
        super().__init__(certificate)
        self.result = result

    @property
    @override
    def title(self) -> str:
        return "Cosine of the maps"

    @override
    def certified(self, radius: float) -> float:
        return self.result.at(radius)

    @override
    def reach(self) -> float:
        return self.result.max_radius(0.5)

    @override
    def objective(self, device: torch.device) -> SmoothedObjective:
        return SmoothedCosine(self.result.mean[None].to(device))

    @override
    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        there, here = results[self.certificate], clean[self.certificate]
        assert isinstance(there, CosineResult)
        assert isinstance(here, CosineResult)
        lengths = _squared_norm(there) * _squared_norm(here)
        cosine = float((there.mean * here.mean).sum()) / lengths**0.5 if lengths > 0 else 1.0
        return number(min(max(cosine, -1.0), 1.0))

    @override
    def judge(self, evaluation: Evaluation, error: float) -> Verdict:
        there, here = evaluation.results[self.certificate], evaluation.clean[self.certificate]
        assert isinstance(there, CosineResult)
        assert isinstance(here, CosineResult)
        signless = self.result.nonnegative
        product = inner_product_upper_bound(evaluation.products[self.certificate].numpy(), error / 3, signless)
        norms = [norm_lower_bound(one.projections.numpy(), error / 3, signless) for one in (there, here)]
        # Norms are at most 1, so a negative product is itself the bound: their lower bounds would be of no use.
        upper = product if product <= 0 else product / (norms[0] * norms[1]) if min(norms) > 0 else 1.0
        return Verdict(self.measure(evaluation.results, evaluation.clean), number(min(upper, 1.0)))


def _squared_norm(result: CosineResult) -> float:
    """Unbiased estimate of the squared norm of the smoothed map: the mean of all products of two different maps."""
    samples = result.num_samples
    return (samples * float(result.mean.square().sum()) - (1 - result.num_zero / samples)) / max(1, samples - 1)


@quantities_of.register
def _(result: CosineResult, certificate: str) -> Iterator[Quantity]:
    yield CosineQuantity(certificate, result)
