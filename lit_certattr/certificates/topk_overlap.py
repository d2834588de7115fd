"""Certified top-K overlap: the number of the K most important pixels that no small perturbation can displace."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.measures import Measure, OverlapMeasure
from lit_certattr.certificates.overlap_bounds import (
    Bound,
    uncovered_sizes,
)
from lit_certattr.certificates.pair_bounds import ALPHA_OF_PAIRS, choose_band, count_pairs
from lit_certattr.certificates.topk_overlap_result import TopKOverlapResult, check_bound, kept_size
from lit_certattr.certificates.votes import VoteAccumulator, VoteCertificate
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GAUSSIAN_LAWS, MapBlock, MapKind, Noise, top_k_size
from lit_certattr.smoothing.levels import GENERATOR
from lit_certattr.smoothing.sparsify import Ties
from lit_certattr.statistics import exact_share


class TopKOverlapCertificate(VoteCertificate):
    r"""Certified top-K overlap of smoothed saliency maps (Levine, Singla & Feizi, 2019).

    What it says: with probability at least :math:`1 - \alpha`, for all radii r at once, under every perturbation with
    an l2 norm up to r at least R(r) of the K pixels of the released set stay among the K largest of the smoothed map.

    The smoothed map is :math:`h(x) = E f(x + \sigma Z)`, :math:`f \in [0, 1]` computed from the map of one noisy image:

    - ``"sparsified"``: the 0/1 mask of its top ``sparsity`` pixels;
    - ``"ranked"``: 1 at the largest pixel, decreasing linearly with the rank to 0 after the top ``sparsity``;
    - ``"relaxed"``: :math:`\min(|a_j| / a_{(\gamma)}, 1)` on its top ``sparsity`` pixels, saturated on the top
      ``saturation``;
    - ``"scaled"``: :math:`|a| / \max |a|`, and ``"quadratic"``: :math:`a^2 / \max a^2`.

    Maps that are not 0/1 are cut at one random level per sample, which keeps every mean
    (:func:`~lit_certattr.smoothing.uniform_levels`), so the counts of all kinds are binomial. Bounds of all pixels'
    means hold at once with probability :math:`1 - \alpha`, also for the set S of the top K pixels that is released
    with them; :func:`~lit_certattr.certificates.overlap_bounds.displacement_radii` turns them into the overlap at
    *every* radius. The theorems are in :mod:`lit_certattr.certificates.overlap_bounds`.

    The default uses exact binomial bounds, with alpha shared by two statements that both hold: in one all bounds hold,
    in the other all but 1 % of K, which costs 1 % of the overlap and gives larger radii for the rest. The split of
    alpha is fixed before any sample is drawn; the better statement at each radius may then be chosen afterwards.

    Differences from the published protocol: the explained class is fixed before sampling, not chosen at each draw
    (:class:`~lit_certattr.attribution.MaxLogitGradient` does it as published); the attribution method merges channels
    before ranking; and the certified quantity is the overlap of the exact smoothed maps
    (:meth:`TopKOverlapResult.statement`).

    Args:
        top_k: K, as a share of the pixels or a pixel count.
        alpha: Probability of any false statement about one image.
        sparsity: Share or count of pixels kept of each noisy map, if sparsified, ranked or relaxed; ``None`` keeps K.
        bound: ``"clopper_pearson"``: exact for each pixel. ``"one_number"``: one bound, of the mean share of S in the
            top K of the noisy maps; there is no union over pixels, so it needs the fewest samples, but it works only
            if noisy maps agree with S in more than half of K. ``"published_hoeffding"``: the rule of the authors'
            code; valid, but it needs five to six times as many samples for the same radii.
        map_kind: Kind of the map that is averaged (listed above).
        saturation: Share or count of pixels of a relaxed map that saturate at 1; at least one does.
        num_selection: Number of samples that only choose S; the bounds of the other samples are then one-sided. ``0``
            chooses S on all samples. ``"one_number"`` requires at least 1.
        uncovered: Shares of K whose bounds may fail, one per statement; the statements share alpha. ``[0]`` is the
            plain union bound; ``None`` is (0, 0.01) for exact bounds, (0,) for others. Statements for which their part
            of alpha is too small to gain anything are left out.
        pairs: Number of pixels on each side of the threshold of K that are also tested pair by pair
            (:func:`~lit_certattr.certificates.pair_bounds.displacement_radii_with_pairs`); 0 for none. The selection
            samples choose the pairs, which get half of alpha. This helps if K is not much larger than ``pairs``: on
            maps of 28x28 pixels radii grow by 10 to 30 %, on maps of 224x224 pixels they shrink. It needs memory for
            ``pairs ** 2`` counts.
        ties: Tie rule of the masks; ``"positive"`` is the published one.
        sync_on_compute: Add the samples of all processes.

    Raises:
        InputError: If a setting is out of range, or settings cannot be combined.

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> accumulator = TopKOverlapCertificate(top_k=1, alpha=0.05).start(GaussianNoise(sigma=0.5), (1, 2))
        >>> accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(100, 1, 2))
        >>> accumulator.compute().overlap(0.5)
        1
    """

    name = "topk_overlap"
    result: ClassVar[type[TopKOverlapResult]] = TopKOverlapResult
    laws: ClassVar[tuple[type[Noise], ...]] = GAUSSIAN_LAWS
    anytime = True

    def __init__(
        self,
        top_k: float = 0.2,
        alpha: float = 0.001,
        sparsity: float | None = None,
        bound: Bound = "clopper_pearson",
        map_kind: MapKind = "sparsified",
        saturation: float = 0.01,
        num_selection: int = 0,
        uncovered: Sequence[float] | None = None,
        pairs: int = 0,
        ties: Ties = "index",
        sync_on_compute: bool = False,
    ) -> None:
        super().__init__(alpha, ties, sync_on_compute)
        if map_kind not in get_args(MapKind):
            raise InputError(f"map_kind must be one of {', '.join(get_args(MapKind))}, got {map_kind!r}")
        if num_selection < 0:
            raise InputError(f"num_selection must not be negative, got {num_selection}")
        if uncovered is not None and not (uncovered and all(0 <= share < 1 for share in uncovered)):
            raise InputError(f"uncovered must be shares of K in [0, 1), at least one, got {uncovered}")
        self.top_k, self.bound, self.map_kind, self.saturation = top_k, check_bound(bound), map_kind, saturation
        self.sparsity, self.pairs = top_k if sparsity is None else sparsity, pairs
        self.num_selection = num_selection
        if bound == "one_number":
            if map_kind != "sparsified" or self.sparsity != top_k:
                raise InputError(
                    "bound='one_number' is proved only for sparsified maps that keep K: remove sparsity and map_kind"
                )
            if not num_selection:
                raise InputError("bound='one_number' needs samples that choose S: set num_selection to at least 1")
        if pairs and (pairs < 0 or bound != "clopper_pearson" or not num_selection or sync_on_compute):
            raise InputError(
                "pairs must not be negative, and needs bound='clopper_pearson', num_selection of at least 1 and "
                f"sync_on_compute=False, got {pairs}"
            )
        if bound == "published_hoeffding" and num_selection:
            raise InputError("bound='published_hoeffding' chooses S on all samples: set num_selection to 0")
        exact = bound == "clopper_pearson"
        if not exact and uncovered is not None and tuple(uncovered) != (0.0,):
            raise InputError(f"uncovered has no meaning for bound={bound!r}: remove it")
        default = (0.0, 0.01) if exact else (0.0,)
        self.uncovered = default if uncovered is None else tuple(uncovered)

    @override
    def measures(self) -> Sequence[Measure]:
        return [OverlapMeasure(self.top_k)]

    @override
    def start(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None = None, share: float = 1.0
    ) -> "TopKOverlapAccumulator":
        return TopKOverlapAccumulator(self, noise, map_shape, dimension, share)

    @override
    def mask_sizes(self, num_pixels: int) -> tuple[int, ...]:
        top_k_size(self.top_k, num_pixels)
        kept = kept_size(self.sparsity, self.map_kind, num_pixels)
        if self.saturated(num_pixels) > kept:
            raise InputError(
                f"saturation={self.saturation} is more than the {kept} pixels that are kept: decrease saturation, or "
                "increase sparsity"
            )
        return (kept,)

    def saturated(self, num_pixels: int) -> int:
        """Number of pixels of a relaxed map that saturate at 1; 0 for other maps.

        Args:
            num_pixels: Number of pixels of a map.

        Raises:
            InputError: If ``saturation`` is not positive.
        """
        if self.map_kind != "relaxed":
            return 0
        if not self.saturation > 0:
            raise InputError(f"saturation must be a share in (0, 1) or a number of pixels, got {self.saturation}")
        return max(1, exact_share(self.saturation, num_pixels) if self.saturation < 1 else int(self.saturation))

    @override
    def conditions(self) -> dict[str, Any]:
        return super().conditions() | ({} if self.map_kind == "sparsified" else {"levels": GENERATOR})

    def smallest_num_samples(self, num_pixels: int, share: float = 1.0) -> int:
        """Fewest samples with which a pixel that is always chosen is certified above one that is never chosen.

        Args:
            num_pixels: Pixels of a map.
            share: Share of alpha that the result may err with.

        Raises:
            InputError: If the settings do not fit maps of that size.
        """
        self.mask_sizes(num_pixels)
        size = top_k_size(self.top_k, num_pixels)
        most = max(uncovered_sizes(self.uncovered, size)) + 1
        members = len(uncovered_sizes(self.uncovered, size))
        sides = 1 if self.num_selection else 2
        unions = 1.0 if self.bound == "one_number" else sides * num_pixels * members / most
        unions /= 1 - ALPHA_OF_PAIRS if self.pairs else 1
        log_level = math.log(unions / (self.alpha * share))
        needed = 2 * log_level if self.bound == "published_hoeffding" else log_level / math.log(2)
        return self.num_selection + max(0, math.floor(needed)) + 1

    @override
    def fixed(
        self, noise: Noise, map_shape: Sequence[int], dimension: int | None, num_samples: int, share: float
    ) -> dict[str, Any]:
        num_pixels = map_shape[0] * map_shape[1]
        return super().fixed(noise, map_shape, dimension, num_samples, share) | {
            "num_selection": self.num_selection,
            "pairs": self.pairs,
            "top_k": self.top_k,
            "sparsity": self.sparsity,
            "saturation": self.saturated(num_pixels),
            "map_kind": self.map_kind,
            "bound": self.bound,
            "uncovered": uncovered_sizes(self.uncovered, top_k_size(self.top_k, num_pixels)),
        }


class TopKOverlapAccumulator(VoteAccumulator[TopKOverlapResult]):
    """Votes of the samples that choose S and of the other samples, and joint votes of pairs of pixels."""

    certificate: TopKOverlapCertificate
    selection: Tensor
    num_selected: Tensor
    joint: Tensor

    @override
    def allocate(self) -> None:
        super().allocate()
        self._band: tuple[Tensor, Tensor] | None = None
        self.add_state("selection", torch.zeros(self.map_shape, dtype=torch.int32), dist_reduce_fx="sum")
        self.add_state("num_selected", torch.tensor(0), dist_reduce_fx="sum")
        size, pairs = top_k_size(self.certificate.top_k, self.num_pixels), self.certificate.pairs
        shape = min(pairs, size), min(pairs, self.num_pixels - size)
        self.add_state("joint", torch.zeros(shape, dtype=torch.int32), dist_reduce_fx="sum")

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self._band = None

    def merge_state(self, incoming_state: Any) -> None:
        """Add the samples of another accumulator of the same image, as in :class:`torchmetrics.Metric`.

        Args:
            incoming_state: The other accumulator, or its states.

        Raises:
            InputError: If ``pairs`` is set, since the two accumulators may have chosen different pairs.
        """
        if self.certificate.pairs:
            raise InputError("cannot merge: each certificate selected different pixel pairs; set pairs to 0")
        super().merge_state(incoming_state)

    @override
    def count(self, block: MapBlock) -> None:
        self.num_constant += block.num_constant
        size, settings = self.sizes[0], self.certificate
        sparsified = settings.map_kind == "sparsified"
        if sparsified:
            self.tied += block.tied(size, settings.ties)
        start = block.start if block.start is not None or not settings.num_selection else int(self.num_samples)
        chosen = min(max(settings.num_selection - (start or 0), 0), len(block))
        if sparsified and not chosen and not settings.pairs:
            self.votes += block.votes(size, settings.ties)
            return
        masks = (
            block.masks(size, settings.ties)
            if sparsified
            else block.level_masks(settings.map_kind, size, settings.saturated(self.num_pixels))
        )
        self.votes += masks[chosen:].sum(0, dtype=torch.int32)
        self.selection += masks[:chosen].sum(0, dtype=torch.int32)
        self.num_selected += chosen
        if settings.pairs and chosen < len(block):
            self._count_pairs(masks[chosen:].flatten(1))

    def _count_pairs(self, masks: Tensor) -> None:
        if self._band is None:  # the first samples after the selection: it is complete, and chooses them
            size = top_k_size(self.certificate.top_k, self.num_pixels)
            self._band = choose_band(self.selection, size, self.certificate.pairs)
        first, second = self._band
        self.joint += count_pairs(masks[:, first], masks[:, second])

    @override
    def conclude(self, share: float) -> TopKOverlapResult:
        record = self.record(share)
        # A sum over processes promotes to int64.
        votes, selection, joint = (
            state.cpu().to(torch.int32, copy=True) for state in (self.votes[0], self.selection, self.joint)
        )
        return self.certificate.result.from_votes(
            votes,
            selection,
            joint=joint,
            num_constant=int(self.num_constant),
            tied=int(self.tied.max()) / (record["num_samples"] * self.num_pixels),
            **record | {"num_selection": int(self.num_selected)},
        )
