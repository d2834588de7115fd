"""Claims over a data set: for how many images one holds, and what that says of images that nobody has certified.

For a claim about :class:`~lit_certattr.numbers.PointingGame` the curve is the certified pointing game, for one about
:class:`~lit_certattr.numbers.EnergyInside` or another number of a mask it is the certified localisation curve.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torchmetrics.utilities.plot import plot_curve
from typing_extensions import override

from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import HasVerdicts, offering
from lit_certattr.errors import InputError
from lit_certattr.metrics.fixed_point_mean import ONE
from lit_certattr.metrics.functional.certified import check_radius
from lit_certattr.metrics.image_mean import ImageMean
from lit_certattr.settings import real_number, several
from lit_certattr.statistics import clopper_pearson_interval

Part = Literal["share", "low", "high"]
"""The share of the images, or an end of its confidence interval."""
VERDICTS = ("holds", "not shown", "refuted at the clean image")
"""What can become of a claim with bounds."""


def claims_result(result: Result, claim: int | str) -> tuple[HasVerdicts, int]:
    """A result with claims, and the index of one of them.

    Args:
        result: A result.
        claim: Index or name of a claim.

    Raises:
        InputError: If the result is of another kind, or has no such claim, or the claim has no bounds.
    """
    known: HasVerdicts = offering(result, HasVerdicts)
    index = known.names.index(claim) if claim in known.names else claim
    if not isinstance(index, int) or not 0 <= index < len(known.names):
        raise InputError(f"there is no claim {claim!r}; there are {', '.join(map(repr, known.names))}")
    if not known.has_bounds(index):
        raise InputError(f"claim {known.names[index]!r} has no bounds, so it cannot hold: give it at_least or at_most")
    return known, index


def check_confidence(confidence: float) -> float:
    """The setting, if it is a probability.

    Args:
        confidence: What the user gave.

    Raises:
        InputError: If it is not in (0, 1).
    """
    if not 0 < real_number("confidence", confidence) < 1:
        raise InputError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    return float(confidence)


class CertifiedClaim(ImageMean):
    """Share of the images whose claim is certified to hold at a radius, or an end of its confidence interval.

    The interval is about the *population* of the images: if they are a random sample of it, the share of the population
    whose claim this procedure certifies lies between the ends with probability ``confidence`` (Clopper & Pearson,
    1934, exact for every number of images). It says nothing for images that were selected. Certificates err as well:
    of the images counted here a share of at most about alpha is counted wrongly.

    Args:
        claim: Index or name of the claim; it must have bounds.
        radius: Budget in pixel l2 units.
        part: ``"share"``, or ``"low"`` or ``"high"`` for an end of the interval.
        confidence: Probability with which the interval is right, in (0, 1).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If a setting is out of range; when updated, if a result has no such claim.
    """

    plot_upper_bound = 1.0
    higher_is_better = True

    def __init__(
        self, claim: int | str, radius: float, part: Part = "share", confidence: float = 0.95, **kwargs: Any
    ) -> None:
        super().__init__(claim, radius, part, confidence, **kwargs)
        if part not in get_args(Part):
            raise InputError(f"part must be one of {', '.join(get_args(Part))}, got {part!r:.80}")
        self.claim, self.radius, self.part = claim, check_radius(radius), part
        self.confidence = check_confidence(confidence)

    @override
    def value(self, result: Result) -> Tensor:
        known, index = claims_result(result, self.claim)
        return torch.tensor(known.holds(index, self.radius), dtype=torch.float64)

    def compute(self) -> Tensor:
        """The share or the end, float32; NaN before the first image."""
        if self.part == "share" or not self.num_images:
            return super().compute()
        ends = clopper_pearson_interval(int(self.total) // ONE, int(self.num_images), self.confidence)
        return torch.tensor(ends[self.part == "high"], dtype=torch.float32, device=self.total.device)


class CertifiedClaimCurve(ImageMean):
    """Share of the images whose claim is certified to hold, at several radii, with its interval.

    Args:
        claim: Index or name of the claim; it must have bounds.
        radii: Budgets in pixel l2 units.
        confidence: Probability with which the interval at one radius is right, in (0, 1).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If a setting is out of range; when updated, if a result has no such claim.

    Example:
        >>> from lit_certattr.certificates import Claim, ClaimCertificate
        >>> from lit_certattr.numbers import Box, PointingGame
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> left = ClaimCertificate([Claim("left", PointingGame(Box(0, 0, 1, 0.5)), at_least=0.5)])
        >>> accumulator = left.start(GaussianNoise(0.5), (1, 2))
        >>> accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(100, 1, 2))
        >>> curve = CertifiedClaimCurve("left", radii=[0.1, 2.0])
        >>> curve.update([accumulator.compute()] * 20)
        >>> curve.compute(), curve.interval()[0]
        (tensor([1., 0.]), tensor([0.8316, 1.0000]))
    """

    plot_upper_bound = 1.0
    higher_is_better = True

    def __init__(self, claim: int | str, radii: Sequence[float], confidence: float = 0.95, **kwargs: Any) -> None:
        asked = tuple(check_radius(radius) for radius in several("radii", radii, "[0.1, 0.25]"))
        if not asked:
            raise InputError("radii must hold at least one radius")
        super().__init__(claim, asked, confidence, size=len(asked), **kwargs)
        self.claim, self.radii, self.confidence = claim, asked, check_confidence(confidence)

    @override
    def value(self, result: Result) -> Tensor:
        known, index = claims_result(result, self.claim)
        return torch.tensor([known.holds(index, radius) for radius in self.radii], dtype=torch.float64)

    def interval(self) -> Tensor:
        """Ends of the interval at each radius, float32 ``[radii, 2]``; see :class:`CertifiedClaim`."""
        counts = zip((self.total // ONE).tolist(), self.num_images.tolist(), strict=True)
        return torch.tensor([clopper_pearson_interval(*count, self.confidence) for count in counts])

    def plot(self, val: Tensor | None = None, ax: Any = None) -> Any:
        """Plot the share against the radius, and its interval as a band; ``val`` is a curve of :meth:`compute`."""
        radii, names = torch.tensor(self.radii), ("l2 radius", "share of the images")
        curve = torch.atleast_1d(self.compute() if val is None else val)
        drawn: tuple[Any, Any] = plot_curve((radii, curve, radii), ax=ax, label_names=names, name=type(self).__name__)
        if val is None:
            low, high = self.interval().T.cpu().numpy()
            drawn[1].fill_between(radii.numpy(), low, high, alpha=0.15, linewidth=0)
        return drawn


class VerdictCount(ImageMean):
    """Number of images whose claim holds at some radius, is not shown, or is refuted at the clean image.

    Args:
        claim: Index or name of the claim; it must have bounds.
        verdict: Which of the three.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        InputError: If there is no such verdict; when updated, if a result has no such claim.
    """

    def __init__(self, claim: int | str, verdict: str, **kwargs: Any) -> None:
        super().__init__(claim, verdict, **kwargs)
        if verdict not in VERDICTS:
            raise InputError(f"verdict must be one of {', '.join(VERDICTS)}, got {verdict!r:.80}")
        self.claim, self.verdict = claim, verdict

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """Only for claims that hold."""
        return self.verdict == "holds"

    @override
    def value(self, result: Result) -> Tensor:
        known, index = claims_result(result, self.claim)
        return torch.tensor(known.verdict(index) == self.verdict, dtype=torch.float64)

    def compute(self) -> Tensor:
        """The number of images, float32."""
        return (self.total // ONE).float()
