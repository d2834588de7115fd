"""Base of the results of top-K overlap certificates, for every theorem."""

from abc import abstractmethod
from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_certattr.certificates.radii import as_stored, budget_of
from lit_certattr.certificates.result import Result
from lit_certattr.errors import InputError
from lit_certattr.statistics import exact_share
from lit_certattr.statistics.rounding import at_least, exact


@attrs.frozen(eq=False, repr=False)
class OverlapResult(Result):
    """Certified overlap of the top-K sets of one map, at every radius.

    Attributes:
        displacement: float32 ``[K]``, increasing: radii below which at most 0, 1, 2, ... pixels are displaced, in the
            norm of :attr:`~Result.radius_norm`.
        inside: bool ``[H, W]``: the certified top-K set S.
        top_k: K as the user gave it, a share or a pixel count.
        size: K in pixels.
    """

    displacement: Tensor
    inside: Tensor
    top_k: float
    size: int

    def __attrs_post_init__(self) -> None:
        if (self.displacement.dtype, self.inside.dtype) != (torch.float32, torch.bool):
            raise ValueError("displacement and inside must be float32 and bool")
        if self.displacement.shape != (self.size,) or self.inside.ndim != 2:
            raise ValueError("displacement must be [K], inside [H, W]")

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Height and width of the maps."""
        return tuple(self.inside.shape)

    def overlap(self, radius: float) -> int:
        """Number of the K pixels that no perturbation with a norm up to ``radius`` can displace, in 0..K.

        Args:
            radius: Budget in pixel units, in the norm of the result.

        Raises:
            InputError: If the radius is negative.
        """
        return int(self._overlaps([radius])[0])

    def certified_count(self, radius: float = 0.0) -> tuple[int, int]:
        """The certified overlap at a radius, and K."""
        return self.overlap(radius), self.size

    def curve(self, radii: Sequence[float] | Tensor) -> Tensor:
        """Certified overlap at each radius as a share of K, float64 in [0, 1]."""
        return torch.from_numpy(self._overlaps(radii) / self.size)

    def _overlaps(self, radii: Sequence[float] | Tensor) -> npt.NDArray[np.int64]:
        """:meth:`overlap` at each radius."""
        if negative := [float(radius) for radius in radii if radius < 0]:
            raise InputError(f"radius must not be negative, got {negative[0]}")
        kept: npt.NDArray[np.int64] = (self.displacement.numpy() > as_stored(radii)[:, None]).sum(1)
        return kept

    def max_radius(self, share: float) -> float:
        """Supremum of the radii at which at least ``share`` of K is kept; 0 if there is none.

        Args:
            share: Share of K, in (0, 1].

        Raises:
            InputError: If the share is out of range.
        """
        needed = -exact_share(-share, self.size)  # rounded up, without floating-point surprises
        if not 1 <= needed <= self.size:
            raise InputError(f"share must lie in (0, 1], got {share}")
        return max(0.0, float(self.displacement[self.size - needed]))

    @abstractmethod
    def longest_radius(self) -> float:
        """A radius that hardly any image of the run can exceed: the end of the x axis in figures of several images."""

    @abstractmethod
    def map_in_words(self) -> str:
        """Description of the smoothed map, to follow the words "the smoothed map is"."""

    def statement(self, radius: float | None = None) -> str:
        """What is certified, in plain words.

        Args:
            radius: Budget in pixel units, in the norm of the result, for which the statement gives the overlap;
                ``None`` gives the radius below which half of K is kept, or as many pixels as can be certified.

        Raises:
            InputError: If the radius is negative or not a finite number.
        """
        budget = budget_of(radius)
        count = min(-(-self.size // 2), self.overlap(0)) if budget is None else self.overlap(budget)
        if budget is not None:
            within = f"at most {exact(budget)}"
        else:  # half of K, or as many pixels as there are
            within = f"below {at_least(float(self.displacement[self.size - count]))}" if count else ""
        kept = f"of the K = {self.size} most important pixels of this smoothed map"
        if within:
            what = (
                f"{self._surely()}: for every perturbation of the image with {self.change_budget.measure} {within}, at "
                f"least {count} {kept} are among the K most important pixels of the smoothed map of the perturbed "
                "image."
            )
        else:
            what = (
                f"Nothing is certified at any positive {self.change_budget.radius_word}: the samples do not "
                "show that even "
                f"one {kept} is among the K most important pixels of the smoothed map of every slightly perturbed "
                "image."
            )
        return (
            f"{what}{'' if count or not within else ' Nothing is certified at this radius.'} The smoothed map is "
            f"{self.map_in_words()}; the statement holds for all radii at once.{self._lengths_in_words(budget)} "
            "A map of the perturbed image that is "
            f"itself estimated from samples, and the predicted class, are not covered.{self._classes()}"
        )

    def _classes(self) -> str:
        rule = self.sampling.get("class_rule")
        return "" if rule is None else f" The explained class is {rule}: the smoothed map is a mixture of classes."
