"""The result of a top-K overlap certificate, and how it follows from the votes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Self, cast, get_args

import attrs
import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates.capabilities import Masks
from lit_certattr.certificates.count_bounds import upper_bounds_of_counts
from lit_certattr.certificates.overlap_bounds import (
    Bound,
    Rule,
    bound_tables,
    overlap_radii,
    share_lower,
)
from lit_certattr.certificates.overlap_result import OverlapResult
from lit_certattr.certificates.pair_bounds import (
    ALPHA_OF_PAIRS,
    check_joint,
    choose_band,
    displacement_radii_with_pairs,
    pair_bounds,
    pair_radii,
)
from lit_certattr.certificates.radii import round_down
from lit_certattr.certificates.result import check_same_shape, invalid_flags
from lit_certattr.certificates.votes import check_tied, check_votes, vote_flags
from lit_certattr.errors import InputError
from lit_certattr.smoothing import top_k_mask, top_k_size
from lit_certattr.smoothing.sparsify import Ties

_IN, _OUT = "mean of a pixel", "one minus the mean of a pixel"
_FIRST, _SECOND = "share of masks with the insider of a pair alone", "share of masks without the outsider alone"
_SHARE = "mean share of S in the top K of a noisy map"


def _ints(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


@attrs.frozen(eq=False, repr=False)
class TopKOverlapResult(OverlapResult):
    """Certified overlap of the top-K sets of one map, at every radius.

    Attributes:
        votes: int32 ``[H, W]``: number of samples whose mask holds the pixel, without the samples that chose S.
        selection: int32 ``[H, W]``: the same counts for the samples that chose S; zeros if there are none.
        joint: int32 ``[b, c]``: number of samples whose mask holds both pixels of a pair, for the insiders and
            outsiders of :func:`~lit_certattr.certificates.pair_bounds.choose_band`; empty if no pairs were tested.
        pairs: Number of pixels on each side of the threshold to test pair by pair, as the user gave it.
        sparsity: Share (or count) of pixels kept of each noisy map.
        kept: Number of pixels that can be non-zero in each noisy map.
        saturation: Number of pixels of a relaxed map that saturate at 1; 0 for other kinds.
        map_kind: How a noisy map becomes the map in [0, 1] that is averaged.
        bound: Name of the confidence bound.
        num_selection: Number of samples that only chose S.
        uncovered: Numbers of bounds that may fail (:func:`~lit_certattr.certificates.overlap_bounds.overlap_radii`).
        num_constant: Number of samples with a constant map; they vote for nothing.
        tied: Average share of the pixels that tie across the threshold of a noisy map; 0 where maps are cut at
            random levels.
    """

    kind: ClassVar[str] = "topk_overlap"
    statistics: ClassVar[tuple[str, ...]] = ("votes", "selection", "joint")

    votes: Tensor
    selection: Tensor
    joint: Tensor
    pairs: int
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
        super().__attrs_post_init__()
        if {self.votes.dtype, self.selection.dtype, self.joint.dtype} != {torch.int32}:
            raise ValueError("votes, selection and joint must be int32")
        if {self.votes.shape, self.selection.shape} != {self.inside.shape}:
            raise ValueError("inside, votes and selection must agree in shape")

    def unanimous(self) -> float:
        """Lower bound of the mean of a pixel that is in every mask, for the settings of this run."""
        num_samples = self.sampling.get("num_samples", self.num_samples)
        return float((self.alpha / 2 / self.votes.numel()) ** (1 / num_samples))

    @override
    def longest_radius(self) -> float:
        return self.scale * max(float(ndtri(self.unanimous())), 0.1)

    @override
    def map_in_words(self) -> str:
        match self.map_kind:
            case "ranked":
                maps = f"maps that fall linearly over the top {self.kept} ranks"
            case "relaxed":
                maps = f"relaxed top-{self.kept} maps (saturated on the top {self.saturation})"
            case "scaled":
                maps = "maps |a| / max |a|"
            case "quadratic":
                maps = "maps a^2 / max a^2"
            case _:
                maps = f"top-{self.kept} masks"
        return f"the mean of {maps} under {self.noise_in_words()}, as its expectation"

    @classmethod
    def from_votes(cls, votes: Tensor, selection: Tensor, **fields: Any) -> Self:
        """The result that votes give; the one place where :class:`TopKOverlapCertificate` decides.

        Args:
            votes: See the attributes.
            selection: See the attributes.
            **fields: The other attributes, without those that follow: S, its radii, and sizes in pixels.

        Raises:
            InputError: If no samples are left for the bounds.
        """
        size = top_k_size(fields["top_k"], votes.numel())
        blank = cls(
            displacement=torch.zeros(size, dtype=torch.float32),  # whatever the default type of the run
            inside=top_k_mask(selection if fields["num_selection"] else votes, size),
            votes=votes,
            selection=selection,
            size=size,
            kept=kept_size(fields["sparsity"], fields["map_kind"], votes.numel()),
            **fields,
        )
        if blank.num_bound < 1:
            raise InputError(f"num_selection={blank.num_selection} leaves no samples of {blank.num_samples} for bounds")
        return attrs.evolve(blank, displacement=round_down(blank._radii()))

    @property
    def pixel_alpha(self) -> float:
        """Error probability of the bounds of all single pixels together."""
        return self.spent_alpha * (1 - ALPHA_OF_PAIRS if self.pairs else 1)

    def band(self) -> tuple[Tensor, Tensor]:
        """Flat indices of the insiders and of the outsiders that were tested pair by pair."""
        return choose_band(self.selection, self.size, self.pairs)

    def pair_bounds(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Bounds of all pairs at once (:func:`~lit_certattr.certificates.pair_bounds.pair_bounds`)."""
        insiders, outsiders = (self.votes.flatten()[side].numpy() for side in self.band())
        alpha = self.spent_alpha * ALPHA_OF_PAIRS
        return pair_bounds(self.joint.numpy(), insiders, outsiders, self.num_bound, alpha)

    @property
    def num_bound(self) -> int:
        """Number of samples that are left for the bounds."""
        return self.num_samples - self.num_selection

    def _radii(self) -> npt.NDArray[np.float64]:
        inside = self.inside.numpy().ravel()
        return overlap_radii(
            self.votes.numpy().ravel(),
            inside,
            self.num_bound,
            self.scale,
            self.pixel_alpha,
            check_bound(self.bound),
            self.num_selection > 0,
            self.uncovered,
            self._rule(inside),
        )

    def _rule(self, inside: npt.NDArray) -> Rule | None:
        """Theorem that turns the bounds of pixels into radii; ``None`` for :func:`displacement_radii`."""
        if not self.pairs:
            return None
        first, second = (side.numpy() for side in self.band())
        radii = pair_radii(*self.pair_bounds(), self.scale)
        return lambda lower, upper: displacement_radii_with_pairs(
            lower, upper, inside, self.scale, (first, second), radii
        )

    def smoothed_map(self) -> Tensor:
        """Votes of all samples as shares of the samples, float32 ``[H, W]``."""
        return (self.votes + self.selection).float() / self.num_samples

    def masks(self) -> Iterator[Masks]:
        """The votes of all samples, if the maps are top-K masks."""
        if self.map_kind == "sparsified":
            ties = str(self.sampling.get("ties", "index"))
            yield Masks(ties, self.kept, self.votes + self.selection, self.tied)

    def rederive(self) -> Self:
        """Derive the result again from the votes.

        Raises:
            InputError: If no masks can have given the stored counts.
        """
        rule: Ties = self.sampling.get("ties", "index")
        ties: Ties = "positive" if self.map_kind != "sparsified" else rule
        pixels = self.votes.numel()
        kept, total = kept_size(self.sparsity, self.map_kind, pixels), self.votes + self.selection
        check_votes(total, kept, ties, self.num_samples, self.num_constant, self.num_invalid)
        for part, samples in ((self.selection, self.num_selection), (self.votes, self.num_bound)):
            check_votes(part, kept, "positive", samples, 0)
        counted = self.map_kind == "sparsified"
        check_tied(self.tied, self.num_samples, pixels, self.num_constant if counted else 0)
        if not counted and self.tied:
            raise InputError(f"tied={self.tied}, but maps that are cut at random levels have no ties")
        check_uncovered(self.uncovered, top_k_size(self.top_k, pixels))
        first, second = (self.votes.flatten()[side] for side in self.band())
        check_joint(self.joint, first, second, self.num_bound)
        follow = ("displacement", "inside", "size", "kept", "flags")
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        flags = invalid_flags(self.num_invalid, self.num_samples)
        flags += vote_flags(self.num_samples, self.num_constant, self.tied, rule, self.num_invalid)
        return self.from_votes(**{name: fields[name] for name in fields if name not in follow}, flags=flags)

    def claims(self) -> dict[str, Tensor]:
        """The bounds of the means of all pixels, which hold together; for ``"one_number"`` the bound of S."""
        bound, num_bound = check_bound(self.bound), self.num_bound
        if bound == "one_number":
            share = share_lower(self.votes.numpy(), self.inside.numpy(), num_bound, self.spent_alpha)
            return {_SHARE: torch.tensor(share, dtype=torch.float64)}
        fixed = self.num_selection > 0
        level = self.pixel_alpha / (len(self.uncovered) * (1 if fixed else 2) * self.votes.numel())
        lower, upper = (torch.from_numpy(table)[self.votes] for table in bound_tables(num_bound, level, bound))
        left_out = 1 - upper
        if fixed:  # one side of each pixel
            lower, left_out = torch.where(self.inside, lower, 0.0), torch.where(self.inside, 0.0, left_out)
        bounds = {_IN: lower, _OUT: left_out}
        if self.pairs:
            first, second = (torch.from_numpy(side) for side in self.pair_bounds())
            bounds |= {_FIRST: first, _SECOND: 1 - second}
        return bounds

    def upper_bounds(self, fresh: Self, level: float) -> dict[str, Tensor]:
        """Upper bounds, from independent noise, of the means in :meth:`claims`.

        Args:
            fresh: Result of the same certificate for the same image, from independent noise.
            level: Probability that a single bound is below its mean.

        Raises:
            InputError: If the maps have another shape.
        """
        check_same_shape(self.votes, fresh.votes)
        count = fresh.votes + fresh.selection
        if self.bound == "one_number":
            missing = fresh.num_samples - count
            upper = 1 - share_lower(missing.numpy(), self.inside.numpy(), fresh.num_samples, level)
            return {_SHARE: torch.tensor(upper, dtype=torch.float64)}
        bounds = {
            _IN: upper_bounds_of_counts(count, fresh.num_samples, level),
            _OUT: upper_bounds_of_counts(fresh.num_samples - count, fresh.num_samples, level),
        }
        return bounds | (self._upper_bounds_of_pairs(fresh, level) if self.pairs else {})

    def _upper_bounds_of_pairs(self, fresh: Self, level: float) -> dict[str, Tensor]:
        """Upper bounds for the pairs that the fresh samples have tested, too; 1 for the other pairs."""
        sides = list(zip(self.band(), fresh.band(), strict=True))
        (rows, fresh_rows), (columns, fresh_columns) = [
            (own[:, None] == other[None]).nonzero(as_tuple=True) for own, other in sides
        ]
        joint = fresh.joint[fresh_rows][:, fresh_columns]
        first = fresh.votes.flatten()[self.band()[0][rows]][:, None] - joint
        second = fresh.votes.flatten()[self.band()[1][columns]][None] - joint
        bounds = {}
        for name, count in ((_FIRST, first), (_SECOND, fresh.num_bound - second)):
            bounds[name] = torch.ones(self.joint.shape, dtype=torch.float64)
            bounds[name][rows[:, None], columns] = upper_bounds_of_counts(count, fresh.num_bound, level)
        return bounds


def kept_size(sparsity: float, map_kind: str, num_pixels: int) -> int:
    """Number of pixels that can be non-zero in a map of this kind.

    Args:
        sparsity: Share or count of pixels kept of each noisy map.
        map_kind: Kind of the map.
        num_pixels: Pixels of a map.

    Raises:
        InputError: If ``sparsity`` does not fit maps of that size.
    """
    return num_pixels if map_kind in ("scaled", "quadratic") else top_k_size(sparsity, num_pixels)


def check_bound(name: str) -> Bound:
    """Check that a bound exists, and return its name.

    Args:
        name: Name of the bound.

    Raises:
        InputError: If there is no such bound.
    """
    if name not in get_args(Bound):
        raise InputError(f"bound must be one of {', '.join(get_args(Bound))}, got {name!r}")
    return cast(Bound, name)


def check_uncovered(counts: Sequence[int], size: int) -> None:
    """Refuse numbers of failing bounds that no certificate can have written.

    Args:
        counts: Numbers of bounds that may fail.
        size: K in pixels.

    Raises:
        InputError: If they are not different numbers in 0..K-1, increasing.
    """
    if not counts or list(counts) != sorted(set(counts)) or not 0 <= counts[0] <= counts[-1] < size:
        raise InputError(f"uncovered must be different numbers in 0..{size - 1}, increasing, got {list(counts)}")
