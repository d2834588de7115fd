"""A certificate: does the upper half of the image hold more of the explanation than the lower half?"""

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import torch
from scipy.special import ndtri

from lit_certattr.certificates import Accumulator, Certificate, Presentation, Result, present
from lit_certattr.certificates.measures import NumberMeasure
from lit_certattr.smoothing import GaussianNoise, MapBlock, Noise
from lit_certattr.statistics import clopper_pearson_lower, smallest_sample_size
from lit_certattr.statistics.rounding import at_least


@attrs.frozen(eq=False)
class HalfResult(Result):
    r"""How many noisy maps have more in their upper half, and the radius that follows.

    Theorem (Cohen et al., 2019). If the probability that the upper half of the map of a noisy image holds more is at
    least :math:`L > 1/2`, it stays above 1/2 under every perturbation with an l2 norm below
    :math:`\sigma \Phi^{-1}(L)`. L is the Clopper-Pearson bound of the votes, wrong with probability alpha.
    """

    kind = "half"
    statistics: ClassVar[tuple[str, ...]] = ("votes",)

    votes: int
    radius: float

    @classmethod
    def from_votes(cls, votes: int, record: dict[str, Any]) -> "HalfResult":
        """What follows from the votes; an audit calls it again."""
        level = record["alpha"] * record["alpha_share"] - record["alpha_slack"]
        lower = float(clopper_pearson_lower(votes, record["num_samples"], level))
        radius = cls.reach(record["sigma"], lower) if lower > 0.5 else 0.0
        return cls(votes=votes, radius=max(0.0, radius * (1 - 1e-9)), **record)  # below the proven radius

    @staticmethod
    def reach(sigma: float, lower: float) -> float:
        """Radius of a probability above 1/2."""
        return sigma * float(ndtri(lower))

    def statement(self, radius: float | None = None) -> str:
        """What is certified, in words."""
        if not self.radius:
            return "Nothing is certified: the samples do not show that the upper half of most noisy maps holds more."
        return (
            f"{self._surely()}: for every perturbation with {self.radius_norm} norm below {at_least(self.radius)}, the "
            "upper half of most noisy maps holds more than the lower half."
        )

    def certified_count(self, radius: float = 0.0) -> tuple[int, int]:
        """1 of 1 if it is certified at a radius: sampling may stop early."""
        return int(self.radius > radius), 1

    def rederive(self) -> "HalfResult":
        """The same from the votes: what an audit compares with."""
        record = {field.name: getattr(self, field.name) for field in attrs.fields(Result)}
        return self.from_votes(self.votes, record)


class HalfAccumulator(Accumulator[HalfResult]):
    """Counts maps whose upper half holds more; one sum, so processes can add theirs."""

    def allocate(self) -> None:
        """One number for all maps."""
        self.add_state("votes", torch.tensor(0), dist_reduce_fx="sum")

    def count(self, block: MapBlock) -> None:
        """Add a block of maps ``[b, H, W]``; an invalid sample is a constant map and votes for nothing."""
        middle = block.maps.shape[1] // 2
        upper, lower = block.maps[:, :middle].sum((1, 2)), block.maps[:, -middle:].sum((1, 2))
        self.votes += (upper > lower).sum()

    def conclude(self, share: float) -> HalfResult:
        """The result at a share of alpha; the count stays as it is."""
        assert isinstance(self.certificate, HalfCertificate)
        return self.certificate.result.from_votes(int(self.votes), self.record(share))


class HalfCertificate(Certificate):
    """Certifies that the upper half of the map holds more than the lower half.

    Args:
        alpha: Probability that the statement about an image is false.
    """

    name = "half"
    result: ClassVar[type[HalfResult]] = HalfResult
    laws: ClassVar[tuple[type[Noise], ...]] = (GaussianNoise,)
    anytime = True

    def __init__(self, alpha: float = 0.001) -> None:
        super().__init__(alpha)

    def start(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None, share: float = 1.0
    ) -> HalfAccumulator:
        """What counts the maps of one image."""
        return HalfAccumulator(self, noise, map_shape, dimension, share)

    def smallest_num_samples(self, num_pixels: int, share: float = 1.0) -> int:
        """One test, however many pixels there are."""
        return smallest_sample_size(0.5, self.alpha * share)

    def measures(self) -> list[NumberMeasure]:
        """The metric of a data set: the share of images for which it is certified."""
        return [NumberMeasure("upper_half_holds_more", lambda result, radius: float(result.radius > radius))]


class HalfPresentation(Presentation):
    """Its columns in ``results.parquet``; without this class it would be shown by its statement alone."""

    def columns(self, radii: Sequence[float]) -> dict[str, type]:
        """Names and types."""
        return {"half_votes": int, "half_radius_certified": float}

    def rows(self, radii: Sequence[float]) -> list[dict[str, Any]]:
        """One row for each image."""
        return [{"half_votes": self.result.votes, "half_radius_certified": self.result.radius}]


present.register(HalfResult, HalfPresentation)
