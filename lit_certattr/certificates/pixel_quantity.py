r"""Attacks on certified labels of pixels.

*Error.* The Clopper-Pearson bound of each of the N pixels is below its probability with probability at most
``error / N``. A pixel that has a majority for its label at the clean image and at all perturbed ones is then in every
map of possible ones; by the union bound a verdict is wrong with probability at most ``error``. ∎
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.attacks import PixelVotes, SmoothedObjective
from lit_certattr.certificates.drawing import name_of
from lit_certattr.certificates.pixel_result import PixelResult
from lit_certattr.certificates.quantity import Evaluation, Quantity, Verdict, quantities_of
from lit_certattr.certificates.result import Result
from lit_certattr.statistics import clopper_pearson_upper


class PixelQuantity(Quantity):
    """Number of pixels that keep their majority label, at the clean image and at every perturbed image.

    Args:
        certificate: Name of the certificate.
        result: Its result.
        level: Index of the level of K.
        label: 1 for important pixels, 0 for unimportant ones.
    """

    kind = PixelResult.kind
    names = ("important", "unimportant")
    per_pixel = True

    def __init__(self, certificate: str, result: PixelResult, level: int, label: int) -> None:
        super().__init__(certificate)
        self.result, self.level, self.label = result, level, label
        self.name = "important" if label else "unimportant"
        self.top_k, self.size = float(result.top_k[level]), result.sizes[level]
        self.scale = self.size if label else result.num_pixels
        self.claimed = result.labels[level] == label

    @property
    @override
    def place(self) -> int:  # type: ignore[override]
        return 1 - self.label

    @property
    @override
    def title(self) -> str:
        return f"{self.name.capitalize()} pixels, K = {name_of(self.result.top_k[self.level])}"

    @property
    @override
    def unit(self) -> str:
        return "share of K that keeps its label" if self.label else "share of all pixels"

    @property
    def attack(self) -> str:
        """One attack per level moves the pixels of both labels."""
        return f"{self.certificate}/{self.level}"

    def _votes(self, result: PixelResult) -> Tensor:
        votes = result.votes[self.level]
        return votes if self.label else result.num_samples - result.num_constant - votes

    @override
    def certified(self, radius: float) -> float:
        return int((self.claimed & (self.result.radius[self.level] > radius)).sum())

    @override
    def reach(self) -> float:
        return float(torch.where(self.claimed, self.result.radius[self.level], 0.0).max())

    def objective(self, device: torch.device) -> SmoothedObjective:
        """The objective that moves every pixel with a majority towards the other label."""
        majority = self.result.votes[self.level] > self.result.num_samples / 2
        minority = self.result.num_samples - self.result.num_constant - self.result.votes[self.level]
        change = (minority > self.result.num_samples / 2).int() - majority.int()
        return PixelVotes(change[None].to(device), self.size)

    @override
    def measure(self, results: Mapping[str, Result], clean: Mapping[str, Result]) -> Tensor:
        fresh = results[self.certificate]
        assert isinstance(fresh, PixelResult)
        return self._votes(fresh) / fresh.num_samples

    def left(self, measured: Tensor) -> float:
        """Number of pixels with a majority."""
        return int((measured > 0.5).sum())

    def judge(self, evaluation: Evaluation, error: float) -> Verdict:
        """What is left at a perturbed image: a pixel has a label where the vote for it is above 1/2.

        Args:
            evaluation: Fresh samples of that image.
            error: Probability that ``upper`` is too small for any pixel.
        """
        fresh = evaluation.results[self.certificate]
        assert isinstance(fresh, PixelResult)
        votes, samples = self._votes(fresh), fresh.num_samples
        table = clopper_pearson_upper(np.arange(samples + 1), samples, error / votes.numel())
        return Verdict((votes > samples / 2).double(), (torch.from_numpy(np.asarray(table))[votes] > 0.5).double())

    def contradicted(self, verdict: Verdict, length: float) -> int:
        """Number of claims that the verdict contradicts; each pixel has its own claim."""
        claimed = self.claimed & (self.result.radius[self.level] > length)
        return int((claimed & (verdict.upper == 0)).sum())


@quantities_of.register
def _(result: PixelResult, certificate: str) -> Iterator[Quantity]:
    for level in range(len(result.top_k)):
        yield PixelQuantity(certificate, result, level, 1)
        yield PixelQuantity(certificate, result, level, 0)
