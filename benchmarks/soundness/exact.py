"""Certificates of the closed-form models against their exact worst attacks: no sampling in the verdict."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn

from benchmarks.soundness.closed_form import (
    Blocks,
    GradualTurn,
    HalfSpaces,
    OwnValues,
    Pairs,
    PooledPairs,
    ThreeRegions,
)
from benchmarks.soundness.verdicts import Verdict, count_claims
from lit_certattr import Certifier
from lit_certattr.attribution import Attribution, Gradient, RegionMap
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
    PredictionCertificate,
    PredictionResult,
    RenyiCertificate,
    Result,
    TopKOverlapCertificate,
    TopKOverlapResult,
)
from lit_certattr.numbers import Number
from lit_certattr.smoothing import GaussianNoise, Noise, UniformBallNoise

SIGMA, ALPHA, SAMPLES, PIXELS = 0.25, 0.05, 500, 32
"""Samples that are few, and an alpha that is large, so that errors are frequent enough to be counted."""
SHAPE = (1, 5, 10)
PAIRS, NUMBERS = 16, 8
PARTS = ("maps", "claims")

Row = tuple[str, float, Verdict]
"""Certificate, share of the radius that is used, verdict."""


def attack_exactly(seed: int, factors: Sequence[float], parts: Sequence[str] = PARTS) -> Iterator[Row]:
    """Certificates of new maps and new noise, each attacked by the worst perturbation of each length.

    Args:
        seed: Fixes maps and noise.
        factors: Lengths as shares of each claim's own radius.
        parts: What is attacked: ``"maps"`` (pixels, overlaps, cosines), ``"claims"`` (regions, means, percentiles, the
            prediction).
    """
    if "maps" in parts:
        rng = np.random.default_rng(seed)
        yield from _pixels(rng, seed, factors)
        yield from _overlaps(rng, seed, factors)
        yield from _cosines(rng, seed, factors)
    if "claims" in parts:
        rng = np.random.default_rng([seed, 1])
        yield from _regions(rng, seed, factors)
        yield from _means(rng, seed, factors)
        yield from _percentiles(rng, seed, factors)
        yield from _predictions(np.random.default_rng([seed, 2]), seed, factors)


def _certify(
    attribution: Attribution,
    noise: Noise,
    certificates: Mapping[str, Certificate],
    image: Tensor,
    seed: int,
    network: nn.Module | None = None,
    num_samples: int = SAMPLES,
) -> dict[str, Result]:
    certifier = Certifier(attribution, noise, certificates, num_samples, num_samples, seed)
    return certifier(network or TwoValues(), image[None], [0], ids=["image"])[0]


class TwoValues(nn.Module):
    """A network that nobody looks at."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 2]``."""
        return images.flatten(1)[:, :2]


def _pixels(rng: np.random.Generator, seed: int, factors: Sequence[float]) -> Iterator[Row]:
    """The worst attack on a pixel lowers the quantile of its vote by the distance over sigma."""
    image = torch.from_numpy(rng.uniform(0.2, 0.8, (1, 2, PIXELS))).float()
    votes = np.where(rng.random(PIXELS) < 0.5, rng.uniform(0.5, 0.75, PIXELS), rng.beta(6, 1, PIXELS).clip(0.01, 0.999))
    curvature = rng.choice([-1.0, 1.0], PIXELS) * rng.uniform(0.5, 2, PIXELS)
    network = Pairs.with_votes(image, votes, curvature, SIGMA)
    certificates = {"pixel": PixelCertificate([0.5], ALPHA)}
    result = _certify(Gradient("sum"), GaussianNoise(SIGMA), certificates, image, seed, network)["pixel"]
    assert isinstance(result, PixelResult)
    label = result.labels[0].numpy()
    own = np.where(label == 1, network.votes(image), 1 - network.votes(image))[label >= 0]
    radius = result.radius[0].double().numpy()[label >= 0]
    for factor in factors:
        moved = norm.cdf(norm.ppf(own) - factor * radius / SIGMA)
        yield "pixel", factor, _own_claims(radius, moved < 0.5, factor)


def _regions(rng: np.random.Generator, seed: int, factors: Sequence[float]) -> Iterator[Row]:
    """Labels of regions: the worst attack is that on the vote of the region, spread over its pixels."""
    image = torch.from_numpy(rng.uniform(0.2, 0.8, (1, 4, 2 * PAIRS))).float()
    curvature = rng.choice([-1.0, 1.0], PAIRS) * rng.uniform(0.5, 2, PAIRS)
    votes, texture = rng.uniform(0.5, 0.999, PAIRS), rng.normal(0, 3, (4, 2 * PAIRS))
    network = PooledPairs.with_votes(image, votes, curvature, SIGMA, texture)
    certificates = {"pixel": PixelCertificate([0.5], ALPHA)}
    method = RegionMap(Gradient("sum"), Blocks(), "sum")
    result = _certify(method, GaussianNoise(SIGMA), certificates, image, seed, network)["pixel"]
    assert isinstance(result, PixelResult)
    label, true = result.labels[0].flatten().numpy(), network.votes(image).flatten()
    own = np.where(label == 1, true, 1 - true)[label >= 0]
    radius = result.radius[0].double().flatten().numpy()[label >= 0]
    for factor in factors:
        moved = norm.cdf(norm.ppf(own) - factor * radius / SIGMA)
        yield "regions", factor, _own_claims(radius, moved < 0.5, factor)


def _means(rng: np.random.Generator, seed: int, factors: Sequence[float]) -> Iterator[Row]:
    """Means of half-spaces, one along each pixel: claims from below and from above, of numbers of 0 and 1."""
    image = torch.from_numpy(rng.uniform(0.2, 0.8, (1, 1, NUMBERS))).float()
    mean, upwards = rng.uniform(0.6, 0.97, NUMBERS), np.arange(NUMBERS) % 2 == 1
    cut = image[0, 0].double().numpy() - SIGMA * norm.ppf(np.where(upwards, 1 - mean, mean))
    asked = rng.uniform(0.3, mean - 0.05)
    claims = [
        Claim(str(index), AboveCut(index, float(cut[index])), **_bounds(upwards[index], asked[index], 1 - asked[index]))
        for index in range(NUMBERS)
    ]
    certificates = {
        "betting": ClaimCertificate(claims, ALPHA),
        "exact": ClaimCertificate(claims, ALPHA, bound="clopper_pearson"),
        "Holm": ClaimCertificate(claims, ALPHA, bound="clopper_pearson", holm_radius=0.1),
    }
    results = _certify(OwnValues(), GaussianNoise(SIGMA), certificates, image, seed)
    for name, result in results.items():
        assert isinstance(result, ClaimsResult)
        radius = np.array([result.radius(index) for index in range(NUMBERS)])
        for factor in factors:
            moved = norm.cdf(norm.ppf(mean) - factor * radius / SIGMA)
            yield f"claims, {name}", factor, _own_claims(radius[radius > 0], (moved < asked)[radius > 0], factor)


def _percentiles(rng: np.random.Generator, seed: int, factors: Sequence[float]) -> Iterator[Row]:
    """Percentiles of linear numbers, which move by the length of the perturbation; every third one is rounded down."""
    image = torch.from_numpy(rng.uniform(0.2, 0.8, (1, 1, NUMBERS))).float()
    upwards, steps = np.arange(NUMBERS) % 2 == 1, np.where(np.arange(NUMBERS) % 3 == 0, 0.1, 0.0)
    probability = float(rng.choice([0.5, 0.3]))
    true = image[0, 0].double().numpy() + SIGMA * norm.ppf(probability)
    room = rng.uniform(0.02, 0.3, NUMBERS)
    claims = [
        Claim(str(index), Pixel(index, float(steps[index])), **_bounds(upwards[index], low, high))
        for index, (low, high) in enumerate(zip(true - room, true + room, strict=True))
    ]
    certificates = {
        "all_radii": PercentileCertificate(claims, ALPHA, probability),
        "one_budget": PercentileCertificate(claims, ALPHA, probability, budget=0.1),
    }
    results = _certify(OwnValues(), GaussianNoise(SIGMA), certificates, image, seed)
    for name, result in results.items():
        assert isinstance(result, ClaimsResult)
        radius = np.array([result.radius(index) for index in range(NUMBERS)])
        for factor in factors:
            moved = true + np.where(upwards, 1, -1) * factor * radius
            # Rounded down, the percentile is the first step at which the distribution has reached p.
            grid = np.where(steps > 0, steps, 1.0)
            moved = np.where(steps > 0, grid * np.ceil(moved / grid - 1), moved)
            broken = np.where(upwards, moved > true + room, moved < true - room)
            yield (
                f"percentiles, {name.replace('_', ' ')}",
                factor,
                _own_claims(radius[radius > 0], broken[radius > 0], factor),
            )


def _predictions(rng: np.random.Generator, seed: int, factors: Sequence[float]) -> Iterator[Row]:
    """The prediction of half-spaces, one along each pixel: the class keeps its majority, or has none."""
    image = torch.from_numpy(rng.uniform(0.2, 0.8, (1, 1, NUMBERS))).float()
    shares = rng.uniform(0.52, 0.97, NUMBERS)
    own = np.where(np.arange(NUMBERS) % 2 == 1, shares, 1 - shares)
    cut = image[0, 0].double().numpy() - SIGMA * norm.ppf(own)
    radius, side = np.zeros(NUMBERS), np.ones(NUMBERS)
    certificates, noise = {"prediction": PredictionCertificate(ALPHA / NUMBERS)}, GaussianNoise(SIGMA)
    for index in range(NUMBERS):
        network = OnePixel(index, float(cut[index]))
        result = _certify(OwnValues(), noise, certificates, image, seed * NUMBERS + index, network)["prediction"]
        assert isinstance(result, PredictionResult)
        radius[index], side[index] = result.radius or result.refuted_radius, 1 if result.radius else -1
    for factor in factors:
        moved = norm.cdf(side * norm.ppf(own) - factor * radius / SIGMA)
        yield "prediction", factor, _own_claims(radius[radius > 0], (moved < 0.5)[radius > 0], factor)


class OnePixel(nn.Module):
    """A network that predicts class 0 where a pixel is above a value, in float64.

    Args:
        index: Index of the pixel.
        cut: The value.
    """

    def __init__(self, index: int, cut: float) -> None:
        super().__init__()
        self.index, self.cut = index, cut

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 2]``."""
        above = images.flatten(1)[:, self.index].double() - self.cut
        return torch.stack([above, -above], 1)


def _bounds(upwards: bool, low: float, high: float) -> dict[str, float]:
    return {"at_most": float(high)} if upwards else {"at_least": float(low)}


class AboveCut(Number):
    """Whether a pixel of a map is above a value.

    Args:
        index: Which pixel of the first row.
        cut: The value.
    """

    binary: ClassVar[bool] = False  # so that all bounds are tried

    def __init__(self, index: int, cut: float) -> None:
        self.index, self.cut = index, cut

    def values(self, maps: Tensor) -> Tensor:
        """See :class:`Number`."""
        return (maps[:, 0, self.index] > self.cut).to(maps.dtype)

    def in_words(self) -> str:
        """See :class:`Number`."""
        return f"whether pixel {self.index} is above {self.cut}"


class Pixel(Number):
    """A pixel of a map, or the largest multiple of a step below it.

    Args:
        index: Which pixel of the first row.
        step: The step; 0 for none.
    """

    low: ClassVar[float | None] = None
    high: ClassVar[float | None] = None

    def __init__(self, index: int, step: float) -> None:
        self.index, self.step = index, step

    def values(self, maps: Tensor) -> Tensor:
        """See :class:`Number`."""
        value = maps[:, 0, self.index].double()
        return (value / self.step).floor() * self.step if self.step else value

    def in_words(self) -> str:
        """See :class:`Number`."""
        return f"pixel {self.index}, in steps of {self.step}"


def _overlaps(rng: np.random.Generator, seed: int, factors: Sequence[float]) -> Iterator[Row]:
    maps = HalfSpaces(rng.uniform(0.4, 0.98, PIXELS), SIGMA)
    certificates = {
        "overlap": TopKOverlapCertificate(PIXELS, ALPHA),
        "overlap, one number": TopKOverlapCertificate(PIXELS, ALPHA, bound="one_number", num_selection=50),
        "overlap, renyi": RenyiCertificate(PIXELS, ALPHA, scores="uniform"),
    }
    keys = {f"c{index}": name for index, name in enumerate(certificates)}
    named = dict(zip(keys, certificates.values(), strict=True))
    results = _certify(maps, GaussianNoise(SIGMA), named, torch.zeros(1, 1, 2), seed)
    for key, result in results.items():
        assert isinstance(result, TopKOverlapResult)
        for factor in factors:
            real = (result.displacement > 0) & torch.isfinite(result.displacement)
            radius = result.displacement.double().numpy()
            broken = [_displaced(maps, result, factor * radius[index]) > index for index in np.flatnonzero(real)]
            yield keys[key], factor, _own_claims(radius[real.numpy()], np.array(broken, bool), factor)


def _displaced(maps: HalfSpaces, result: TopKOverlapResult, distance: float) -> int:
    """Pixels of the released set that the worst perturbation of this length displaces; ties go to the adversary."""
    inside, most = result.inside.numpy(), 0
    for step in (distance, -distance):
        h = maps.smoothed(step) - 1e-12 * inside
        top = np.zeros(h.size, bool)
        top[np.argsort(-h.ravel(), kind="stable")[: result.size]] = True
        most = max(most, result.size - int((top.reshape(h.shape) & inside).sum()))
    return most


def _cosines(rng: np.random.Generator, seed: int, factors: Sequence[float]) -> Iterator[Row]:
    """The map is the worst one for one shift: what is claimed there, and for longer and shorter ones, is compared."""
    ball, gauss, length = UniformBallNoise(SIGMA), GaussianNoise(SIGMA), rng.uniform(0.4, 0.95)
    regions = ThreeRegions(ball, length, rng.uniform(0.1, 0.45) * length, SHAPE)
    yield from _cosine("cosine, ball", regions, ball, seed, factors)
    gradual = GradualTurn(gauss, rng.uniform(0.2, 1.5), rng.uniform(0.1, 1.2), SHAPE)
    yield from _cosine("cosine, Gaussian", gradual, gauss, seed, factors)


def _cosine(
    name: str, maps: ThreeRegions | GradualTurn, law: Noise, seed: int, factors: Sequence[float]
) -> Iterator[Row]:
    certificates = {"cosine": CosineCertificate(ALPHA, num_selection=50)}
    result = _certify(maps, law, certificates, torch.full(SHAPE, 0.5), seed)["cosine"]
    assert isinstance(result, CosineResult)
    cosine = maps.cosine()
    for factor in factors:
        broken = np.array([cosine < result.at(maps.shift / factor) - 1e-12])
        yield name, factor, _own_claims(np.array([maps.shift / factor]), broken, factor)


def _own_claims(radius: np.ndarray, broken: np.ndarray, factor: float) -> Verdict:
    """Each claim attacked at the same share of its own radius."""
    return count_claims(torch.from_numpy(radius), torch.from_numpy(broken), factor * torch.from_numpy(radius))
