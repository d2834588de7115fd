"""The result of the pixel-level certificate: labels and radii of the pixels of one map."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Self

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_certattr.budgets import VoteBounds
from lit_certattr.certificates.capabilities import Masks
from lit_certattr.certificates.count_bounds import upper_bounds_of_counts
from lit_certattr.certificates.pixel_bounds import Correction, Fixed, check_correction, radius_table, vote_table
from lit_certattr.certificates.radii import as_stored, budget_of, round_down
from lit_certattr.certificates.result import Result, check_same_shape, invalid_flags, votes_of
from lit_certattr.certificates.votes import check_tied, check_votes, vote_flags
from lit_certattr.smoothing import top_k_size
from lit_certattr.statistics import (
    binomial_tail,
    smallest_sample_size,
    two_label_holm,
    two_label_test,
)
from lit_certattr.statistics.rounding import counted, exact, percent_at_least

ABSTAIN = -1
_LABELS = {1: "important", 0: "unimportant"}


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


def _ints(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


@attrs.frozen(eq=False, repr=False)
class PixelResult(Result):
    """Certified labels and radii of the pixels of one map, for ``K`` levels of sparsity.

    Attributes:
        labels: int8 ``[K, H, W]``: 1 important (in the top K), 0 unimportant, -1 abstain.
        radius: float32 ``[K, H, W]``: l2 radius, in pixel units, within which the label is kept; 0 without a label.
        votes: int32 ``[K, H, W]``: number of samples with the pixel in the top K.
        top_k: The levels as the user gave them, shares or pixel counts.
        sizes: Number of pixels in the top K at each level.
        tau: Vote level that the vote for every label is shown to reach.
        threshold: Votes needed for a label; ``num_samples + 1`` if no number is enough.
        level: Level of the Clopper-Pearson bound of each radius; with Holm's test the p-value at the threshold.
        correction: ``"bonferroni"``, or ``"holm"``: then every radius is the radius of tau.
        num_constant: Number of samples with a constant map; they vote for neither label.
        tied: Average share of the pixels that tie across the threshold of a noisy map, for each level.
    """

    kind: ClassVar[str] = "pixel"
    statistics: ClassVar[tuple[str, ...]] = ("votes",)
    majorities: ClassVar[bool] = True

    labels: Tensor
    radius: Tensor
    votes: Tensor
    top_k: tuple[float, ...] = attrs.field(converter=_floats)
    sizes: tuple[int, ...] = attrs.field(converter=_ints)
    tau: float
    threshold: int
    level: float
    num_constant: int
    tied: tuple[float, ...] = attrs.field(converter=_floats)
    correction: str = "bonferroni"

    def __attrs_post_init__(self) -> None:
        dtypes = (self.labels.dtype, self.radius.dtype, self.votes.dtype)
        if dtypes != (torch.int8, torch.float32, torch.int32) or self.labels.ndim != 3:
            raise ValueError("labels, radius and votes must be int8, float32 and int32 [K, H, W]")
        levels = {len(self.labels), len(self.top_k), len(self.sizes), len(self.tied)}
        if len({self.labels.shape, self.radius.shape, self.votes.shape}) > 1 or len(levels) > 1:
            raise ValueError("labels, radius, votes, top_k, sizes and tied must agree in shape")

    @property
    def num_pixels(self) -> int:
        """Pixels of the map."""
        return self.labels.shape[1] * self.labels.shape[2]

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Height and width of the maps."""
        return tuple(self.votes.shape[1:])

    def shares(self, radius: float = 0.0) -> dict[str, Tensor]:
        """Shares of the pixels at a radius, for each level.

        Args:
            radius: Budget in pixel l2 units; a label counts if its radius is larger.

        Returns:
            ``"one"``, ``"zero"``, ``"certified"`` (their sum) and ``"abstain"``, each float64 ``[K]``.
        """
        one, zero = (torch.from_numpy(shares[0]) for shares in self.shares_at([radius]))
        return {"one": one, "zero": zero, "certified": one + zero, "abstain": 1 - one - zero}

    def shares_at(self, radii: Sequence[float]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Shares of the pixels that are certified important, and unimportant, at several radii.

        Args:
            radii: Budgets in pixel l2 units; a label counts if its radius is larger.

        Returns:
            Both as float64 ``[r, K]``.
        """
        labels = self.labels.numpy()
        kept = self.radius.numpy() > as_stored(radii)[:, None, None, None]
        one, zero = ((kept & (labels == label)).sum((2, 3)) / self.num_pixels for label in (1, 0))
        return one, zero

    def labels_at(self, radius: float) -> Tensor:
        """Labels that no perturbation with an l2 norm up to ``radius`` changes, int8 ``[K, H, W]``; -1 elsewhere."""
        return torch.where(self.radius > radius, self.labels, ABSTAIN)

    def pixel_radii(self) -> Tensor:
        """The l2 radius of each label, float32 ``[K, H, W]``; 0 where there is no label."""
        return self.radius

    def majority(self) -> Tensor:
        """Whether more than half of the samples put a pixel in the top K, bool ``[K, H, W]``."""
        return 2 * self.votes > self.num_samples

    def smoothed_map(self) -> Tensor:
        """Votes of the smallest K as shares of the samples, float32 ``[H, W]``."""
        return self.votes[self.level_order()[-1]].float() / self.num_samples

    def certified_count(self, radius: float = 0.0) -> tuple[int, int]:
        """Number of certified labels at a radius, and number of pixels times levels."""
        return int((self.labels_at(radius) != ABSTAIN).sum()), self.labels.numel()

    def masks(self) -> Iterator[Masks]:
        """The votes of each level."""
        ties = str(self.sampling.get("ties", "index"))
        for size, votes, tied in zip(self.sizes, self.votes, self.tied, strict=True):
            yield Masks(ties, size, votes, tied)

    def _vote_level(self) -> float | Fixed:
        return Fixed(self.tau) if self.correction == "holm" else self.level

    def one_share(self, radius: float = 0.0) -> Tensor:
        r"""Certified-important pixels as a share of K, float64 ``[K]``, from 0 to less than :math:`1 / \tau`.

        A map has K pixels in its top K, but more than K pixels can be there in most of the noisy maps: with
        probabilities :math:`p_i` that add up to K, fewer than :math:`K / \tau` of them exceed :math:`\tau`. So the
        share may exceed 1, as it does on coarse maps, and is below 2 at :math:`\tau = 1/2`.

        Args:
            radius: Budget in pixel l2 units.
        """
        return self.share_of_sizes(self.shares(radius)["one"])

    def share_of_sizes(self, shares: Tensor) -> Tensor:
        """Shares of the pixels as shares of K, float64 ``[K]``.

        Args:
            shares: Shares of all pixels, float64 ``[K]``.
        """
        return shares * self.num_pixels / torch.tensor(self.sizes, dtype=torch.float64)

    def null_shares(self, radius: float = 0.0) -> dict[str, Tensor]:
        """Expected shares for independent random maps, for each level.

        Pure noise leaves a pixel out of the top K with probability ``1 - K``, so for small K it is "certified"
        unimportant. A share is informative only above this baseline.

        Args:
            radius: Budget in pixel l2 units.

        Returns:
            ``"one"``, ``"zero"`` and ``"certified"``, each float64 ``[K]``.
        """
        need = _needed(self.num_samples, self.threshold, self._vote_level(), self.change_budget.votes, radius)
        one, zero = (np.array(shares) for shares in _null(need, self.num_samples, self.sizes, self.num_pixels))
        shares = {"one": one, "zero": zero, "certified": one + zero}
        return {key: torch.from_numpy(value) for key, value in shares.items()}

    def power(self, vote: float) -> float:
        """Probability that a pixel whose true vote is ``vote`` gets a label with this number of samples.

        Args:
            vote: Probability in [0, 1].
        """
        return float(binomial_tail(self.threshold, self.num_samples, vote))

    def power_note(self) -> str:
        """One line about the power of the test: an abstention need not mean that the map is unstable."""
        if self.threshold > self.num_samples:
            return f"No vote of {self.num_samples} is enough for a label."
        power = min(self.power(0.95), float(np.nextafter(1, 0)))  # a probability below 1, also where the float is not
        return (
            f"A label needs {self.threshold} of {self.num_samples} votes; a pixel whose true vote is 95 % "
            f"gets one with probability {percent_at_least(power)}%."
        )

    def composition(self) -> Tensor:
        """Degree map over the levels, int64 ``[H, W]``: ``j`` if certified important down to the j-th largest K.

        0 where the pixel is certified important at no level. All levels share one alpha, so the whole map
        holds at once.
        """
        degree = torch.zeros(self.labels.shape[1:], dtype=torch.int64)
        for j, level in enumerate(np.argsort([-size for size in self.sizes], kind="stable"), start=1):
            degree[self.labels[level] == 1] = j
        return degree

    def level_order(self) -> list[int]:
        """Indices of the levels, largest K first."""
        return sorted(range(len(self.sizes)), key=lambda level: -self.sizes[level])

    def certified_classes(self) -> Tensor:
        """The certified map over all levels: one class for each pixel.

        Returns:
            int64 ``[H, W]``: ``j`` in 0..M-1 for pixels that are certified important down to the (j+1)-th largest of
            the M levels; for the others M if certified unimportant at every level, M + 1 if at some, M + 2 if the
            certificate abstains at every level.
        """
        zeros, levels = (self.labels == 0).sum(0), len(self.sizes)
        classes = torch.full(self.labels.shape[1:], levels + 2)
        classes[zeros > 0] = levels + 1
        classes[zeros == levels] = levels
        degree = self.composition()
        return torch.where(degree > 0, degree - 1, classes)

    def shown_radius(self) -> npt.NDArray[np.float64]:
        """Radius of the label that :meth:`certified_classes` shows, float64 ``[H, W]``; NaN where it abstains.

        An important pixel has the radius at the smallest K that holds, an unimportant one at the largest.
        """
        shown = torch.full(self.labels.shape[1:], torch.nan, dtype=torch.float64)
        order = self.level_order()
        for level in reversed(order):
            shown = torch.where(self.labels[level] == 0, self.radius[level].double(), shown)
        for level in order:
            shown = torch.where(self.labels[level] == 1, self.radius[level].double(), shown)
        values: npt.NDArray[np.float64] = shown.numpy()
        return values

    def share_curves(self, label: int, radii: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Certified shares at many radii.

        Args:
            label: 1 for important pixels, as shares of K, which may exceed 1; 0 for unimportant ones, of all pixels.
            radii: Budgets in pixel l2 units, ``[r]``.

        Returns:
            Shares ``[r, K]``.
        """
        curves = []
        for level, size in enumerate(self.sizes):
            kept = np.sort(self.radius[level][self.labels[level] == label].numpy())
            count = kept.size - np.searchsorted(kept, radii, side="right")
            curves.append(count / (size if label else self.num_pixels))
        return np.stack(curves, axis=1)

    def null_curves(self, label: int, radii: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Expected shares for independent random maps, in the units of :meth:`share_curves`.

        Args:
            label: 1 for important pixels, 0 for unimportant ones.
            radii: Budgets in pixel l2 units, ``[r]``.

        Returns:
            Shares ``[r, K]``.
        """
        key = "one" if label else "zero"
        scale = self.num_pixels / np.array(self.sizes) if label else 1.0
        shares: npt.NDArray[np.float64] = np.stack([self.null_shares(radius)[key].numpy() for radius in radii])
        return shares * scale

    def statement(self, radius: float | None = None) -> str:
        """What is certified, in plain words.

        Args:
            radius: Budget in pixel l2 units at which labels are counted; ``None`` counts every label, each at its own
                radius.

        Raises:
            InputError: If the radius is negative or not a finite number.
        """
        budget = budget_of(radius)
        shares = self.shares(budget or 0.0)
        levels = ", ".join(
            f"{percent_at_least(float(one))}% certified important and {percent_at_least(float(zero))}% certified "
            f"unimportant at K = {size} pixels ({_percent(size, self.num_pixels)})"
            for one, zero, size in zip(shares["one"], shares["zero"], self.sizes, strict=True)
        )
        within = "its certified radius (see the radius map)" if budget is None else exact(budget)
        if not bool(shares["certified"].any()):
            at = "any positive radius" if budget is None else f"radius {within}"
            found = f"nothing is certified at {at}: all pixels abstain at every level of K"
        else:
            found = f"{levels} of the pixels"
        return (
            f"{self._surely()}, for all {self.num_pixels} pixels and "
            f"{counted(len(self.sizes), 'level of K')} at once: no perturbation of the image with "
            f"{self.change_budget.measure} {self.change_budget.limit} {within} "
            f"can change the majority vote of a certified pixel, i.e. whether it belongs to the top K of the "
            f"attribution map under {self.noise_in_words()}.{self._lengths_in_words(budget, majorities=True)} "
            f"Here {found}. "
            f"Nothing is claimed about the other pixels or about the predicted class."
        )

    @classmethod
    def from_votes(
        cls,
        votes: Tensor,
        num_constant: int,
        tied: Sequence[float],
        top_k: Sequence[float],
        tau: float,
        correction: Correction,
        record: dict[str, Any],
    ) -> Self:
        """Labels and radii from votes; the only place where they are computed.

        Args:
            votes: int32 ``[K, H, W]``, as in :class:`PixelResult`.
            num_constant: Number of samples with a constant map.
            tied: Share of tied pixels of each level.
            top_k: Levels of sparsity.
            tau: Vote level of the labels.
            correction: How the pixels share alpha.
            record: The fields that every result has; a flag is added if no label is possible.
        """
        n, pixels = record["num_samples"], votes[0].numel()
        alpha = record["alpha"] * record["alpha_share"] - record["alpha_slack"]
        zeros = n - num_constant - votes
        winner = torch.where(votes >= zeros, votes, zeros)
        claimed: float | Fixed
        if correction == "holm":
            threshold = two_label_holm(np.bincount(winner.numpy().ravel(), minlength=n + 1), n, tau, alpha)
            level, claimed = float(binomial_tail(threshold, n, tau)), Fixed(tau)
        else:
            threshold, level = two_label_test(n, tau, alpha / votes.numel())
            claimed = level
        needed = smallest_sample_size(tau, alpha / votes.numel())
        if n < needed:
            record["flags"] = [*record["flags"], f"{n} samples cannot give a label to any pixel; {needed} can"]
        radii = round_down(radius_table(n, threshold, claimed, votes_of(record)))
        labels = torch.full(votes.shape, ABSTAIN, dtype=torch.int8)
        labels[votes >= threshold] = 1
        labels[zeros >= threshold] = 0
        return cls(
            labels=labels,
            radius=radii[winner],  # the table is 0 below the threshold
            votes=votes,
            top_k=top_k,
            sizes=[top_k_size(size, pixels) for size in top_k],
            tau=tau,
            threshold=threshold,
            level=level,
            num_constant=num_constant,
            tied=tied,
            correction=correction,
            **record,
        )

    def rederive(self) -> Self:
        """Derive the result again from the votes.

        Raises:
            InputError: If no masks can have given these votes.
        """
        ties = self.sampling.get("ties", "index")
        for votes, top_k in zip(self.votes, self.top_k, strict=True):
            size = top_k_size(top_k, self.num_pixels)
            check_votes(votes, size, ties, self.num_samples, self.num_constant, self.num_invalid)
        for tied in self.tied:
            check_tied(tied, self.num_samples, self.num_pixels, self.num_constant)
        record = self._record()
        record["flags"] = invalid_flags(self.num_invalid, self.num_samples)
        record["flags"] += vote_flags(self.num_samples, self.num_constant, max(self.tied), ties, self.num_invalid)
        correction = check_correction(self.correction)
        return self.from_votes(self.votes, self.num_constant, self.tied, self.top_k, self.tau, correction, record)

    def _label_counts(self) -> dict[int, Tensor]:
        """Votes for each label."""
        return {1: self.votes, 0: self.num_samples - self.num_constant - self.votes}

    def claims(self) -> dict[str, Tensor]:
        """The proved lower bound of the vote for each label, float64 ``[K, H, W]`` for each of the two labels."""
        shown = torch.from_numpy(vote_table(self.num_samples, self.threshold, self._vote_level()))
        return {
            f"vote for {_LABELS[label]}": torch.where(self.labels == label, shown[counts], 0.0)
            for label, counts in self._label_counts().items()
        }

    def upper_bounds(self, fresh: Self, level: float) -> dict[str, Tensor]:
        """Exact upper bounds, from independent noise, of the votes in :meth:`claims`.

        Args:
            fresh: Result of the same certificate for the same image, from independent noise.
            level: Probability that a single bound is below its vote.

        Raises:
            InputError: If the maps have another shape.
        """
        check_same_shape(self.votes, fresh.votes)
        return {
            f"vote for {_LABELS[label]}": upper_bounds_of_counts(counts, fresh.num_samples, level)
            for label, counts in fresh._label_counts().items()
        }


def _percent(size: int, num_pixels: int) -> str:
    return f"{100 * size / num_pixels:.3g} %"


@lru_cache(maxsize=64)  # the same for all images of a run
def _needed(num_samples: int, threshold: int, level: float | Fixed, bounds: VoteBounds, radius: float) -> int:
    """The smallest number of votes that gives a label whose radius is larger."""
    counts = np.arange(num_samples + 1)
    enough = np.flatnonzero((counts >= threshold) & (radius_table(num_samples, threshold, level, bounds) > radius))
    return int(enough[0]) if enough.size else num_samples + 1


@lru_cache(maxsize=4096)  # likewise
def _null(need: int, num_samples: int, sizes: tuple[int, ...], num_pixels: int) -> tuple[tuple[float, ...], ...]:
    """Probabilities that noise puts a pixel into the top K often enough, and out of it, for each level."""
    share = np.array(sizes) / num_pixels
    tails = binomial_tail(need, num_samples, share), binomial_tail(need, num_samples, 1 - share)
    return tuple(tuple(np.asarray(tail, np.float64).tolist()) for tail in tails)
