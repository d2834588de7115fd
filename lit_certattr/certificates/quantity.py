r"""The numbers that a certificate bounds from below, and how a perturbed image bounds them from above.

A certificate says of a number, such as how many pixels stay important, that it is at least c(R) for all perturbations
up to length R. One perturbation of that length shows that it is at most what is left there. What is left is again known
from samples only, so it comes as an estimate and as an upper confidence bound: the certificate is contradicted where
c(R) is above the *bound*.

A kind that can be attacked registers its quantities beside its result (:func:`quantities_of`).

*Error.* The perturbed image is fixed before its noise is drawn. Let ``error`` be the level of one verdict: the
probability with which its upper bound is too small. How a quantity keeps to it is said beside it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from lit_certattr.attacks import SmoothedObjective
from lit_certattr.certificates.discovery import subclasses
from lit_certattr.certificates.result import Result


class Evaluation(NamedTuple):
    """What fresh noise shows of one perturbed image.

    Attributes:
        results: Its certificates by name; what matters are the counts behind them.
        clean: Those of the clean image, from noise that is independent, where the certificates are paired.
        products: For each paired certificate (:attr:`Result.paired`) the inner products of the normalised maps of both
            images, sample by sample, float64 ``[n]``; their mean is that of the two smoothed maps.
        halves: ``results`` and ``clean`` of the first half of the samples, and of the second: who picks the worst of
            many images by the one may estimate what is left there by the other.
    """

    results: Mapping[str, Result]
    clean: Mapping[str, Result]
    products: Mapping[str, Tensor]
    halves: Sequence[tuple[Mapping[str, Result], Mapping[str, Result]]] = ()


class Verdict(NamedTuple):
    """What is left of a quantity at one perturbed image. Both tensors are float64 and of one shape.

    For pixels each is a 0/1 map ``[H, W]``, since different perturbations may break different pixels; for other
    quantities a number. What is left under several images, the clean one among them, is the least, element by element.

    Attributes:
        kept: As the samples show it.
        upper: At most, with the stated confidence.
    """

    kept: Tensor
    upper: Tensor


class Quantity(ABC):
    """One number that a certificate bounds.

    Attributes:
        certificate: Name of the certificate.
        kind: Kind of its result.
        name: What is counted, e.g. ``"important"``; one of :attr:`names`.
        level: Index of the level of K; 0 where there is one.
        top_k: K as it was asked for; ``None`` where there is none.
        scale: What a share is a share of: K, the number of pixels, or 1.
        attack: Name of the attack that is made for it; quantities may share one.
        title: Of its panel in a figure.
        unit: What a share is, for the axis of that panel.
    """

    names: ClassVar[tuple[str, ...]] = ()
    """Names that quantities of this class have."""
    per_pixel: ClassVar[bool] = False
    """Whether each pixel has a claim of its own."""
    place: ClassVar[int] = 9
    """Order of the panels; equal ones stand as the certificates do."""

    kind: str
    name: str
    level: int = 0
    top_k: float | None = None
    scale: int = 1

    def __init__(self, certificate: str) -> None:
        self.certificate = certificate

    @property
    def attack(self) -> str:
        """Name of the attack that is made for this quantity."""
        return self.certificate

    @property
    def title(self) -> str:
        """Title of its panel in a figure."""
        return self.name.capitalize()

    @property
    def unit(self) -> str:
        """Unit of a share, for the axis of its panel."""
        return self.name

    @abstractmethod
    def certified(self, radius: float) -> float:
        """The certified number for all perturbations of at most this l2 length: a count or a cosine."""

    @abstractmethod
    def reach(self) -> float:
        """Largest l2 length at which something is certified, for a cosine 0.5."""

    @abstractmethod
    def objective(self, device: torch.device) -> SmoothedObjective:
        """What an attack on it follows."""

    @abstractmethod
    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        """What tells perturbed images apart, smaller where more is lost: vote shares ``[H, W]``, or a number.

        Args:
            results: Certificates of samples of a perturbed image.
            clean: Those of the clean image.
        """

    def left(self, measured: Tensor) -> float:
        """The number that remains, from :meth:`measure`."""
        return float(measured)

    def least(self, evaluations: Sequence[Evaluation]) -> float:
        """What is left under the worst of several perturbed images; for pixels each under its own worst one.

        The first half of the samples picks the worst image, the second half estimates what is left there. The least of
        many estimates would be too small: noise picks it.
        """
        first, second = (
            torch.stack([self.measure(*one.halves[half]).double() for one in evaluations]) for half in (0, 1)
        )
        return self.left(second.gather(0, first.argmin(0, keepdim=True))[0])

    @abstractmethod
    def judge(self, evaluation: Evaluation, error: float) -> Verdict:
        """What is left at a perturbed image.

        Args:
            evaluation: Fresh samples of that image.
            error: Probability with which ``upper`` may be too small.
        """

    def contradicted(self, verdict: Verdict, length: float) -> int:
        """How many claims about perturbations of this length the verdict contradicts."""
        return int(self.certified(length) > float(verdict.upper.sum()))

    def share(self, number: float) -> float:
        """A number of this quantity as a share."""
        return number / self.scale


def number(value: float) -> Tensor:
    """A number as a float64 scalar.

    Args:
        value: The number.
    """
    return torch.tensor(float(value), dtype=torch.float64)


@singledispatch
def quantities_of(result: Any, certificate: str) -> Iterator[Quantity]:
    """The quantities of a result; a kind registers its own with ``@quantities_of.register``.

    Args:
        result: The result of one image.
        certificate: Name of the certificate.

    Yields:
        None for a kind that has registered nothing.
    """
    yield from ()


def pixelwise_names() -> frozenset[str]:
    """Names of the quantities whose pixels have a claim each."""
    return frozenset(name for kind in subclasses(Quantity) if kind.per_pixel for name in kind.names)
