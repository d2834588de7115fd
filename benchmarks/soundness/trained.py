"""Certificates of trained networks under attacks that search: EOT gradients, and the best of as many random points.

Every point that an attack finds is judged by all certificates of its image, with noise that neither the certificate
nor the attack has seen. Points may leave the box [0, 1], as the theorems allow, and need not keep the label.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.soundness.verdicts import Verdict, judge
from lit_certattr import Certifier
from lit_certattr.attacks import (
    AttackConfig,
    PixelVotes,
    SmoothedCosine,
    SmoothedObjective,
    TopKOverlap,
    attack_smoothed,
)
from lit_certattr.attribution import Gradient, frozen
from lit_certattr.certificates import (
    Certificate,
    Claim,
    ClaimCertificate,
    ClaimsResult,
    CosineCertificate,
    CosineResult,
    PercentileCertificate,
    PixelCertificate,
    PixelResult,
    RenyiCertificate,
    Result,
    TopKOverlapCertificate,
    TopKOverlapResult,
    quantities_of,
)
from lit_certattr.certificates.quantity import Evaluation
from lit_certattr.data import Sample
from lit_certattr.numbers import Box, EnergyInside, Gini, MoreThan
from lit_certattr.smoothing import GaussianNoise, MapBlock, noisy_maps, uniform_levels

ATTRIBUTION = Gradient()
_CERTIFY, _CLEAN, _POINTS = 1, 2, 1000
"""Seeds of the noise: of certificates, of fresh samples at the image, of fresh samples at the points."""


class Settings(NamedTuple):
    """What a run does; everything that decides its outcome.

    Attributes:
        sigma: Noise.
        samples: Samples behind each certificate.
        fresh: Samples behind each verdict.
        steps: Gradient steps of an attack.
        factors: Budgets of the gradient attack, as shares of a radius.
        random_factors: Those of the random attack.
        level: Probability that one true claim is called broken.
    """

    sigma: float
    samples: int
    fresh: int
    steps: int
    factors: tuple[float, ...]
    random_factors: tuple[float, ...]
    level: float

    def attacks(self) -> list[tuple[str, float]]:
        """Kind and budget of every attack on one aim."""
        gradient = [("gradient", factor) for factor in self.factors]
        return gradient + [("random", factor) for factor in self.random_factors]


class Entry(NamedTuple):
    """One line of the outcome.

    Attributes:
        aim: What the attack wanted.
        kind: ``"gradient"`` or ``"random"``.
        factor: Its budget, as a share of the radius that it aimed at.
        certificate: Whose claims were judged.
        points: How many points.
        verdict: Sum over the points.
    """

    aim: str
    kind: str
    factor: float
    certificate: str
    points: int
    verdict: Verdict


NUM_LEVELS = len(PixelCertificate().top_k)
"""Levels K of the pixel certificate."""


def certificates() -> dict[str, Certificate]:
    """What is attacked."""
    return {
        "pixel": PixelCertificate(),
        "overlap": TopKOverlapCertificate(0.25),
        "one_number": TopKOverlapCertificate(0.25, bound="one_number", num_selection=100),
        "renyi": RenyiCertificate(0.25),
        "cosine": CosineCertificate(nonnegative=True),
        "claims": ClaimCertificate(
            [
                Claim("energy", EnergyInside(MIDDLE), at_least=0.3),
                Claim("order", MoreThan(MIDDLE, UPPER), at_least=0.5),
                Claim("concentration", Gini()),
            ]
        ),
        "percentiles": PercentileCertificate(),
    }


MIDDLE, UPPER = Box(0.25, 0.25, 0.75, 0.75), Box(0, 0, 0.25, 1)


class Aim(ABC):
    """What an attack on a batch of images wants, and the radius at which that is certified.

    Args:
        results: Certificates of each image.
        rng: Chooses among what is certified.

    Attributes:
        radius: For each image; 0 where there is nothing to attack.
    """

    radius: list[float]

    @abstractmethod
    def objective(self) -> SmoothedObjective:
        """The objective of the attack."""


class SomePixels(Aim):
    """Pixels of nearly one radius, which is drawn from those of all certified pixels of a level."""

    def __init__(self, results: Sequence[Mapping[str, Result]], rng: np.random.Generator) -> None:
        pixels = [result["pixel"] for result in results]
        level = int(rng.integers(NUM_LEVELS))
        change, self.radius = [], []
        for result in pixels:
            assert isinstance(result, PixelResult)
            labels, radius = result.labels[level], result.radius[level]
            self.radius.append(_drawn(radius[labels >= 0], rng))
            low = self.radius[-1]
            chosen = (labels >= 0) & (radius >= low) & (radius <= 1.1 * low) & (low > 0)
            change.append(torch.where(chosen, 1 - 2 * labels.int(), 0))
            self.size = result.sizes[level]
        self.change = torch.stack(change)

    def objective(self) -> SmoothedObjective:
        """See :class:`Aim`."""
        return PixelVotes(self.change, self.size)


class SomeOverlap(Aim):
    """The released set of an overlap certificate, at the radius of one of its pixels."""

    def __init__(
        self, results: Sequence[Mapping[str, Result]], rng: np.random.Generator, name: str = "overlap"
    ) -> None:
        self.results = [result[name] for result in results]
        self.radius = [_drawn(result.displacement, rng) for result in self._overlaps()]

    def _overlaps(self) -> Iterator[TopKOverlapResult]:
        for result in self.results:
            assert isinstance(result, TopKOverlapResult)
            yield result

    def objective(self) -> SmoothedObjective:
        """See :class:`Aim`."""
        first = next(self._overlaps())
        inside = torch.stack([result.inside for result in self._overlaps()])
        return TopKOverlap(inside, first.kept, first.map_kind)  # type: ignore[arg-type]


class SomeRanks(SomeOverlap):
    """The same for the maps of the Renyi certificate."""

    def __init__(self, results: Sequence[Mapping[str, Result]], rng: np.random.Generator) -> None:
        super().__init__(results, rng, "renyi")


class Direction(Aim):
    """The direction of the map, at the radius of a cosine of 0.9 or 0.7."""

    def __init__(self, results: Sequence[Mapping[str, Result]], rng: np.random.Generator) -> None:
        self.radius, means = [], []
        for result in (entry["cosine"] for entry in results):
            assert isinstance(result, CosineResult)
            self.radius.append(result.max_radius(float(rng.choice([0.9, 0.7]))))
            means.append(result.mean)
        self.mean = torch.stack(means)

    def objective(self) -> SmoothedObjective:
        """See :class:`Aim`."""
        return SmoothedCosine(self.mean)


class SomeClaim(Aim):
    """One end of the interval of one claim, the same for all images, where half of what is certified is left."""

    def __init__(self, results: Sequence[Mapping[str, Result]], rng: np.random.Generator, name: str = "claims") -> None:
        ends = [list(quantities_of(result[name], name)) for result in results]
        chosen = int(rng.integers(len(ends[0])))
        self._ends = [one[chosen] for one in ends]
        self.radius = [one.reach() for one in self._ends]

    def objective(self) -> SmoothedObjective:
        """See :class:`Aim`."""
        return self._ends[0].objective(torch.device("cpu"))


class SomePercentile(SomeClaim):
    """The same for a percentile."""

    def __init__(self, results: Sequence[Mapping[str, Result]], rng: np.random.Generator) -> None:
        super().__init__(results, rng, "percentiles")


AIMS: Mapping[str, type[SomePixels | SomeOverlap | SomeRanks | Direction | SomeClaim]] = {
    "pixels": SomePixels,
    "overlap": SomeOverlap,
    "ranks": SomeRanks,
    "cosine": Direction,
    "claims": SomeClaim,
    "percentiles": SomePercentile,
}


def _drawn(radii: Tensor, rng: np.random.Generator) -> float:
    """One of the positive, finite radii; 0 if there is none."""
    usable = radii[(radii > 0) & torch.isfinite(radii)]
    return float(usable[int(rng.integers(len(usable)))]) if len(usable) else 0.0


def attack_images(network: nn.Module, samples: Sequence[Sample], settings: Settings, seed: int) -> "Outcome":
    """Certify, attack and judge a few images.

    Args:
        network: The network.
        samples: The images.
        settings: What is done.
        seed: Fixes the attacks; every batch of images has its own.
    """
    noise, kinds = GaussianNoise(settings.sigma), certificates()
    images, ids = torch.stack([sample.image for sample in samples]), [str(sample.id) for sample in samples]
    run = Certifier(ATTRIBUTION, noise, kinds, settings.samples, settings.samples, _CERTIFY)
    results = run(network, images, None, ids)
    targets = torch.tensor([result["pixel"].sampling["target"] for result in results])
    judges = [
        Judge(network, noise, kinds, image, int(target), image_id, result, settings)
        for image, target, image_id, result in zip(images, targets, ids, results, strict=True)
    ]
    rng, entries, points = np.random.default_rng(seed), [], 0
    for name, aim in AIMS.items():
        aimed = aim(results, rng)
        for kind, factor in settings.attacks():
            config = AttackConfig(
                eps=1.0, steps=settings.steps, smooth_beta=10.0, clamp=None, seed=int(rng.integers(2**31))
            )
            eps = factor * torch.tensor(aimed.radius, dtype=torch.float64)
            moved = attack_smoothed(
                network,
                ATTRIBUTION,
                noise,
                images,
                targets,
                aimed.objective(),
                config if kind == "gradient" else config.random_search(),
                eps=eps,
                judge_draws=32,
                batch_size=1024,
            )
            sums: dict[str, Verdict] = {}
            attacked = [index for index, radius in enumerate(aimed.radius) if radius > 0]
            for index in attacked:
                points += 1
                for certificate, verdict in judges[index].verdicts(moved[index], float(eps[index]), points).items():
                    sums[certificate] = sums.get(certificate, Verdict()) + verdict
            entries += [Entry(name, kind, factor, key, len(attacked), verdict) for key, verdict in sums.items()]
    pixels = [judge.results["pixel"] for judge in judges]
    return Outcome(
        len(samples),
        sum(judge.attacked for judge in judges),
        sum(int((pixel.labels >= 0).sum()) for pixel in pixels if isinstance(pixel, PixelResult)),
        entries,
    )


class Outcome(NamedTuple):
    """Of a few images, or of many.

    Attributes:
        images: How many.
        attacked: Certified pixels, over all levels, that some point attacked within their radius.
        certified: Certified pixels.
        entries: What became of all claims.
    """

    images: int
    attacked: int
    certified: int
    entries: list[Entry]


class Judge:
    """Judges points near one image.

    Args:
        network: The network.
        noise: Noise law of the certificates.
        kinds: Certificates, whose accumulators count the fresh samples.
        image: The image.
        target: Explained class.
        image_id: Its id.
        results: Its certificates.
        settings: Numbers of samples and levels.

    Attributes:
        attacked: Certified pixels, over all levels, that a point has attacked within their radius so far.
    """

    def __init__(
        self,
        network: nn.Module,
        noise: GaussianNoise,
        kinds: Mapping[str, Certificate],
        image: Tensor,
        target: int,
        image_id: str,
        results: Mapping[str, Result],
        settings: Settings,
    ) -> None:
        self.network, self.noise, self.kinds, self.target, self.image_id = network, noise, kinds, target, image_id
        self.image, self.results, self.settings = image, results, settings
        self._reached = torch.zeros_like(results["pixel"].labels, dtype=torch.bool)  # type: ignore[attr-defined]
        self.unit, self.clean = self._sample(image, _CLEAN)

    @property
    def attacked(self) -> int:
        """See :class:`Judge`."""
        return int(self._reached.sum())

    def verdicts(self, point: Tensor, budget: float, number: int) -> dict[str, Verdict]:
        """The verdict on each certificate at a point ``[C, H, W]``; its noise is that of the number."""
        assert float((point.double() - self.image.double()).norm()) <= budget
        unit, fresh = self._sample(point, _POINTS + number)
        pixel = self.results["pixel"]
        assert isinstance(pixel, PixelResult)
        self._reached |= (pixel.labels >= 0) & (pixel.radius > budget)
        there = Evaluation(fresh, self.clean, {"cosine": (self.unit * unit).sum(1)})
        return {name: judge(name, result, there, budget, self.settings.level) for name, result in self.results.items()}

    def _sample(self, point: Tensor, seed: int) -> tuple[Tensor, dict[str, Result]]:
        """Normalised fresh maps ``[n, H * W]``, and the certificates with their counts in the place of the old ones."""
        n, parts = self.settings.fresh, []
        shape = (point.shape[1], point.shape[2])
        counted = {name: kind.start(self.noise, shape, point.numel()) for name, kind in self.kinds.items()}
        with frozen(self.network):
            stream = noisy_maps(
                self.network,
                ATTRIBUTION,
                self.noise,
                point,
                self.target,
                image_id=self.image_id,
                num_samples=n,
                batch_size=min(n, 1000),
                seed=seed,
            )
            drawn = 0
            for maps in stream:
                block = MapBlock(maps, drawn, uniform_levels(seed, self.image_id, drawn, len(maps)))
                drawn += len(maps)
                parts.append(torch.nn.functional.normalize(maps.flatten(1).double(), dim=1))
                for accumulator in counted.values():
                    accumulator.update(block)
        return torch.cat(parts), {name: self._with_counts(name, state) for name, state in counted.items()}

    def _with_counts(self, name: str, state: Any) -> Result:
        """The stored result with the fresh counts; what it concludes from them is not asked."""
        result, n = self.results[name], self.settings.fresh
        if isinstance(result, CosineResult):
            values: dict[str, Any] = {
                key: torch.cat(getattr(state, key)).clamp(0, 1) for key in ("projections", "products")
            }
            return attrs.evolve(result, num_samples=n, **values)
        if isinstance(result, ClaimsResult):
            there: Result = state.compute()
            return there
        votes = state.votes.int()
        if isinstance(result, PixelResult):
            return attrs.evolve(result, num_samples=n, votes=votes, num_constant=int(state.num_constant))
        assert isinstance(result, TopKOverlapResult)
        return attrs.evolve(result, num_samples=n, votes=votes[0] + state.selection, selection=0 * state.selection)
