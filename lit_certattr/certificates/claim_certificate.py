"""Certified means of numbers of the map: one number in place of all pixels, so few samples say something."""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.claim import Claim, check_claims, shares_of
from lit_certattr.certificates.claim_result import ClaimResult, mean_lower
from lit_certattr.certificates.claims_accumulator import ClaimsAccumulator
from lit_certattr.certificates.claims_certificate import ClaimsCertificate, fewest
from lit_certattr.devices import onto
from lit_certattr.errors import InputError
from lit_certattr.numbers import Gini
from lit_certattr.settings import real_number
from lit_certattr.smoothing import VOTE_LAWS, MapBlock, Noise
from lit_certattr.smoothing.levels import GENERATOR

_MOST_TRIED = 10_000  # samples; one try costs as many steps

Bound = Literal["betting", "clopper_pearson"]
"""How the mean of a number that is not 0/1 is bounded."""


class ClaimCertificate(ClaimsCertificate):
    r"""Certified claims about the mean, over the noise, of numbers of the map.

    What it says: with probability at least :math:`1 - \alpha`, for all claims and all radii r at once, under every
    perturbation with an l2 norm up to r the mean of each number over the noise lies in the interval that is given.

    For a number g of the map, scaled to [0, 1], let :math:`h(x) = E\,g(x + \sigma Z)`. The samples give
    :math:`L \le h(x) \le U`, at half of the claim's alpha each, and
    :math:`\Phi(\Phi^{-1}(L) - r/\sigma) \le h(x + \delta) \le \Phi(\Phi^{-1}(U) + r/\sigma)` for all
    :math:`\|\delta\|_2 \le r` (:func:`~lit_certattr.statistics.shift`). There is one bound for each claim and not one
    for each pixel, so a few dozen samples already show something.

    Numbers that are 0 or 1 get the exact binomial bound. For others the betting bound is tighter unless nearly all
    values are 0 or 1 (docs/claims.md has the figures). A noisy map that has no number, since it is constant or not
    finite, counts as the smallest value for the lower bound and as the largest for the upper one.

    Args:
        claims: The claims; ``None`` for one of the Gini index. Alpha is shared by their weights.
        alpha: Probability of any false statement about one image, over all claims, both sides and all radii.
        bound: For numbers that are not 0/1. ``"betting"``, or ``"clopper_pearson"``: each number becomes 0 or 1 by a
            random level of its sample, which keeps its mean, and the exact binomial bound holds.
        sync_on_compute: Use the samples of all processes.
        holm_radius: An l2 radius, fixed beforehand, at which as many claims as possible are to hold: claims with bounds
            are then tested there by Holm's weighted step-down test, and one that holds hands its share of alpha to the
            others (:func:`~lit_certattr.statistics.step_down_bounds`). All statements stay valid at all radii, but
            a claim that holds there is not shown beyond, unless all claims hold there. ``None``: no such test.

    Raises:
        InputError: If a claim is about a number without a range, its bounds are outside the range, or a setting is out
            of range.

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> from lit_certattr.numbers import Box, EnergyInside
        >>> claim = Claim("left", EnergyInside(Box(0, 0, 1, 0.5)), at_least=0.6)
        >>> accumulator = ClaimCertificate([claim], alpha=0.05).start(GaussianNoise(sigma=0.5), (1, 2))
        >>> accumulator.update(torch.tensor([[[9.0, 1.0]]]).expand(100, 1, 2))
        >>> result = accumulator.compute()
        >>> result.verdict(0), round(result.radius(0), 2)
        ('holds', 0.42)
    """

    name = "claims"
    result = ClaimResult
    laws = VOTE_LAWS
    anytime = True

    def __init__(
        self,
        claims: Sequence[Claim] | None = None,
        alpha: float = 0.001,
        bound: Bound = "betting",
        sync_on_compute: bool = False,
        holm_radius: float | None = None,
    ) -> None:
        super().__init__(alpha, sync_on_compute)
        if holm_radius is not None and not 0 < real_number("holm_radius", holm_radius) < math.inf:
            raise InputError(f"holm_radius must be a positive number, got {holm_radius}")
        self.holm_radius = holm_radius
        if bound not in get_args(Bound):
            raise InputError(f"bound must be one of {', '.join(get_args(Bound))}, got {bound!r:.80}")
        self.claims, self.bound = claims, bound
        self._claims = check_claims([Claim("Gini index", Gini())] if claims is None else claims)
        for claim in self._claims:
            low, high = range_of(claim)
            given = [one for one in (claim.at_least, claim.at_most) if one is not None]
            if not all(low < one < high for one in given):
                raise InputError(
                    f"claim {claim.name!r}: at_least and at_most must lie strictly between {low:g} and {high:g}, the "
                    f"range of the number, got {', '.join(map(str, given))}"
                )

    @property
    def bounds(self) -> tuple[str, ...]:
        """How the mean of each claim is bounded."""
        return tuple("clopper_pearson" if claim.number.binary else self.bound for claim in self._claims)

    @override
    def start(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None, share: float = 1.0
    ) -> "ClaimAccumulator":
        return ClaimAccumulator(self, noise, map_shape, dimension, share)

    @override
    def conditions(self) -> dict[str, Any]:
        return super().conditions() | ({"dither": GENERATOR} if self.bound == "clopper_pearson" else {})

    def smallest_num_samples(self, num_pixels: int, share: float = 1.0) -> int:
        """Fewest samples with which one of the claims can hold, or a mean above one half can be shown.

        Of more than 10,000 it is the number for numbers of 0 and 1, which others never undercut.

        Args:
            num_pixels: Pixels of a map; the number does not depend on it.
            share: Share of alpha that the result may err with.
        """
        needed = []
        for claim, part, bound in zip(self._claims, shares_of(self._claims), self.bounds, strict=True):
            low, high = range_of(claim)
            sides = [(claim.low - low) / (high - low), 1 - (claim.high - low) / (high - low)]
            asked = max([0.0, *(one for one in sides if math.isfinite(one))]) or 0.5
            needed.append(_fewest_ones(asked, self.alpha * share * part / 2, bound))
        return min(needed)

    @override
    def fixed(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None, num_samples: int, share: float
    ) -> dict[str, Any]:
        ranges = [range_of(claim) for claim in self._claims]
        return super().fixed(noise, map_shape, dimension, num_samples, share) | {
            "bound": self.bounds,
            "holm_radius": math.inf if self.holm_radius is None else float(self.holm_radius),
            "smallest": tuple(low for low, _ in ranges),
            "largest": tuple(high for _, high in ranges),
        }


def range_of(claim: Claim) -> tuple[float, float]:
    """Smallest and largest value of the number of a claim.

    Args:
        claim: The claim.

    Raises:
        InputError: If it has no range.
    """
    low, high = claim.number.low, claim.number.high
    if low is None or high is None:
        raise InputError(
            f"claim {claim.name!r}: {claim.number!r} has no range, so its mean has no bound: use a number with one"
        )
    return float(low), float(high)


def _fewest_ones(asked: float, level: float, bound: str) -> int:
    """Fewest samples, all 1, whose lower bound is above ``asked``."""
    # All n are 1 with probability m^n, so no valid bound exceeds level^(1/n).
    least = math.log(level) / math.log(min(asked, 1 - 2**-53))
    if least > _MOST_TRIED:
        return math.ceil(least)

    def enough(count: int) -> bool:
        return mean_lower(torch.ones(count, dtype=torch.float64), level, bound) > asked

    return fewest(enough)


class ClaimAccumulator(ClaimsAccumulator[ClaimResult]):
    """The numbers of the samples, scaled to [0, 1]."""

    certificate: ClaimCertificate

    @override
    def numbers(self, index: int, block: MapBlock) -> tuple[Tensor, Tensor]:
        claim = self.claims[index]
        low, high = range_of(claim)
        values = (claim.number.of_block(block).detach().double() - low) / (high - low)
        missing, wrong = torch.isnan(values), (values < 0) | (values > 1)
        if self.certificate.bounds[index] == "clopper_pearson":
            if claim.number.binary:
                values = (values > 0.5).double()
            elif block.levels is None:
                raise InputError(
                    f"claim {claim.name!r}: bound='clopper_pearson' needs random levels for a number that is not 0/1: "
                    "pass MapBlock(maps, levels=uniform_levels(...)), or use bound='betting'"
                )
            else:
                values = (values > onto(block.levels, values, values.dtype)).double()
        return self.checked(index, torch.where(missing, 0.0, values), wrong), torch.where(missing, 1.0, values)

    @override
    def refusal(self, index: int) -> InputError:
        claim = self.claims[index]
        low, high = range_of(claim)
        return InputError(
            f"claim {claim.name!r}: a number is outside its range of {low:g} to {high:g}; declare the range that it has"
        )

    @override
    def conclude(self, share: float) -> ClaimResult:
        fields = self.gathered(share)
        count = len(self.claims)
        blank = ClaimResult(
            lower=torch.zeros(count, dtype=torch.float64), upper=torch.ones(count, dtype=torch.float64), **fields
        )
        result = blank.rederive()
        assert isinstance(result, ClaimResult)
        return result
