"""Certified top-K overlap: how many of the K most important pixels no small perturbation can displace."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, get_args

import attrs
import torch
from torch import Tensor

from lit_certattr.certificates.overlap_bounds import (
    Bound,
    bound_tables,
    overlap_radii,
    share_lower,
    uncovered_sizes,
)
from lit_certattr.certificates.result import Result, check_same_shape, round_down, upper_bounds_of_counts
from lit_certattr.certificates.votes import VoteCertificate, check_votes, vote_flags
from lit_certattr.errors import InputError
from lit_certattr.smoothing import DiscreteGaussianNoise, GaussianNoise, MapBlock, MapKind, top_k_mask, top_k_size
from lit_certattr.smoothing.levels import GENERATOR
from lit_certattr.smoothing.sparsify import Ties
from lit_certattr.statistics import exact_share

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_IN, _OUT = "mean of a pixel", "one minus the mean of a pixel"
_SHARE = "mean share of S in the top K of a noisy map"


def _ints(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


@attrs.frozen(eq=False)
class TopKOverlapResult(Result):
    """Certified overlap of the top-K sets of one map, at every radius.

    Attributes:
        displacement: float32 ``[K]``, increasing: radius below which at most 0, 1, 2, ... pixels are displaced.
        inside: bool ``[H, W]``: the certified top-K set S.
        votes: int32 ``[H, W]``: how many samples put the pixel in their mask, without those that chose S.
        selection: int32 ``[H, W]``: the same counts of the samples that chose S; zeros if none were set aside.
        top_k: The K asked for, a share or a pixel count.
        size: K in pixels.
        sparsity: Kept share (or count) of each noisy map.
        kept: Pixels that can be non-zero in each noisy map.
        saturation: Pixels of a relaxed map that saturate at 1; 0 for the other kinds.
        map_kind: From a noisy map to the map in [0, 1] that is averaged.
        bound: The confidence bound that was used.
        num_selection: Samples that only chose S.
        uncovered: How many pixels' bounds may fail, see
            :func:`~lit_certattr.certificates.overlap_bounds.overlap_radii`.
        num_constant: Samples whose map was constant; they vote for nothing.
        tied: Average share of the pixels that tie across the threshold of a noisy map; 0 where maps are cut at
            random levels.
    """

    kind: ClassVar[str] = "topk_overlap"

    displacement: Tensor
    inside: Tensor
    votes: Tensor
    selection: Tensor
    top_k: float
    size: int
    sparsity: float
    kept: int
    saturation: int
    map_kind: str
    bound: str
    num_selection: int
    uncovered: tuple[int, ...] = attrs.field(converter=_ints)
    num_constant: int
    tied: float

    def __attrs_post_init__(self) -> None:
        dtypes = (self.displacement.dtype, self.inside.dtype, self.votes.dtype, self.selection.dtype)
        if dtypes != (torch.float32, torch.bool, torch.int32, torch.int32):
            raise ValueError("displacement, inside, votes and selection must be float32, bool, int32 and int32")
        shapes = {self.inside.shape, self.votes.shape, self.selection.shape}
        if self.displacement.shape != (self.size,) or self.inside.ndim != 2 or len(shapes) > 1:
            raise ValueError("displacement must be [K], inside, votes and selection [H, W]")

    def overlap(self, radius: float) -> int:
        """Number of the K pixels that no perturbation with l2 norm up to ``radius`` can displace, in 0..K."""
        if radius < 0:
            raise InputError(f"radius must not be negative, got {radius}")
        return int((self.displacement > radius).sum())

    def certified_count(self, radius: float = 0.0) -> tuple[int, int]:
        """See :class:`Result`: the certified overlap, and K."""
        return self.overlap(radius), self.size

    def curve(self, radii: Sequence[float] | Tensor) -> Tensor:
        """Certified overlap as a share of K at each radius, float64 in [0, 1]."""
        return torch.tensor([self.overlap(float(radius)) / self.size for radius in radii], dtype=torch.float64)

    def max_radius(self, share: float) -> float:
        """Largest radius, not included itself, below which at least ``share`` of K is kept; 0 where none is."""
        needed = -exact_share(-share, self.size)  # rounded up, without floating-point surprises
        if not 1 <= needed <= self.size:
            raise InputError(f"share must lie in (0, 1], got {share}")
        return max(0.0, float(self.displacement[self.size - needed]))

    def statement(self, radius: float | None = None) -> str:
        """See :class:`Result`; with a radius, the overlap at that budget."""
        at = self.max_radius(0.5) if radius is None else radius
        count = self.overlap(at) if radius is not None else -(-self.size // 2) if at > 0 else 0
        edge = "below" if radius is None else "at most"
        return (
            f"With probability at least {1 - self.alpha:.4g}: for every perturbation of the image with l2 norm "
            f"{edge} {at:.4g}, at least {count} of the K = {self.size} most important pixels of this smoothed map "
            f"are among the K most important pixels of the smoothed map of the perturbed image. The smoothed map "
            f"is the mean of {self._maps()} under {self.noise_in_words()}, as its "
            f"expectation; the statement holds for all radii at once. A map of the perturbed image that is "
            f"itself estimated from samples, and the predicted class, are not covered.{self._classes()}"
        )

    def _maps(self) -> str:
        match self.map_kind:
            case "ranked":
                return f"maps that fall linearly over the top {self.kept} ranks"
            case "relaxed":
                return f"relaxed top-{self.kept} maps (saturated on the top {self.saturation})"
            case "scaled":
                return "maps |a| / max |a|"
            case "quadratic":
                return "maps a^2 / max a^2"
            case _:
                return f"top-{self.kept} masks"

    def _classes(self) -> str:
        rule = self.sampling.get("class_rule")
        return "" if rule is None else f" The explained class is {rule}: the smoothed map is a mixture of classes."

    @classmethod
    def from_votes(
        cls,
        votes: Tensor,
        selection: Tensor,
        num_selection: int,
        *,
        top_k: float,
        sparsity: float,
        saturation: int,
        map_kind: str,
        bound: Bound,
        uncovered: Sequence[int],
        num_constant: int,
        tied: float,
        record: dict[str, Any],
    ) -> Self:
        """The set and the radii that votes give; the one place where :class:`TopKOverlapCertificate` decides.

        Args: the attributes of the same names; ``record`` holds the fields that every result has.

        Raises:
            InputError: If no samples are left for the bounds.
        """
        pixels, num_bound = votes.numel(), record["num_samples"] - num_selection
        if num_bound < 1:
            raise InputError(f"num_selection={num_selection} leaves no samples of {record['num_samples']} for bounds")
        size, kept = top_k_size(top_k, pixels), _kept(sparsity, map_kind, pixels)
        inside = top_k_mask(selection if num_selection else votes, size)
        radii = overlap_radii(
            votes.numpy().ravel(),
            inside.numpy().ravel(),
            num_bound,
            record["sigma"],
            record["alpha"] * record["alpha_share"],
            bound,
            num_selection > 0,
            uncovered,
            _mass(kept, map_kind),
        )
        return cls(
            displacement=round_down(radii),
            inside=inside,
            votes=votes,
            selection=selection,
            top_k=top_k,
            size=size,
            sparsity=sparsity,
            kept=kept,
            saturation=saturation,
            map_kind=map_kind,
            bound=bound,
            num_selection=num_selection,
            uncovered=uncovered,
            num_constant=num_constant,
            tied=tied,
            **record,
        )

    def rederive(self) -> Self:
        """See :class:`Result`."""
        rule: Ties = self.sampling.get("ties", "index")
        ties: Ties = "positive" if self.map_kind != "sparsified" else rule
        pixels, record = self.votes.numel(), self._record()
        kept, total = _kept(self.sparsity, self.map_kind, pixels), self.votes + self.selection
        check_votes(total, kept, ties, self.num_samples, self.num_constant)
        record["flags"] = vote_flags(self.num_samples, self.num_constant, self.tied, rule)
        for part, samples in (
            (self.selection, self.num_selection),
            (self.votes, self.num_samples - self.num_selection),
        ):
            check_votes(part, kept, "positive", samples, 0)
        check_uncovered(self.uncovered, top_k_size(self.top_k, pixels))
        return self.from_votes(
            self.votes,
            self.selection,
            self.num_selection,
            top_k=self.top_k,
            sparsity=self.sparsity,
            saturation=self.saturation,
            map_kind=self.map_kind,
            bound=check_bound(self.bound),
            uncovered=self.uncovered,
            num_constant=self.num_constant,
            tied=self.tied,
            record=record,
        )

    def claims(self) -> dict[str, Tensor]:
        """See :class:`Result`: the bounds of the pixels' means that all hold at once, or the one of S."""
        bound, num_bound = check_bound(self.bound), self.num_samples - self.num_selection
        if bound == "one_number":
            share = share_lower(self.votes.numpy(), self.inside.numpy(), num_bound, self.spent_alpha)
            return {_SHARE: torch.tensor(share, dtype=torch.float64)}
        fixed = self.num_selection > 0
        level = self.spent_alpha / (len(self.uncovered) * (1 if fixed else 2) * self.votes.numel())
        lower, upper = (torch.from_numpy(table)[self.votes] for table in bound_tables(num_bound, level, bound))
        left_out = 1 - upper
        if fixed:  # one side of each pixel
            lower, left_out = torch.where(self.inside, lower, 0.0), torch.where(self.inside, 0.0, left_out)
        return {_IN: lower, _OUT: left_out}

    def upper_bounds(self, fresh: Self, level: float) -> dict[str, Tensor]:
        """See :class:`Result`: exact bounds of the pixels' means, or one of the share of *this* result's S."""
        check_same_shape(self.votes, fresh.votes)
        count = fresh.votes + fresh.selection
        if self.bound == "one_number":
            missing = fresh.num_samples - count
            upper = 1 - share_lower(missing.numpy(), self.inside.numpy(), fresh.num_samples, level)
            return {_SHARE: torch.tensor(upper, dtype=torch.float64)}
        return {
            _IN: upper_bounds_of_counts(count, fresh.num_samples, level),
            _OUT: upper_bounds_of_counts(fresh.num_samples - count, fresh.num_samples, level),
        }

    def plot(self) -> "Figure":
        """Certified overlap against the radius."""
        from lit_certattr.certificates.drawing import draw_overlap

        return draw_overlap(self)


class TopKOverlapCertificate(VoteCertificate):
    r"""Certified top-K overlap of smoothed saliency maps (Levine, Singla & Feizi, 2019).

    The smoothed map is :math:`h(x) = E f(x + \sigma Z)` with :math:`f \in [0, 1]` made of the map of one noisy image:

    - ``"sparsified"``: the 0/1 mask of its top ``sparsity`` pixels;
    - ``"ranked"``: 1 at the largest pixel, falling linearly with the rank to 0 behind the top ``sparsity``;
    - ``"relaxed"``: :math:`\min(|a_j| / a_{(\gamma)}, 1)` on its top ``sparsity`` pixels, saturated on the top
      ``saturation``;
    - ``"scaled"``: :math:`|a| / \max |a|`, and ``"quadratic"``: :math:`a^2 / \max a^2`.

    Maps that are not 0/1 are cut at one random level a sample, which keeps every mean
    (:func:`~lit_certattr.smoothing.uniform_levels`), so the counts of all kinds are binomial. Bounds of all pixels'
    means hold at once with probability :math:`1 - \alpha`, also for the set S of the top K pixels that is released
    with them; :func:`~lit_certattr.certificates.overlap_bounds.displacement_radii` turns them into the overlap at
    *every* radius. The theorems are in :mod:`lit_certattr.certificates.overlap_bounds`.

    The default is exact binomial bounds, alpha shared by two statements that both hold: all bounds hold, or all
    but 1 % of K do, which costs 1 % of the overlap and buys larger radii for the rest. The split of alpha is fixed
    before any sample is seen; the better statement at each radius may then be picked afterwards.

    Differences from the published protocol: the explained class is fixed before sampling instead of re-chosen
    at each draw (:class:`~lit_certattr.attribution.MaxLogitGradient` does as published), channels are merged by
    the attribution method before ranking, and the reported quantity is the population overlap (see
    :meth:`TopKOverlapResult.statement`).

    Args:
        top_k: K, as a share of the pixels or a pixel count.
        alpha: Probability of any false statement about one image.
        sparsity: Share or count of pixels kept of each noisy map, sparsified or relaxed; ``None`` keeps K.
        bound: ``"clopper_pearson"``: exact for each pixel. ``"one_number"``: one bound, of the mean share of S in the
            top K of the noisy maps; no union over pixels, so it works with the fewest samples, but only where
            noisy maps agree with S in more than half of K. ``"published_hoeffding"``: the rule of the authors'
            code, valid, and five to six times as many samples for the same radii. ``"renyi"``: another theorem, see
            :class:`~lit_certattr.certificates.RenyiCertificate`.
        map_kind: Which map is averaged, see above.
        saturation: Share or count of pixels of a relaxed map that saturate at 1; at least one does.
        num_selection: Samples that only choose S; the bounds of the others are then one-sided. ``0`` chooses S on
            all samples. ``"one_number"`` needs some.
        uncovered: Shares of K whose bounds may fail, one a statement; alpha is shared. ``[0]`` is the plain union
            bound; ``None`` is (0, 0.01) for exact bounds, (0,) for others. Statements that
            their part of alpha cannot pay for are left out.
        ties: Tie rule of the masks; ``"positive"`` is the published one.
        sync_on_compute: Add the samples of all processes.

    Raises:
        InputError: If a setting is out of range, or settings exclude each other.

    Example:
        >>> certificate = TopKOverlapCertificate(top_k=1, alpha=0.05)
        >>> certificate.bind(GaussianNoise(sigma=0.5), (1, 2))
        >>> certificate.update(torch.tensor([[[2.0, 1.0]]]).expand(100, 1, 2))
        >>> certificate.compute().overlap(0.5)
        1
    """

    name = "topk_overlap"
    laws = (GaussianNoise, DiscreteGaussianNoise)
    anytime = True

    selection: Tensor
    num_selected: Tensor

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
        self.sparsity = top_k if sparsity is None else sparsity
        self.num_selection = num_selection
        if bound == "one_number":
            if map_kind != "sparsified" or self.sparsity != top_k:
                raise InputError("bound='one_number' is proved for sparsified maps that keep K: leave sparsity out")
            if not num_selection:
                raise InputError("bound='one_number' needs samples that choose S: num_selection must be at least 1")
        if bound == "published_hoeffding" and num_selection:
            raise InputError("bound='published_hoeffding' chooses S on all samples: num_selection must be 0")
        exact = bound in ("clopper_pearson", "renyi")
        if not exact and uncovered is not None:
            raise InputError(f"uncovered has no meaning for bound={bound!r}: leave it out")
        if bound == "renyi" and map_kind not in ("sparsified", "ranked"):
            raise InputError(f"bound='renyi' is proved for sparsified and ranked maps, not for map_kind={map_kind!r}")
        default = (0.0, 0.01) if exact else (0.0,)
        self.uncovered = default if uncovered is None else tuple(uncovered)

    def mask_sizes(self, num_pixels: int) -> tuple[int, ...]:
        """See :class:`VoteCertificate`."""
        top_k_size(self.top_k, num_pixels)
        kept = _kept(self.sparsity, self.map_kind, num_pixels)
        if self._saturated(num_pixels) > kept:
            raise InputError(f"saturation={self.saturation} is more than the {kept} pixels that are kept")
        return (kept,)

    def _saturated(self, num_pixels: int) -> int:
        if self.map_kind != "relaxed":
            return 0
        if not self.saturation > 0:
            raise InputError(f"saturation must be a share in (0, 1) or a number of pixels, got {self.saturation}")
        return max(1, exact_share(self.saturation, num_pixels) if self.saturation < 1 else int(self.saturation))

    def conditions(self) -> dict[str, Any]:
        """See :class:`Certificate`."""
        return super().conditions() | ({} if self.map_kind == "sparsified" else {"levels": GENERATOR})

    def smallest_num_samples(self, num_pixels: int) -> int:
        """See :class:`Certificate`: enough that a pixel always chosen beats one never chosen."""
        self.mask_sizes(num_pixels)
        size = top_k_size(self.top_k, num_pixels)
        most = max(uncovered_sizes(self.uncovered, size)) + 1
        members = len(uncovered_sizes(self.uncovered, size))
        sides = 1 if self.num_selection else 2
        unions = 1.0 if self.bound == "one_number" else sides * num_pixels * members / most
        log_level = math.log(unions / self.spent_alpha)
        needed = 2 * log_level if self.bound == "published_hoeffding" else log_level / math.log(2)
        return self.num_selection + max(0, math.floor(needed)) + 1

    def allocate(self) -> None:
        """See :class:`Certificate`."""
        super().allocate()
        self.add_state("selection", torch.zeros(self.map_shape, dtype=torch.int32), dist_reduce_fx="sum")
        self.add_state("num_selected", torch.tensor(0), dist_reduce_fx="sum")

    def count(self, block: MapBlock) -> None:
        """See :class:`Certificate`."""
        self.num_constant += block.num_constant
        size = self.sizes[0]
        if self.map_kind == "sparsified":
            self.tied += block.tied(size, self.ties)
        start = block.start if block.start is not None or not self.num_selection else int(self.num_samples)
        chosen = min(max(self.num_selection - (start or 0), 0), len(block))
        if self.map_kind == "sparsified" and not chosen:
            self.votes += block.votes(size, self.ties)
            return
        masks = block.masks(size, self.ties) if self.map_kind == "sparsified" else self._level_masks(block)
        self.votes += masks[chosen:].sum(0, dtype=torch.int32)
        self.selection += masks[:chosen].sum(0, dtype=torch.int32)
        self.num_selected += chosen

    def _level_masks(self, block: MapBlock) -> Tensor:
        return block.level_masks(self.map_kind, self.sizes[0], self._saturated(self.num_pixels))

    def compute(self) -> TopKOverlapResult:
        """See :class:`Certificate`."""
        record = self._record()
        # A sum over processes promotes to int64.
        votes, selection = (state.cpu().to(torch.int32, copy=True) for state in (self.votes[0], self.selection))
        return TopKOverlapResult.from_votes(
            votes,
            selection,
            int(self.num_selected),
            top_k=self.top_k,
            sparsity=self.sparsity,
            saturation=self._saturated(self.num_pixels),
            map_kind=self.map_kind,
            bound=self.bound,
            uncovered=uncovered_sizes(self.uncovered, top_k_size(self.top_k, self.num_pixels)),
            num_constant=int(self.num_constant),
            tied=int(self.tied.max()) / (record["num_samples"] * self.num_pixels),
            record=record,
        )


def _kept(sparsity: float, map_kind: str, num_pixels: int) -> int:
    return num_pixels if map_kind in ("scaled", "quadratic") else top_k_size(sparsity, num_pixels)


def _mass(kept: int, map_kind: str) -> float:
    """Largest sum of a map."""
    return (kept + 1) / 2 if map_kind == "ranked" else kept


def check_bound(name: str) -> Bound:
    """``name``, if it is a bound."""
    if name not in get_args(Bound):
        raise InputError(f"bound must be one of {', '.join(get_args(Bound))}, got {name!r}")
    return cast(Bound, name)


def check_uncovered(counts: Sequence[int], size: int) -> None:
    """Refuse a file whose numbers of failing bounds could not come from a certificate."""
    if not counts or list(counts) != sorted(set(counts)) or not 0 <= counts[0] <= counts[-1] < size:
        raise InputError(f"uncovered must be different numbers in 0..{size - 1}, increasing, got {list(counts)}")
