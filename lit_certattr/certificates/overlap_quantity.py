r"""Attacks on certified overlaps of the top K of counted maps.

*Error.* Pixels of the set get an upper bound and the others a lower one, at ``error / N`` each of the N pixels; if all
hold, at most as many pixels of the set remain as with every pixel at its bound. By the union bound a verdict is wrong
with probability at most ``error``. ∎
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks import SmoothedObjective, TopKOverlap
from lit_certattr.certificates.drawing import name_of
from lit_certattr.certificates.quantity import Evaluation, Quantity, Verdict, number, quantities_of
from lit_certattr.certificates.result import Result
from lit_certattr.certificates.topk_overlap_result import TopKOverlapResult
from lit_certattr.smoothing import top_k_mask
from lit_certattr.statistics import clopper_pearson_lower, clopper_pearson_upper


class OverlapQuantity(Quantity):
    """Number of pixels of the released top-K set that stay in the top K of the smoothed map.

    Args:
        certificate: Name of the certificate.
        result: Its result.
    """

    name = "overlap"
    names = ("overlap",)
    place = 2

    def __init__(self, certificate: str, result: TopKOverlapResult) -> None:
        super().__init__(certificate)
        self.result, self.top_k, self.scale, self.kind = result, float(result.top_k), result.size, result.kind

    @property
    @override
    def title(self) -> str:
        return f"Overlap of the top {name_of(self.result.top_k)}"

    @property
    @override
    def unit(self) -> str:
        return "share of K that stays"

    @override
    def certified(self, radius: float) -> float:
        return self.result.overlap(radius)

    @override
    def reach(self) -> float:
        radii: list[float] = self.result.displacement.tolist()
        return max([0.0, *filter(math.isfinite, radii)])

    @override
    def objective(self, device: torch.device) -> SmoothedObjective:
        kind, saturation = self.result.map_kind, max(1, self.result.saturation)
        return TopKOverlap(self.result.inside[None].to(device), self.result.kept, kind, saturation)  # type: ignore[arg-type]

    @override
    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        fresh = results[self.certificate]
        assert isinstance(fresh, TopKOverlapResult)
        votes = fresh.votes + fresh.selection
        return number(int((top_k_mask(votes, self.result.size) & self.result.inside).sum()))

    @override
    def judge(self, evaluation: Evaluation, error: float) -> Verdict:
        fresh = evaluation.results[self.certificate]
        assert isinstance(fresh, TopKOverlapResult)
        votes, samples, inside = fresh.votes + fresh.selection, fresh.num_samples, self.result.inside
        counts, level = np.arange(samples + 1), error / inside.numel()
        upper = clopper_pearson_upper(counts, samples, level)[votes[inside].numpy()]
        lower = clopper_pearson_lower(counts, samples, level)[votes[~inside].numpy()]
        # The m-th lowest of the set lies below the m-th highest outsider: m pixels at least are displaced.
        pairs = min(upper.size, lower.size)
        displaced = int((np.sort(lower)[::-1][:pairs] > np.sort(upper)[:pairs]).sum())
        kept = self.measure(evaluation.results, evaluation.clean)
        return Verdict(kept, number(self.result.size - displaced))


@quantities_of.register
def _(result: TopKOverlapResult, certificate: str) -> Iterator[Quantity]:
    yield OverlapQuantity(certificate, result)
