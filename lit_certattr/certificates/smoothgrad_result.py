"""The result of the SmoothGrad certificate, and how it follows from the sums of the samples."""

import math
from typing import Any, ClassVar, Self

import attrs
import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.overlap_result import OverlapResult
from lit_certattr.certificates.radii import round_down
from lit_certattr.certificates.result import check_same_shape
from lit_certattr.certificates.smoothgrad_bounds import (
    ALPHA_OF_SPREAD,
    mean_margins,
    noise_rounding,
    reach,
    spread_upper,
    swap_distances,
)
from lit_certattr.errors import InputError
from lit_certattr.smoothing import top_k_mask, top_k_size

_UP, _DOWN = "mean of noise times probability", "the negative of it"


@attrs.frozen(eq=False, repr=False)
class SmoothGradResult(OverlapResult):
    r"""Certified overlap of the top-K sets of the absolute SmoothGrad of a class probability, at every radius.

    The map is the l2 norm over the channels of :math:`h(x) = E \nabla p(x + \sigma Z) = E[Z p(x + \sigma Z)]/\sigma`.

    Attributes:
        total: float64 ``[C, H, W]``: sum of the truncated noise, in units of sigma, times the probability minus its
            reference.
        square: float64 ``[C, H, W]``: sum of the squares of these products.
        spread: Sum of the squared differences of the probability and its reference.
        reference: Mean probability of the samples that chose it; any number is valid, this one keeps the variance low.
        num_selection: Number of samples that only chose the reference.
        truncation: Noise further from 0 than this, in units of sigma, counts as 0 in the sums.
    """

    kind: ClassVar[str] = "smoothgrad"
    statistics: ClassVar[tuple[str, ...]] = ("total", "square")

    total: Tensor
    square: Tensor
    spread: float
    reference: float
    num_selection: int
    truncation: float

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if {self.total.dtype, self.square.dtype} != {torch.float64} or self.total.ndim != 3:
            raise ValueError("total and square must be float64 [C, H, W]")
        if self.total.shape != self.square.shape or self.total.shape[1:] != self.inside.shape:
            raise ValueError("inside, total and square must agree in shape")

    @property
    def num_bound(self) -> int:
        """Number of samples that are left for the bounds."""
        return self.num_samples - self.num_selection

    @property
    def largest(self) -> float:
        """Largest difference of a probability and the reference."""
        return max(self.reference, 1 - self.reference)

    @property
    def gradient(self) -> Tensor:
        """Estimate of the smoothed gradient, float64 ``[C, H, W]``."""
        return self.total / (self.num_bound * self.sigma)

    @property
    def smoothed(self) -> Tensor:
        """Estimate of the map that is ranked, float64 ``[H, W]``."""
        length: Tensor = torch.linalg.vector_norm(self.gradient, dim=0)
        return length

    def margins(self) -> Tensor:
        """Margins of all values of :attr:`gradient`, which hold together, float64 ``[C, H, W]``."""
        margins = mean_margins(
            self.square.numpy() / self.num_bound,
            self.num_bound,
            self.spent_alpha * (1 - ALPHA_OF_SPREAD),
            self.largest,
            self.truncation,
            noise_rounding(self.sigma, self.truncation),
        )
        return torch.from_numpy(margins) / self.sigma

    def spread_bound(self) -> float:
        """Upper bound of the mean squared difference of the probability and the reference."""
        mean, alpha = self.spread / self.num_bound, self.spent_alpha * ALPHA_OF_SPREAD
        return spread_upper(mean, self.num_bound, alpha, self.largest)

    def longest_radius(self) -> float:
        """Twice the radius that the most favourable MNIST digits reach with a million samples."""
        return 0.3 * self.sigma

    @override
    def map_in_words(self) -> str:
        method = str(self.sampling.get("attribution", ""))
        own = not method or method.startswith("ProbabilityGradient(")
        probability = ("the probability of the class" if own else "the score in [0, 1]") + f" ({method})" * bool(method)
        return (
            f"the length, over the channels of a pixel, of the gradient of {probability} averaged under "
            f"{self.noise_in_words()}, as its expectation"
        )

    @classmethod
    def from_sums(cls, total: Tensor, square: Tensor, **fields: Any) -> Self:
        """The result from sums; the only place where it is computed.

        Args:
            total: As the attribute.
            square: As the attribute.
            **fields: The other attributes, except those that are computed here: S, its radii and K in pixels.

        Raises:
            InputError: If no samples are left for the bounds.
        """
        size, shape = top_k_size(fields["top_k"], total[0].numel()), total.shape[1:]
        blank = cls(
            displacement=torch.zeros(size, dtype=torch.float32),  # whatever the default type of the run
            inside=torch.zeros(shape, dtype=torch.bool),
            size=size,
            total=total,
            square=square,
            **fields,
        )
        if blank.num_bound < 1:
            raise InputError(f"num_selection={blank.num_selection} leaves no samples of {blank.num_samples} for bounds")
        smoothed, margins = blank.smoothed, torch.linalg.vector_norm(blank.margins(), dim=0)
        inside = top_k_mask(smoothed, size)
        lower, upper = (smoothed - margins).clamp(min=0), smoothed + margins
        distances = swap_distances(lower.flatten().numpy(), upper.flatten().numpy(), inside.flatten().numpy())
        radii = np.full(size, np.inf)
        finite = np.isfinite(distances)
        radii[finite] = reach(distances[finite], blank.spread_bound(), blank.largest, blank.sigma)
        radii[distances == 0] = -np.inf
        return attrs.evolve(blank, displacement=round_down(radii), inside=inside)

    def rederive(self) -> Self:
        """Derive the result again from the sums.

        Raises:
            InputError: If no samples can have given the stored sums.
        """
        n, t, most = self.num_bound, self.truncation, self.largest
        if not (0 <= self.reference <= 1 and 0 <= self.spread <= n * most**2 * (1 + 1e-9)):
            raise InputError("no probabilities can have given this reference and this spread")
        slack = 1e-9 * n
        possible = (self.square >= 0) & (self.square <= n * (t * most) ** 2 + slack)
        if not bool((possible & (self.total.square() <= n * self.square + slack)).all()):
            raise InputError("no samples can have given these sums and sums of squares")
        follow = ("displacement", "inside", "size", "flags")
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        kept = {name: value for name, value in fields.items() if name not in follow}
        return self.from_sums(**kept, flags=flatness_flags(self.spread, n))

    def claims(self) -> dict[str, Tensor]:
        """Lower bounds of the means of the gradient, 0 where their sign is not certain, float64 ``[C, H, W]``."""
        mean, margin = self.gradient * self.sigma, self.margins() * self.sigma
        return {_UP: (mean - margin).clamp(min=0), _DOWN: (-mean - margin).clamp(min=0)}

    def upper_bounds(self, fresh: Self, level: float) -> dict[str, Tensor]:
        """Upper bounds, from independent noise, of the means in :meth:`claims`.

        Args:
            fresh: Result of the same certificate for the same image, from independent noise.
            level: Probability that a single bound is below its mean.

        Raises:
            InputError: If the maps have another shape.
        """
        check_same_shape(self.total, fresh.total)
        n, alpha = fresh.num_bound, min(1.0, level * fresh.total.numel())
        rounding = noise_rounding(fresh.sigma, fresh.truncation)
        margins = mean_margins(fresh.square.numpy() / n, n, alpha, fresh.largest, fresh.truncation, rounding)
        mean, margin = fresh.gradient * fresh.sigma, torch.from_numpy(margins)
        return {_UP: (mean + margin).clamp(min=0), _DOWN: (margin - mean).clamp(min=0)}


def flatness_flags(spread: float, num_samples: int) -> tuple[str, ...]:
    """Flag for a probability that is almost constant.

    Args:
        spread: Sum of the squared differences of the probability and its reference.
        num_samples: Number of samples in the sum.
    """
    flat = num_samples > 0 and math.sqrt(max(0.0, spread) / num_samples) < 1e-3
    text = "the probability hardly varies under the noise: its gradient is hardly known, a temperature above 1 may help"
    return (text,) if flat else ()
