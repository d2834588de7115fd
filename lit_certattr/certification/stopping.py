r"""Stopping early: an image gets the samples it needs, and every certificate stays valid.

A run that may stop early looks at its certificates when the number of samples reaches certain sizes, each twice the
one before, and at the last, ``num_samples``. With L looks, each certificate is computed at the last look with alpha / 2
and at each of the others with alpha / 2(L - 1) (:func:`~lit_certattr.statistics.look_share`): alpha in all.

Theorem. Whatever rule decides at a look whether to continue, the probability that anything the released result says
is false is at most alpha.

Proof. Sizes and shares are fixed before sampling, so the result of each look is an ordinary certificate of a fixed
number of samples: what it says is false with a probability of at most its share. With probability at least 1 - alpha
the results of *all* L looks are true. The released result is one of them, whichever the rule chose, and whatever it
looked at: the results, a clock, or the user's patience. ∎

So any rule is valid: it decides how many certified pixels a stop costs, never whether the certificates hold. What is
*not* valid is to compute the certificate at full alpha again and again until the result pleases.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from typing_extensions import override

from lit_certattr.certificates import Certificate, Result
from lit_certattr.certificates.capabilities import CountsPixels, KeepsOverlap
from lit_certattr.errors import InputError
from lit_certattr.settings import Settings
from lit_certattr.settings.discovery import names_of

LOOK_SHARES = "half of alpha for the last look, the rest in equal parts"
"""How the looks share alpha, as a run records it. Runs that record nothing gave every look the same share."""


class Look(NamedTuple):
    """The state of an image at a look.

    Attributes:
        num_samples: Number of samples drawn so far.
        seconds: Time since the first sample of this image.
        results: The certificates at this look, by name.
    """

    num_samples: int
    seconds: float
    results: Mapping[str, Result]


class StoppingRule(Settings, ABC):
    """Decides at each look whether an image has had enough samples.

    A rule of your own implements :meth:`stop`. It may use everything that the looks hold; the statements stay valid
    (proof: :mod:`lit_certattr.certification.stopping`). To keep a run repeatable, do not use clocks or random numbers.
    """

    repeatable: ClassVar[bool] = True
    """Whether the same samples always stop at the same look; ``False`` for a rule that looks at a clock."""

    @abstractmethod
    def stop(self, looks: Sequence[Look]) -> bool:
        """Whether to stop.

        Args:
            looks: The looks at this image so far, the newest last; at least one.
        """

    def check(self, certificates: Mapping[str, Certificate]) -> None:
        """Refuse certificates that this rule cannot work with.

        Args:
            certificates: The certificates by name.

        Raises:
            InputError: If it cannot; the message says why.
        """


class _CountingRule(StoppingRule):
    """Decides by the number of pixels certified at a radius; ignores certificates that count no pixels."""

    def __init__(self, radius: float) -> None:
        if not (radius >= 0 and math.isfinite(radius)):
            raise InputError(f"radius must be a number of at least 0, got {radius}")
        self.radius = radius

    @override
    def check(self, certificates: Mapping[str, Certificate]) -> None:
        if not any(_counts(type(certificate)) for certificate in certificates.values()):
            known = names_of(Certificate, _counts)
            raise InputError(f"{type(self).__name__} needs a certificate that counts pixels: {known}")

    def counts(self, look: Look) -> dict[str, tuple[int, int]]:
        """Number of certified pixels, and of pixels in all, for each certificate that counts them."""
        return {
            name: result.certified_count(self.radius)
            for name, result in look.results.items()
            if isinstance(result, CountsPixels)
        }


def _counts(certificate: type[Certificate]) -> bool:
    return issubclass(certificate.result, CountsPixels)


def _keeps_overlap(certificate: type[Certificate]) -> bool:
    return issubclass(certificate.result, KeepsOverlap)


class AllDecided(_CountingRule):
    """Stops when a share of all pixels is certified, by every certificate that counts pixels.

    With ``share: 1`` it waits for the last pixel, and pixels whose vote is near the threshold are never decided: it
    hardly ever stops. A smaller share is a target: 0.8 stops as soon as 80 % of the pixels are certified.

    Args:
        share: Share in (0, 1] of the pixels (over all levels; for an overlap: of K) at which sampling stops.
        radius: Only pixels certified at this radius count (pixel units, norm of the result).

    Raises:
        InputError: If a setting is out of range.
    """

    def __init__(self, share: float = 1.0, radius: float = 0.0) -> None:
        if not 0 < share <= 1:
            raise InputError(f"share must lie in (0, 1], got {share}")
        super().__init__(radius)
        self.share = share

    @override
    def stop(self, looks: Sequence[Look]) -> bool:
        return all(certified >= self.share * total for certified, total in self.counts(looks[-1]).values())


class Futility(_CountingRule):
    """Stops when more samples hardly help: doubling their number has certified few new pixels.

    Args:
        gain: Stop when the number of certified pixels has grown by less than this share since the last look, for every
            certificate that counts pixels; 0.05 is 5 %. While nothing is certified, sampling continues.
        radius: Only pixels certified at this radius count (pixel units, norm of the result). At 0 a pixel counts as
            soon as it is certified at all, although its radius would still grow with more samples; give the radius
            that matters to you.

    Raises:
        InputError: If a setting is out of range.
    """

    def __init__(self, gain: float = 0.05, radius: float = 0.0) -> None:
        if not 0 < gain <= 1:
            raise InputError(f"gain must lie in (0, 1], got {gain}")
        super().__init__(radius)
        self.gain = gain

    @override
    def stop(self, looks: Sequence[Look]) -> bool:
        if len(looks) < 2:
            return False
        before = self.counts(looks[-2])
        pairs = [(before[name][0], new) for name, (new, _) in self.counts(looks[-1]).items()]
        return all(old and new < (1 + self.gain) * old for old, new in pairs)


class OverlapStable(_CountingRule):
    """Stops when every certified top-K overlap has settled since the last look.

    Args:
        tolerance: Largest change, as a share of K, that counts as no change.
        radius: Radius at which the overlap is taken (pixel units, norm of the result). While the overlap is 0 there,
            sampling continues.

    Raises:
        InputError: If a setting is out of range, or no certificate gives an overlap.
    """

    def __init__(self, tolerance: float = 0.02, radius: float = 0.0) -> None:
        if not 0 <= tolerance < 1:
            raise InputError(f"tolerance must lie in [0, 1), got {tolerance}")
        super().__init__(radius)
        self.tolerance = tolerance

    @override
    def check(self, certificates: Mapping[str, Certificate]) -> None:
        if not any(_keeps_overlap(type(certificate)) for certificate in certificates.values()):
            known = names_of(Certificate, _keeps_overlap)
            raise InputError(f"OverlapStable needs a {known}; use Futility for certificates without an overlap")

    @override
    def stop(self, looks: Sequence[Look]) -> bool:
        if len(looks) < 2:
            return False
        before, now = self.counts(looks[-2]), self.counts(looks[-1])
        overlaps = [name for name, result in looks[-1].results.items() if isinstance(result, KeepsOverlap)]
        return all(now[name][0] and self._settled(before[name][0], *now[name]) for name in overlaps)

    def _settled(self, old: int, new: int, size: int) -> bool:
        return abs(new - old) <= self.tolerance * size


class Seconds(StoppingRule):
    """Stops at the last look that is expected to be reached within a time limit.

    The result is as valid as any other, but where it stops depends on the machine: the same run on another machine, or
    resumed, may stop at other looks. All other rules decide by the samples alone.

    Args:
        limit: Seconds per image. The first look is always reached, however long it takes.

    Raises:
        InputError: If the limit is not positive.
    """

    repeatable = False

    def __init__(self, limit: float) -> None:
        if not (limit > 0 and math.isfinite(limit)):
            raise InputError(f"limit must be a positive number of seconds, got {limit}")
        self.limit = limit

    @override
    def check(self, certificates: Mapping[str, Certificate]) -> None:
        if any(certificate.sync_on_compute for certificate in certificates.values()):
            raise InputError(
                "Seconds cannot stop processes that share an image: their clocks may differ; use another rule"
            )

    @override
    def stop(self, looks: Sequence[Look]) -> bool:
        return 2 * looks[-1].seconds > self.limit  # the next look needs as many samples again
