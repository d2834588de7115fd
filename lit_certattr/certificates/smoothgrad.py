"""Certified top-K overlap of SmoothGrad of a class probability, from a bound of its curvature."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.base import Accumulator, Certificate, check_float64
from lit_certattr.certificates.measures import Measure, OverlapMeasure
from lit_certattr.certificates.smoothgrad_bounds import ALPHA_OF_SPREAD, mean_margins, normal_density
from lit_certattr.certificates.smoothgrad_result import SmoothGradResult, flatness_flags
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, MapBlock, Noise, top_k_size


class SmoothGradCertificate(Certificate):
    r"""Certified top-K overlap of plain SmoothGrad of a class probability, with no constant of the network.

    What it says: with probability at least :math:`1 - \alpha`, for all radii r at once, under every perturbation with
    an l2 norm up to r at least R(r) of the K pixels of the released set stay among the K largest of the smoothed map.

    The smoothed map is SmoothGrad as it is usually shown: gradients of the probability p of the class, with their
    signs, are averaged under Gaussian noise, and the absolute value (the l2 norm over the channels) is taken
    afterwards. As p lies in [0, 1],
    the averaged gradient :math:`h` is :math:`2\phi(1)/\sigma^2 = .484/\sigma^2`-Lipschitz whatever the network is, and
    less where p varies little under the noise (:func:`~lit_certattr.certificates.smoothgrad_bounds.curvature`). For
    pixels to leave the top K the map must move by the distance of
    :func:`~lit_certattr.certificates.smoothgrad_bounds.swap_distances`; that distance over the Lipschitz constant is
    the radius. (The Lipschitz bound of smoothed functions: Zhang & Farnia, 2023.)

    **From samples.** A gradient can be arbitrarily large, so no average of gradients bounds h. By Stein's identity
    :math:`h = E[Z (p(x + \sigma Z) - b)]/\sigma` needs forward passes only, and is a mean of bounded variables once the
    noise is truncated (:func:`~lit_certattr.certificates.smoothgrad_bounds.mean_margins`). Its variance is high: about
    100,000 samples certify something for maps of 28x28 pixels, a million samples something useful. If the network is
    sure of the class, the probability is flat, and little can be known about its gradient; a temperature above 1 of the
    attribution method helps.

    The attribution method must provide a score in [0, 1], as :class:`~lit_certattr.attribution.ProbabilityGradient`
    does (:class:`~lit_certattr.attribution.Attribution` says how); p is this score. The channel reduction of the method
    matters only for other certificates and for the picture of the clean map.

    Args:
        top_k: K, as a share of the pixels or a pixel count.
        alpha: Probability of any false statement about one image.
        num_selection: Number of samples that only choose the reference b, the mean probability.
        truncation: Noise further from 0 than this, in units of sigma, counts as 0; the bound includes the error that
            this causes.

    Raises:
        InputError: If a setting is out of range.
    """

    name = "smoothgrad"
    result = SmoothGradResult
    laws = (GaussianNoise,)
    anytime = True
    needs_score = True

    def __init__(
        self, top_k: float = 0.2, alpha: float = 0.001, num_selection: int = 1000, truncation: float = 5.0
    ) -> None:
        super().__init__(alpha)
        if num_selection < 1:
            raise InputError(f"num_selection must be at least 1, got {num_selection}")
        if not 1 <= truncation < math.inf:
            raise InputError(f"truncation must be at least 1, got {truncation}")
        self.top_k, self.num_selection, self.truncation = top_k, num_selection, float(truncation)

    @override
    def measures(self) -> Sequence[Measure]:
        return [OverlapMeasure(self.top_k, "smoothgrad_overlap")]

    @override
    def start(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None, share: float = 1.0
    ) -> "SmoothGradAccumulator":
        return SmoothGradAccumulator(self, noise, map_shape, dimension, share)

    def smallest_num_samples(self, num_pixels: int, share: float = 1.0) -> int:
        """Fewest samples with which the steepest possible smoothed probability, along one pixel, gets a radius.

        Args:
            num_pixels: Pixels of a map.
            share: Share of alpha that the result may err with.

        Raises:
            InputError: If ``top_k`` does not fit maps of that size.
        """
        top_k_size(self.top_k, num_pixels)
        steepest, alpha = normal_density(0.0), self.alpha * share * (1 - ALPHA_OF_SPREAD)
        num_samples = 1
        while 2 * mean_margins(np.full(num_pixels, 0.25), num_samples, alpha, 0.5, self.truncation)[0] >= steepest:
            num_samples += max(1, num_samples // 50)
        return self.num_selection + num_samples

    @override
    def fixed(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None, num_samples: int, share: float
    ) -> dict[str, Any]:
        own = {"top_k": self.top_k, "num_selection": self.num_selection, "truncation": self.truncation}
        return super().fixed(noise, map_shape, dimension, num_samples, share) | own

    @override
    def check_device(self, device: torch.device) -> None:
        check_float64(self, device)


class SmoothGradAccumulator(Accumulator[SmoothGradResult]):
    """Sums of scores times noise, from which Stein's identity gives the averaged gradient."""

    certificate: SmoothGradCertificate
    total: Tensor
    square: Tensor
    spread: Tensor
    selection: Tensor
    num_selected: Tensor

    @override
    def allocate(self) -> None:
        if self.dimension is None or self.dimension % self.num_pixels:
            kind = type(self.certificate).__name__
            raise InputError(f"{kind} needs start(noise, map_shape, dimension) with maps of the size of the image")
        self._reference: Tensor | None = None
        for state in ("total", "square"):
            self.add_state(state, torch.zeros(self.dimension, dtype=torch.float64), dist_reduce_fx="sum")
        for state in ("spread", "selection"):
            self.add_state(state, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_selected", torch.tensor(0), dist_reduce_fx="sum")

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self._reference = None

    @override
    def shape_of(self, block: MapBlock) -> tuple[int, ...]:
        return tuple(block.draw.images.shape[2:])

    @override
    def invalid(self, block: MapBlock) -> Tensor:
        return (~torch.isfinite(block.draw.scores)).sum()

    @override
    def count(self, block: MapBlock) -> None:
        scores, settings = block.draw.scores, self.certificate
        start = block.start if block.start is not None else int(self.num_samples)
        chosen = min(max(settings.num_selection - start, 0), len(block))
        self.selection += scores[:chosen].sum()
        self.num_selected += chosen
        if chosen == len(block):
            return
        if self._reference is None:  # the first samples after the selection: it is complete
            self._reference = self.selection / self.num_selected
        rest, noise = scores[chosen:] - self._reference, block.draw.noise[chosen:].flatten(1)
        noise = torch.where(noise.abs() <= settings.truncation, noise, 0.0)
        self.total += rest @ noise
        self.square += rest.square() @ noise.square()
        self.spread += rest.square().sum()

    @override
    def conclude(self, share: float) -> SmoothGradResult:
        record = self.record(share)
        if invalid := record["num_invalid"]:  # a score that is missing cannot be replaced by one of another function
            raise InputError(
                f"{invalid} of {record['num_samples']} noisy images have scores of NaN or infinity, or outside [0, 1]"
            )
        shape = (-1, *self.map_shape)
        spread, selected = float(self.spread), int(self.num_selected)
        record["flags"] += flatness_flags(spread, record["num_samples"] - selected)
        return SmoothGradResult.from_sums(
            self.total.view(shape).cpu().clone(),
            self.square.view(shape).cpu().clone(),
            spread=spread,
            reference=float(self.selection) / max(1, selected),
            **record | {"num_selection": selected},
        )
