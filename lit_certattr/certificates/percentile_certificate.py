"""Certified percentiles of any real number of the map, such as where its centre of mass lies."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.claim import Claim, check_claims, shares_of
from lit_certattr.certificates.claims_accumulator import ClaimsAccumulator
from lit_certattr.certificates.claims_certificate import ClaimsCertificate, fewest
from lit_certattr.certificates.percentile_result import PercentileResult
from lit_certattr.errors import InputError
from lit_certattr.numbers import CentreOfMass
from lit_certattr.settings import real_number
from lit_certattr.smoothing import GAUSSIAN_LAWS, MapBlock, Noise
from lit_certattr.statistics import hoeffding_margin


class PercentileCertificate(ClaimsCertificate):
    r"""Certified claims about a percentile, over the noise, of any real number of the map.

    What it says: with probability at least :math:`1 - \alpha`, for all claims at once, the p-percentile of each number
    over the noise lies in the interval that is given, under every perturbation with an l2 norm up to r; for all r at
    once, or for one budget.

    With :math:`q_p(x)` the percentile, :math:`q_{lo}(x) \le q_p(x + \delta) \le q_{hi}(x)` for
    :math:`lo, hi = \Phi(\Phi^{-1}(p) \mp \|\delta\|/\sigma)` (Chiang et al., 2020). For one budget both are bounded by
    order statistics of the samples, for all radii at once by two one-sided bands around the distribution of the samples
    (Massart, 1990), at half of the claim's alpha each. No range of the number is needed. A noisy map that has no number
    counts as minus infinity from below and as infinity from above.

    Args:
        claims: The claims; ``None`` for row and column of the centre of mass, which make a box.
        alpha: Probability of any false statement about one image.
        probability: Order p of the percentile, in (0, 1); .5 for the median.
        budget: The one l2 radius that the intervals are about, which makes them shorter; ``None`` for all radii.
        sync_on_compute: Use the samples of all processes.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> accumulator = PercentileCertificate(alpha=0.05).start(GaussianNoise(sigma=0.5), (1, 3))
        >>> accumulator.update(torch.tensor([[[0.0, 1.0, 3.0]]]).expand(200, 1, 3))
        >>> accumulator.compute().interval(1, radius=0.2)
        Interval(low=1.75, high=1.75)
    """

    name = "percentiles"
    result = PercentileResult
    laws = GAUSSIAN_LAWS
    anytime = True

    def __init__(
        self,
        claims: Sequence[Claim] | None = None,
        alpha: float = 0.001,
        probability: float = 0.5,
        budget: float | None = None,
        sync_on_compute: bool = False,
    ) -> None:
        super().__init__(alpha, sync_on_compute)
        centre = [
            Claim("row of the centre", CentreOfMass("row")),
            Claim("column of the centre", CentreOfMass("column")),
        ]
        if not 0 < real_number("probability", probability) < 1:
            raise InputError(f"probability must lie strictly between 0 and 1, got {probability}")
        if budget is not None and not 0 < real_number("budget", budget) < math.inf:
            raise InputError(f"budget must be a positive number, got {budget}")
        self.claims, self.probability, self.budget = claims, probability, budget
        self._claims = check_claims(centre if claims is None else claims)

    @override
    def start(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None, share: float = 1.0
    ) -> "PercentileAccumulator":
        return PercentileAccumulator(self, noise, map_shape, dimension, share)

    def smallest_num_samples(self, num_pixels: int, share: float = 1.0) -> int:
        """Fewest samples with which one of the claims has an interval with two ends at the image itself.

        Args:
            num_pixels: Pixels of a map; the number does not depend on it.
            share: Share of alpha that the result may err with.
        """
        level, p = self.alpha * share * max(shares_of(self._claims)) / 2, self.probability

        def enough(count: int) -> bool:
            if self.budget is None:
                return hoeffding_margin(count, level) < min(p, 1 - p) - 1 / count
            return max(p, 1 - p) ** count <= level  # then ranks 1 and n are bounds

        return fewest(enough)

    @override
    def fixed(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None, num_samples: int, share: float
    ) -> dict[str, Any]:
        own = {
            "probability": float(self.probability),
            "budget": math.inf if self.budget is None else float(self.budget),
        }
        return super().fixed(noise, map_shape, dimension, num_samples, share) | own


class PercentileAccumulator(ClaimsAccumulator[PercentileResult]):
    """The numbers of the samples as they are."""

    certificate: PercentileCertificate

    @override
    def numbers(self, index: int, block: MapBlock) -> tuple[Tensor, Tensor]:
        claim = self.claims[index]
        values = claim.number.of_block(block).detach().double()
        missing = torch.isnan(values)
        below, above = torch.where(missing, -torch.inf, values), torch.where(missing, torch.inf, values)
        return self.checked(index, below, torch.isinf(values)), above

    @override
    def refusal(self, index: int) -> InputError:
        name = self.claims[index].name
        return InputError(f"claim {name!r}: a number is infinite; give NaN where a map has no such number")

    @override
    def conclude(self, share: float) -> PercentileResult:
        return PercentileResult(**self.gathered(share)).rederive()
