"""Pixel-level certificate: the pixels that stay important, or unimportant, under every small perturbation."""

from collections.abc import Sequence
from typing import Any

import torch
from typing_extensions import override

from lit_certattr.certificates.measures import LabelMeasure, Measure
from lit_certattr.certificates.pixel_bounds import Correction, check_correction
from lit_certattr.certificates.pixel_result import PixelResult
from lit_certattr.certificates.votes import VoteAccumulator, VoteCertificate
from lit_certattr.errors import InputError
from lit_certattr.settings import real_number, several
from lit_certattr.smoothing import VOTE_LAWS, Noise, top_k_size
from lit_certattr.smoothing.sparsify import Ties
from lit_certattr.statistics import smallest_sample_size


class PixelCertificate(VoteCertificate):
    r"""Pixel-level certificate of top-K sparsified maps under Gaussian smoothing (Anani et al., 2025).

    What it says: with probability at least :math:`1 - \alpha`, for all pixels and levels of K at once, no perturbation
    with an l2 norm below the certified radius of a pixel changes the majority vote of that pixel: whether it belongs to
    the top K of the map of the noisy image.

    Let :math:`b_i(z) \in \{0, 1\}` say whether pixel i is among the top K of the map of the noisy image
    :math:`z`, and :math:`p_{i,c}` the probability of :math:`b_i(x + \sigma Z) = c`.

    Theorem. If :math:`p_{i,c} \ge L > 1/2`, then for every perturbation with
    :math:`\|\delta\|_2 < R = \sigma \Phi^{-1}(L)` the probability of :math:`c` at :math:`x + \delta` stays above
    1/2: the majority label of pixel i is kept. Proof: Neyman-Pearson gives
    :math:`P \ge \Phi(\Phi^{-1}(L) - \|\delta\|/\sigma)` (Cohen et al., 2019; Fischer et al., 2021). Assumptions:
    one fixed map function (network in eval mode, class fixed before sampling, no scaling by the clean map) and
    i.i.d. Gaussian noise that is not clipped.

    Both labels of all pixels and levels are tested on all samples with the exact two-label test
    (:func:`~lit_certattr.statistics.two_label_test`) at level :math:`\alpha / (N M)` for ``N`` pixels and ``M``
    levels, so that with probability at least :math:`1 - \alpha` *every* label and *every* radius holds. No
    samples are spent on selecting labels. Constant maps vote for neither label.

    Differences from the published procedure: labels of ``tau`` hold as published, but each comes with its own
    radius, which is at least :math:`\sigma \Phi^{-1}(\tau)`; alpha covers all levels together; masks have
    exactly K pixels; maps are not normalised by a percentile of the clean map (which would make the smoothed
    function depend on the point) and constant maps certify nothing (they did, as "all unimportant").

    Args:
        top_k: Levels of sparsity: shares of the pixels in (0, 1), or pixel counts.
        alpha: Probability of any false statement about one image, over all pixels and levels.
        tau: Vote level in [1/2, 1) that the vote for a label must be shown to reach. The default gives every label
            with a positive radius; a higher level, e.g. 0.75, gives no labels of small radius and slightly larger radii
            for the others.
        correction: How the pixels share alpha. ``"bonferroni"`` gives each label its own radius. ``"holm"`` tests
            the single vote level tau step by step (:func:`~lit_certattr.statistics.two_label_holm`): it gives a few
            more labels (docs/early_stopping.md: 0.2 to 7 %), but every radius is exactly sigma * Phi^-1(tau).
        ties: Tie rule of the masks.
        sync_on_compute: Add the samples of all processes.

    Raises:
        InputError: If a setting is out of range, or a level selects no pixel or all of them.

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> accumulator = PixelCertificate(top_k=[0.5], alpha=0.01).start(GaussianNoise(sigma=0.25), (1, 2))
        >>> accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(100, 1, 2))
        >>> accumulator.compute().labels.tolist()
        [[[1, 0]]]
    """

    name = "pixel"
    result = PixelResult
    laws = VOTE_LAWS
    anytime = True

    def __init__(
        self,
        top_k: Sequence[float] = (0.5, 0.25, 0.1),
        alpha: float = 0.001,
        tau: float = 0.5,
        correction: Correction = "bonferroni",
        ties: Ties = "index",
        sync_on_compute: bool = False,
    ) -> None:
        super().__init__(alpha, ties, sync_on_compute)
        if not 0.5 <= real_number("tau", tau) < 1:
            raise InputError(f"tau must lie in [0.5, 1), got {tau}")
        if not (levels := several("top_k", top_k, "[0.5, 0.25]")):
            raise InputError("top_k must name at least one level")
        self.top_k, self.tau, self.correction = levels, float(tau), check_correction(correction)
        if correction == "holm" and tau == 0.5:
            raise InputError("correction='holm' gives labels of one vote level only, tau; set tau above 0.5")

    @override
    def measures(self) -> Sequence[Measure]:
        return [LabelMeasure(self.top_k)]

    @override
    def start(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None, share: float = 1.0
    ) -> "PixelAccumulator":
        return PixelAccumulator(self, noise, map_shape, dimension, share)

    @override
    def mask_sizes(self, num_pixels: int) -> tuple[int, ...]:
        sizes = tuple(top_k_size(share, num_pixels) for share in self.top_k)
        if len(set(sizes)) < len(sizes):
            raise InputError(
                f"top_k={list(self.top_k)} names a size twice on maps of {num_pixels} pixels: {list(sizes)}"
            )
        return sizes

    @override
    def smallest_num_samples(self, num_pixels: int, share: float = 1.0) -> int:
        self.mask_sizes(num_pixels)
        return smallest_sample_size(self.tau, self.alpha * share / (num_pixels * len(self.top_k)))

    @override
    def fixed(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None, num_samples: int, share: float
    ) -> dict[str, Any]:
        own = {"top_k": self.top_k, "tau": self.tau, "correction": self.correction}
        return super().fixed(noise, map_shape, dimension, num_samples, share) | own


class PixelAccumulator(VoteAccumulator[PixelResult]):
    """The votes of the masks of each level, for a :class:`PixelCertificate`."""

    certificate: PixelCertificate

    @override
    def conclude(self, share: float) -> PixelResult:
        record = self.record(share)
        return PixelResult.from_votes(
            self.votes.cpu().to(torch.int32, copy=True),  # a sum over processes promotes to int64
            int(self.num_constant),
            [count / (record["num_samples"] * self.num_pixels) for count in self.tied.tolist()],
            record.pop("top_k"),
            record.pop("tau"),
            record.pop("correction"),
            record,
        )
