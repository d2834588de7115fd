r"""Which claims of a certificate do fresh samples at a perturbed image contradict?

A claim has a radius below which it must hold. At a point at distance ``budget`` the claims of larger radius must hold,
the others may break. Fresh samples at the point give confidence bounds; a claim is *broken* where these exclude it, so
a true claim is called broken with probability at most the level of the test, and an abstention is none.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from lit_certattr.certificates import CosineResult, PixelResult, Result, TopKOverlapResult
from lit_certattr.certificates.cosine import inner_product_upper_bound, norm_lower_bound
from lit_certattr.certificates.result import upper_bounds_of_counts
from lit_certattr.smoothing import top_k_mask
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


class Point(NamedTuple):
    """Fresh samples at a perturbed image.

    Attributes:
        budget: l2 distance from the image, at least that of the point.
        results: The certificates computed from the fresh samples, by name; only their counts are used.
        products: ``[n]``: products of fresh normalised maps at the image and at the point.
    """

    budget: float
    results: dict[str, Result]
    products: Tensor


def judge(stored: Result, fresh: Result, point: Point, norm: float, level: float) -> Verdict:
    """The verdict on one certificate.

    Args:
        stored: The certificate.
        fresh: The same kind of result from fresh samples at the point.
        point: The point.
        norm: Lower confidence bound, at ``level / 3``, of the norm of the smoothed map at the image.
        level: Probability that one true claim is called broken.
    """
    match stored, fresh:
        case PixelResult(), PixelResult():
            verdict = judge_pixels(stored, fresh, point.budget, level)
        case TopKOverlapResult(), TopKOverlapResult():
            verdict = judge_overlap(stored, fresh, point.budget, level)
        case CosineResult(), CosineResult():
            lower = norm_lower_bound(fresh.projections, level / 3, stored.nonnegative)
            upper = inner_product_upper_bound(point.products, level / 3, stored.nonnegative)
            return judge_cosine(stored, upper, norm * lower, point.budget)
        case _:
            raise TypeError(f"{type(stored).__name__} against {type(fresh).__name__}")
    return verdict._replace(weaker=weaker_means(stored, fresh, point.budget, level))


def judge_pixels(stored: PixelResult, fresh: PixelResult, budget: float, level: float) -> Verdict:
    """A label is broken where fresh samples show that fewer than half of all votes are for it."""
    upper = stored.upper_bounds(fresh, level)
    own = torch.where(stored.labels == 1, upper["vote for important"], upper["vote for unimportant"])
    return count_claims(stored.radius[stored.labels >= 0], (own < 0.5)[stored.labels >= 0], budget)


def judge_overlap(stored: TopKOverlapResult, fresh: TopKOverlapResult, budget: float, level: float) -> Verdict:
    """The m-th claim, that fewer than m pixels of S are displaced, is broken where m or more are for certain.

    The means of all pixels have bounds that hold at once; S is best off with its upper ones and the lower ones outside.
    """
    votes, n = fresh.votes + fresh.selection, fresh.num_samples
    each = level / votes.numel()
    upper, lower = upper_bounds_of_counts(votes, n, each), 1 - upper_bounds_of_counts(n - votes, n, each)
    below = torch.nextafter(lower, torch.full_like(lower, -1))  # ties go to S
    best = torch.where(stored.inside, upper, below)
    kept = int((top_k_mask(best, stored.size) & stored.inside).sum())
    broken = torch.arange(stored.size) < stored.size - kept
    real = (stored.displacement > 0) & torch.isfinite(stored.displacement)
    return count_claims(stored.displacement[real], broken[real], budget)


def judge_cosine(stored: CosineResult, product: float, norms: float, budget: float) -> Verdict:
    """The cosine at a radius is broken where its upper confidence bound is below it.

    Claims beyond are those of a quarter and of a half of the budget.

    Args:
        stored: The certificate.
        product: Upper bound of the product of the two smoothed maps.
        norms: Lower bound of the product of their norms.
        budget: l2 distance.
    """
    cosine = product if product <= 0 else min(1.0, product / norms) if norms > 0 else 1.0
    shorter = [stored.at(budget / 4), stored.at(budget / 2)]
    violated = int(cosine < stored.at(budget))
    return Verdict(inside=1, near=1, violated=violated, beyond=2, broken=sum(cosine < claim for claim in shorter))


def weaker_means(stored: Result, fresh: Result, budget: float, level: float) -> int:
    """Means that all claims rest on, and that fresh samples show below Neyman and Pearson's bound at this distance."""
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
