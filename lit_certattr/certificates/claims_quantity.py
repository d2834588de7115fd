"""What attacks on claims share, whatever is certified of the number: a mean, or a percentile."""

from collections.abc import Iterator
from typing import Generic, Self, TypeVar

from typing_extensions import override

from lit_certattr.certificates.claim import Claim
from lit_certattr.certificates.claims_result import ClaimsResult
from lit_certattr.certificates.quantity import Quantity
from lit_certattr.numbers import Number
from lit_certattr.settings.revived import UnknownClass, revived

ResultT = TypeVar("ResultT", bound=ClaimsResult)
"""Kind of the result."""


class ClaimsQuantity(Quantity, Generic[ResultT]):
    """One end of the interval of a claim: what is left of it, at least.

    Args:
        certificate: Name of the certificate.
        result: Its result.
        level: Index of the claim.
        number: The number that is attacked.
        upwards: Whether the upper end is attacked.
    """

    place = 4

    def __init__(self, certificate: str, result: ResultT, level: int, number: Number, upwards: bool) -> None:
        super().__init__(certificate)
        self.result, self.level, self._number, self.upwards = result, level, number, upwards

    @classmethod
    def of(cls, result: ResultT, certificate: str) -> Iterator[Self]:
        """Both ends of every claim whose number is known.

        Args:
            result: A result with its record.
            certificate: Name of its certificate.
        """
        for level, claim in claims_of(result):
            for upwards in (False, True):
                yield cls(certificate, result, level, claim.number, upwards)

    @property
    def name(self) -> str:  # type: ignore[override]
        """Which of the two ends."""
        return self.names[self.upwards]

    @property
    def claim(self) -> str:  # type: ignore[override]
        """Name of the claim."""
        return self.result.names[self.level]

    @property
    @override
    def attack(self) -> str:
        return f"{self.certificate}, {self.claim}, {'up' if self.upwards else 'down'}"

    @property
    @override
    def title(self) -> str:
        return f"{self.claim}, {'from above' if self.upwards else 'from below'}"

    @override
    def reach(self) -> float:
        """Where half of what is certified at the clean image is left."""
        half, low, high = self.certified(0.0) / 2, 0.0, 20 * self.result.scale
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.certified(middle) > half > 0 else (low, middle)
        return low


def claims_of(result: ClaimsResult) -> Iterator[tuple[int, Claim]]:
    """The claims of a result that its record describes, each with its index; not those of unknown classes.

    Their masks are those of the result, wherever the mask files of the user are now.

    Args:
        result: A result with its record.
    """
    for level, plain in enumerate(result.sampling.get("claims", ())):
        try:
            claim = Claim(**revived(plain))
        except UnknownClass:  # a number that nobody has imported here
            continue
        yield level, claim.with_masks(result.masks_of(level))
