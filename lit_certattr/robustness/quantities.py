r"""The numbers that certificates bound from below, and how a perturbed image bounds them from above.

A certificate says of a number, such as how many pixels stay important, that it is at least c(R) for all perturbations
up to length R. One perturbation of that length shows that it is at most what is left there. What is left is again known
from samples only, so it comes as an estimate and as an upper confidence bound: the certificate is contradicted where
c(R) is above the *bound*.

*Error.* The perturbed image is fixed before its noise is drawn. Let ``error`` be the level of one verdict. Pixels: the
Clopper-Pearson bound of each of the N pixels is below its probability with probability at most ``error / N``; a pixel
that has a majority for its label at the clean image and at all perturbed ones is then in every map of possible ones.
Overlap: pixels of the set get an upper bound and the others a lower one, at ``error / N`` each; if all hold, at most as
many pixels of the set remain as with every pixel at its bound. Cosine:
:math:`\langle h, h' \rangle \le U`, :math:`\|h\| \ge L`, :math:`\|h'\| \ge L'`, at ``error / 3`` each, give
:math:`\cos \le U / L L'`. By the union bound a verdict is wrong with probability at most ``error``. ∎
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_certattr.attacks import PixelVotes, SmoothedCosine, SmoothedObjective, TopKOverlap
from lit_certattr.certificates import CosineResult, PixelResult, Result, TopKOverlapResult
from lit_certattr.certificates.cosine_result import inner_product_upper_bound, norm_lower_bound
from lit_certattr.robustness.evaluation import Evaluation
from lit_certattr.smoothing import top_k_mask
from lit_certattr.statistics import clopper_pearson_lower, clopper_pearson_upper


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
        name: What is counted: ``"important"``, ``"unimportant"``, ``"overlap"`` or ``"cosine"``.
        level: Index of the level of K; 0 where there is one.
        top_k: K as it was asked for; ``None`` where there is none.
        scale: What a share is a share of: K, the number of pixels, or 1.
        attack: Name of the attack that is made for it; quantities may share one.
    """

    kind: str
    name: str
    level: int = 0
    top_k: float | None = None
    scale: int = 1

    def __init__(self, certificate: str) -> None:
        self.certificate = certificate

    @property
    def attack(self) -> str:
        """See above."""
        return self.certificate

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


class PixelQuantity(Quantity):
    """Pixels whose majority vote gives them a label, at the clean image and at every perturbed one.

    Args:
        certificate: Name of the certificate.
        result: Its result.
        level: Index of the level of K.
        label: 1 for important pixels, 0 for unimportant ones.
    """

    kind = PixelResult.kind

    def __init__(self, certificate: str, result: PixelResult, level: int, label: int) -> None:
        super().__init__(certificate)
        self.result, self.level, self.label = result, level, label
        self.name = "important" if label else "unimportant"
        self.top_k, self.size = float(result.top_k[level]), result.sizes[level]
        self.scale = self.size if label else result.num_pixels
        self.claimed = result.labels[level] == label

    @property
    def attack(self) -> str:
        """One attack a level pushes both labels."""
        return f"{self.certificate}/{self.level}"

    def _votes(self, result: PixelResult) -> Tensor:
        votes = result.votes[self.level]
        return votes if self.label else result.num_samples - result.num_constant - votes

    def certified(self, radius: float) -> float:
        """See :class:`Quantity`."""
        return int((self.claimed & (self.result.radius[self.level] > radius)).sum())

    def reach(self) -> float:
        """See :class:`Quantity`."""
        return float(torch.where(self.claimed, self.result.radius[self.level], 0.0).max())

    def objective(self, device: torch.device) -> SmoothedObjective:
        """See :class:`Quantity`: every pixel with a majority is pushed to the other label."""
        majority = self.result.votes[self.level] > self.result.num_samples / 2
        minority = self.result.num_samples - self.result.num_constant - self.result.votes[self.level]
        change = (minority > self.result.num_samples / 2).int() - majority.int()
        return PixelVotes(change[None].to(device), self.size)

    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        """See :class:`Quantity`."""
        fresh = results[self.certificate]
        assert isinstance(fresh, PixelResult)
        return self._votes(fresh) / fresh.num_samples

    def left(self, measured: Tensor) -> float:
        """See :class:`Quantity`: pixels with a majority."""
        return int((measured > 0.5).sum())

    def judge(self, evaluation: Evaluation, error: float) -> Verdict:
        """See :class:`Quantity`; a pixel has a label where the vote for it is above 1/2."""
        fresh = evaluation.results[self.certificate]
        assert isinstance(fresh, PixelResult)
        votes, samples = self._votes(fresh), fresh.num_samples
        table = clopper_pearson_upper(np.arange(samples + 1), samples, error / votes.numel())
        return Verdict((votes > samples / 2).double(), (torch.from_numpy(np.asarray(table))[votes] > 0.5).double())

    def contradicted(self, verdict: Verdict, length: float) -> int:
        """See :class:`Quantity`: each pixel has a claim of its own."""
        claimed = self.claimed & (self.result.radius[self.level] > length)
        return int((claimed & (verdict.upper == 0)).sum())


class OverlapQuantity(Quantity):
    """Pixels of the released top-K set that stay in the top K of the smoothed map.

    Args:
        certificate: Name of the certificate.
        result: Its result.
    """

    name = "overlap"

    def __init__(self, certificate: str, result: TopKOverlapResult) -> None:
        super().__init__(certificate)
        self.result, self.top_k, self.scale, self.kind = result, float(result.top_k), result.size, result.kind

    def certified(self, radius: float) -> float:
        """See :class:`Quantity`."""
        return self.result.overlap(radius)

    def reach(self) -> float:
        """See :class:`Quantity`."""
        radii: list[float] = self.result.displacement.tolist()
        return max([0.0, *filter(math.isfinite, radii)])

    def objective(self, device: torch.device) -> SmoothedObjective:
        """See :class:`Quantity`."""
        kind, saturation = self.result.map_kind, max(1, self.result.saturation)
        return TopKOverlap(self.result.inside[None].to(device), self.result.kept, kind, saturation)  # type: ignore[arg-type]

    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        """See :class:`Quantity`."""
        fresh = results[self.certificate]
        assert isinstance(fresh, TopKOverlapResult)
        votes = fresh.votes + fresh.selection
        return _number(int((top_k_mask(votes, self.result.size) & self.result.inside).sum()))

    def judge(self, evaluation: Evaluation, error: float) -> Verdict:
        """See :class:`Quantity`."""
        fresh = evaluation.results[self.certificate]
        assert isinstance(fresh, TopKOverlapResult)
        votes, samples, inside = fresh.votes + fresh.selection, fresh.num_samples, self.result.inside
        counts, level = np.arange(samples + 1), error / inside.numel()
        upper = clopper_pearson_upper(counts, samples, level)[votes[inside].numpy()]
        lower = clopper_pearson_lower(counts, samples, level)[votes[~inside].numpy()]
        # The m-th lowest of the set lies below the m-th highest outsider: m pixels at least are displaced.
        pairs = min(upper.size, lower.size)
        displaced = int((np.sort(lower)[::-1][:pairs] > np.sort(upper)[:pairs]).sum())
        kept = self.measure(evaluation.results, evaluation.clean)
        return Verdict(kept, _number(self.result.size - displaced))


class CosineQuantity(Quantity):
    """Cosine of the smoothed map and that of the clean image.

    Args:
        certificate: Name of the certificate.
        result: Its result.
    """

    kind = CosineResult.kind
    name = "cosine"

    def __init__(self, certificate: str, result: CosineResult) -> None:
        super().__init__(certificate)
        self.result = result

    def certified(self, radius: float) -> float:
        """See :class:`Quantity`."""
        return self.result.at(radius)

    def reach(self) -> float:
        """See :class:`Quantity`."""
        return self.result.max_radius(0.5)

    def objective(self, device: torch.device) -> SmoothedObjective:
        """See :class:`Quantity`."""
        return SmoothedCosine(self.result.mean[None].to(device))

    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        """See :class:`Quantity`."""
        there, here = results[self.certificate], clean[self.certificate]
        assert isinstance(there, CosineResult)
        assert isinstance(here, CosineResult)
        lengths = _squared_norm(there) * _squared_norm(here)
        cosine = float((there.mean * here.mean).sum()) / lengths**0.5 if lengths > 0 else 1.0
        return _number(min(max(cosine, -1.0), 1.0))

    def judge(self, evaluation: Evaluation, error: float) -> Verdict:
        """See :class:`Quantity`."""
        there, here = evaluation.results[self.certificate], evaluation.clean[self.certificate]
        assert isinstance(there, CosineResult)
        assert isinstance(here, CosineResult)
        signless = self.result.nonnegative
        product = inner_product_upper_bound(evaluation.products[self.certificate].numpy(), error / 3, signless)
        norms = [norm_lower_bound(one.projections.numpy(), error / 3, signless) for one in (there, here)]
        # Norms are at most 1, so a negative product is itself the bound: their lower bounds would be of no use.
        upper = product if product <= 0 else product / (norms[0] * norms[1]) if min(norms) > 0 else 1.0
        return Verdict(self.measure(evaluation.results, evaluation.clean), _number(min(upper, 1.0)))


def _squared_norm(result: CosineResult) -> float:
    """Unbiased estimate of the squared norm of the smoothed map: the mean of all products of two different maps."""
    samples = result.num_samples
    return (samples * float(result.mean.square().sum()) - (1 - result.num_zero / samples)) / max(1, samples - 1)


def _number(value: float) -> Tensor:
    return torch.tensor(float(value), dtype=torch.float64)


def quantities(results: Mapping[str, Result]) -> Iterator[Quantity]:
    """The quantities of the certificates of one image.

    Kinds of certificate that are not known here have none, and neither have those of other norms than that of the
    attacks, l2.

    Args:
        results: Results by name.
    """
    for name, result in results.items():
        if result.radius_norm != "l2":
            continue
        if isinstance(result, PixelResult):
            for level in range(len(result.top_k)):
                yield PixelQuantity(name, result, level, 1)
                yield PixelQuantity(name, result, level, 0)
        elif isinstance(result, TopKOverlapResult):
            yield OverlapQuantity(name, result)
        elif isinstance(result, CosineResult):
            yield CosineQuantity(name, result)
