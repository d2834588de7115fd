r"""Which claims of a certificate do fresh samples at a perturbed image contradict?

A claim has a radius below which it must hold. At a point at distance ``budget`` the claims of larger radius must hold,
the others may break. Fresh samples at the point give confidence bounds; a claim is *broken* where these exclude it, so
a true claim is called broken with probability at most the level of the test, and an abstention is none.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from lit_certattr.certificates import ClaimsResult, CosineResult, PixelResult, Result, TopKOverlapResult, quantities_of
from lit_certattr.certificates.capabilities import Claims
from lit_certattr.certificates.cosine_quantity import CosineQuantity
from lit_certattr.certificates.overlap_quantity import OverlapQuantity
from lit_certattr.certificates.quantity import Evaluation
from lit_certattr.statistics import shift

NEAR = 0.9
"""A claim is attacked *near* its radius if the budget is at least this share of it."""


class Verdict(NamedTuple):
    """What became of the claims of one certificate at one point, or of many.

    Attributes:
        inside: Claims whose radius is larger than the budget: they must hold.
        near: Those among them whose radius is nearly used up.
        violated: Claims inside that are broken.
        weaker: Means inside that fell below what the theorem leaves of them at this distance.
        beyond: Claims whose radius is at most the budget: nothing is promised.
        broken: Claims beyond that are broken.
    """

    inside: int = 0
    near: int = 0
    violated: int = 0
    weaker: int = 0
    beyond: int = 0
    broken: int = 0

    def __add__(self, other: Self) -> "Verdict":  # type: ignore[override]
        return Verdict(*(one + two for one, two in zip(self, other, strict=True)))


def judge(name: str, stored: Result, evaluation: Evaluation, budget: float, level: float) -> Verdict:
    """The verdict on one certificate at one point.

    Args:
        name: Its name.
        stored: The certificate.
        evaluation: Fresh samples at the point and at the image; of their results only the counts are used.
        budget: l2 length of the perturbation, or more.
        level: Probability that one true claim is called broken.
    """
    fresh = evaluation.results[name]
    match stored, fresh:
        case PixelResult(), PixelResult():
            verdict = judge_pixels(stored, fresh, budget, level)
        case TopKOverlapResult(), TopKOverlapResult():
            verdict = judge_overlap(stored, fresh, budget, level)
        case CosineResult(), CosineResult():
            upper = CosineQuantity(name, stored).judge(evaluation, level).upper
            return judge_cosine(stored, float(upper), budget)
        case ClaimsResult(), ClaimsResult():
            verdict = judge_ends(name, stored, evaluation, budget, level)
        case _:
            raise TypeError(f"{type(stored).__name__} against {type(fresh).__name__}")
    return verdict._replace(weaker=weaker_means(stored, fresh, budget, level))


def judge_pixels(stored: PixelResult, fresh: PixelResult, budget: float, level: float) -> Verdict:
    """A label is broken where fresh samples show that fewer than half of all votes are for it."""
    upper = stored.upper_bounds(fresh, level)
    own = torch.where(stored.labels == 1, upper["vote for important"], upper["vote for unimportant"])
    return count_claims(stored.radius[stored.labels >= 0], (own < 0.5)[stored.labels >= 0], budget)


def judge_overlap(stored: TopKOverlapResult, fresh: TopKOverlapResult, budget: float, level: float) -> Verdict:
    """The m-th claim, that fewer than m pixels of S are displaced, is broken where m or more are for certain."""
    kept = int(OverlapQuantity("overlap", stored).judge(Evaluation({"overlap": fresh}, {}, {}), level).upper)
    broken = torch.arange(stored.size) < stored.size - kept
    real = (stored.displacement > 0) & torch.isfinite(stored.displacement)
    return count_claims(stored.displacement[real], broken[real], budget)


def judge_cosine(stored: CosineResult, upper: float, budget: float) -> Verdict:
    """The cosine at a radius is broken where its upper confidence bound is below it.

    Claims beyond are those of a quarter and of a half of the budget.
    """
    shorter = [stored.at(budget / 4), stored.at(budget / 2)]
    violated = int(upper < stored.at(budget))
    return Verdict(inside=1, near=1, violated=violated, beyond=2, broken=sum(upper < claim for claim in shorter))


def judge_ends(name: str, stored: ClaimsResult, evaluation: Evaluation, budget: float, level: float) -> Verdict:
    """An end of an interval at a radius is broken where fresh samples show that the number lies beyond it.

    Claims beyond are the ends at a quarter and at half of the budget.
    """
    verdict = Verdict()
    for quantity in quantities_of(stored, name):
        upper = float(quantity.judge(evaluation, level).upper)
        broken = sum(quantity.certified(part * budget) > upper for part in (0.25, 0.5))
        says = int(quantity.certified(budget) > 0)
        verdict += Verdict(says, says, int(quantity.certified(budget) > upper), beyond=2, broken=broken)
    return verdict


def weaker_means(stored: Result, fresh: Result, budget: float, level: float) -> int:
    """Means that all claims rest on, and that fresh samples show below Neyman and Pearson's bound at this distance."""
    assert isinstance(stored, Claims)
    upper, fallen = stored.upper_bounds(fresh, level), 0
    for name, lower in stored.claims().items():
        least = torch.from_numpy(shift(lower.numpy(), -budget / stored.sigma))
        fallen += int((upper[name] < least).sum())
    return fallen


def count_claims(radius: Tensor, broken: Tensor, budget: float | Tensor) -> Verdict:
    """Counts of claims by their radii ``[M]`` and whether they are broken, at one budget or one for each."""
    inside = radius.double() > budget
    return Verdict(
        inside=int(inside.sum()),
        near=int((inside & (budget >= NEAR * radius.double())).sum()),
        violated=int((inside & broken).sum()),
        beyond=int((~inside).sum()),
        broken=int((~inside & broken).sum()),
    )
