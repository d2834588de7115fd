r"""How far a change of the image can move a vote, the mean over the noise of a function into [0, 1].

Let :math:`h(x) = E f(\text{noisy copy of } x)` for one fixed function f into [0, 1]. A lower confidence bound
:math:`h(x) \ge L` says something of all changed images at once: each law has an exact worst case, the Neyman-Pearson
bound. An upper bound follows from the same one for :math:`1 - f`.
"""

from abc import ABC, abstractmethod

import attrs
import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from typing_extensions import override

from lit_certattr.statistics import shift

Array = npt.NDArray[np.float64]
_ROUNDING = 1e-15  # several times what the quantile function and the product may be off by


class VoteBounds(ABC):
    """The least and the largest vote at a changed image, by the length of the change."""

    @abstractmethod
    def lower(self, vote: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
        """The least vote under every change up to a length.

        Args:
            vote: Lower bounds of votes at the image, in [0, 1].
            radii: Lengths of at least 0; broadcast against ``vote``.
        """

    def upper(self, vote: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
        """The largest vote under every change up to a length.

        Args:
            vote: Upper bounds of votes at the image, in [0, 1].
            radii: Lengths of at least 0; broadcast against ``vote``.
        """
        return np.asarray(1 - self.lower(1 - np.asarray(vote, np.float64), radii))

    @abstractmethod
    def reach(self, vote: float, level: float) -> float:
        """About the largest length at which a vote stays at a level: the inverse of :meth:`lower`, before rounding.

        Args:
            vote: Lower bound of a vote at the image, in [0, 1].
            level: Vote in [0, 1]; at most ``vote``, else the result is not positive.
        """

    def reach_up(self, vote: float, level: float) -> float:
        """About the largest length at which a vote stays below a level: the inverse of :meth:`upper`, before rounding.

        Args:
            vote: Upper bound of a vote at the image, in [0, 1].
            level: Vote in [0, 1]; at least ``vote``, else the result is not positive.
        """
        return self.reach(1 - vote, 1 - level)

    def radius(self, votes: npt.ArrayLike) -> Array:
        """Lengths below which votes stay above one half; 0 for those that are not.

        Args:
            votes: Lower bounds of votes at the image, in [0, 1], any shape.
        """
        given = np.asarray(votes, np.float64)
        found = np.array([max(0.0, self.reach(float(vote), 0.5)) for vote in given.ravel()])
        slack = 1e-13
        # The inverse is rounded: step back until the bound itself is above one half.
        while (beyond := (found > 0) & ~(self.lower(given.ravel(), found) > 0.5)).any():
            found = np.where(beyond, found * (1 - slack), found)
            slack = min(2 * slack, 1.0)
        return found.reshape(given.shape)


@attrs.frozen
class GaussianVotes(VoteBounds):
    r"""Votes under noise whose law a change shifts like a Gaussian: :math:`\Phi(\Phi^{-1}(L) - r / s)`.

    Attributes:
        scale: Standard deviation s of the noise along the first axis of the budget.

    Reference: Neyman & Pearson (1933); Cohen et al. (2019).
    """

    scale: float

    @override
    def lower(self, vote: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
        return shift(vote, -self._lengths(radii))

    @override
    def upper(self, vote: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
        return shift(vote, self._lengths(radii))

    def _lengths(self, radii: npt.ArrayLike) -> Array:
        lengths: Array = np.asarray(radii, np.float64) / self.scale * (1 + 1e-15)
        return lengths

    @override
    def reach(self, vote: float, level: float) -> float:
        return self.scale * float(ndtri(vote) - ndtri(level))

    @override
    def reach_up(self, vote: float, level: float) -> float:
        return self.scale * float(ndtri(level) - ndtri(vote))

    @override
    def radius(self, votes: npt.ArrayLike) -> Array:
        quantile = ndtri(np.clip(votes, 0.5, np.nextafter(1, 0)))
        # ndtr(ndtri(p)) may exceed p in the last bits: a few of them less keep the radius on the safe side.
        return np.asarray(self.scale * np.maximum(quantile - _ROUNDING * (1 + quantile), 0.0))
