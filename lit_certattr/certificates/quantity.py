r"""The numbers that a certificate bounds from below, and how a perturbed image bounds them from above.

A certificate says of a number, such as the number of pixels that stay important, that it is at least c(R) for all
perturbations up to length R. One perturbation of that length shows that it is at most what is left there. What is left
is again known from samples only, so it is given as an estimate and as an upper confidence bound: the certificate is
contradicted if c(R) is above the *bound*.

A kind that can be attacked registers its quantities beside its result (:func:`quantities_of`).

*Error.* The perturbed image is fixed before its noise is drawn. Let ``error`` be the level of one verdict: the
probability that its upper bound is too small. How a quantity guarantees it is proved beside the quantity.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from lit_certattr.attacks import SmoothedObjective
from lit_certattr.certificates.result import Result
from lit_certattr.settings.discovery import subclasses


class Evaluation(NamedTuple):
    """Fresh samples of one perturbed image.

    Attributes:
        results: Its certificates by name; their counts are used.
        clean: Certificates of the clean image, from independent noise, if the certificates are paired.
        products: For each paired certificate (:attr:`Result.paired`) the inner products of the normalised maps of both
            images, sample by sample, float64 ``[n]``; their expectation is the inner product of the smoothed maps.
        halves: ``results`` and ``clean`` of the first half of the samples, and of the second half: one half picks the
            worst of many images, the other half estimates what is left there.
    """

    results: Mapping[str, Result]
    clean: Mapping[str, Result]
    products: Mapping[str, Tensor]
    halves: Sequence[tuple[Mapping[str, Result], Mapping[str, Result]]] = ()


class Verdict(NamedTuple):
    """What is left of a quantity at one perturbed image. Both tensors are float64 and have the same shape.

    For pixels each is a 0/1 map ``[H, W]``, since different perturbations may break different pixels; for other
    quantities it is a number. For several images, including the clean one, the elementwise minimum is left.

    Attributes:
        kept: Estimate from the samples.
        upper: Upper confidence bound.
    """

    kept: Tensor
    upper: Tensor


class Quantity(ABC):
    """One number that a certificate bounds.

    Attributes:
        certificate: Name of the certificate.
        kind: Kind of its result.
        name: What is counted, e.g. ``"important"``; one of :attr:`names`.
        level: Index of the level of K; 0 if there is only one.
        top_k: K as the user gave it; ``None`` if there is no K.
        claim: Name of the claim that the user gave it; ``None`` where it has none.
        scale: The number of which shares are taken: K, the number of pixels, or 1.
        attack: Name of the attack on it; several quantities may share an attack.
        title: Title of its panel in a figure.
        unit: Unit of a share, for the axis of that panel.
    """

    names: ClassVar[tuple[str, ...]] = ()
    """Names that quantities of this class have."""
    per_pixel: ClassVar[bool] = False
    """Whether each pixel has a claim of its own."""
    place: ClassVar[int] = 9
    """Order of the panels; panels of equal order follow the order of the certificates."""

    kind: str
    name: str
    level: int = 0
    top_k: float | None = None
    claim: str | None = None
    scale: int = 1

    def __init__(self, certificate: str) -> None:
        self.certificate = certificate

    @property
    def attack(self) -> str:
        """Name of the attack on this quantity."""
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
        """The certified number, a count or a cosine, for all perturbations with an l2 norm up to ``radius``."""

    @abstractmethod
    def reach(self) -> float:
        """Largest l2 radius at which something is certified; for a cosine, the radius of 0.5."""

    @abstractmethod
    def objective(self, device: torch.device) -> SmoothedObjective:
        """The objective of an attack on this quantity.

        Args:
            device: Device of the image.
        """

    @abstractmethod
    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        """A measure that is smaller if more is lost, to compare perturbed images: vote shares ``[H, W]``, or a number.

        Args:
            results: Certificates of samples of a perturbed image.
            clean: Certificates of the clean image.
        """

    def left(self, measured: Tensor) -> float:
        """The number that is left, from :meth:`measure`."""
        return float(measured)

    def least(self, evaluations: Sequence[Evaluation]) -> float:
        """What is left under the worst of several perturbed images; for pixels, each under its own worst image.

        The first half of the samples picks the worst image, the second half estimates what is left there. The minimum
        of many estimates from the same samples would be biased downwards.

        Args:
            evaluations: Fresh samples of each image.
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
            error: Probability that ``upper`` is too small.
        """

    def contradicted(self, verdict: Verdict, length: float) -> int:
        """Number of claims about perturbations of this length that the verdict contradicts.

        Args:
            verdict: What is left at the perturbed image.
            length: l2 norm of its perturbation.
        """
        return int(self.certified(length) > float(verdict.upper.sum()))

    def share(self, number: float) -> float:
        """A number of this quantity as a share of its scale."""
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
        The quantities; none for a kind that has registered nothing.
    """
    yield from ()


def pixelwise_names() -> frozenset[str]:
    """Names of the quantities in which each pixel has its own claim."""
    return frozenset(name for kind in subclasses(Quantity) if kind.per_pixel for name in kind.names)
