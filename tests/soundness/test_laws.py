"""Laws that transform images, on models whose votes are known: their bounds hold and are attained."""

import itertools
import math
from abc import ABC, abstractmethod

import attrs
import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Attribution
from lit_certattr.budgets.affine_votes import Change, needed_vote
from lit_certattr.budgets.blur import waves
from lit_certattr.budgets.patches import cells_of
from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    CosineCertificate,
    PercentileCertificate,
    PixelCertificate,
    PredictionCertificate,
    RenyiCertificate,
    TopKOverlapCertificate,
)
from lit_certattr.numbers import Box, TopKInside
from lit_certattr.partitions import Regions
from lit_certattr.smoothing import (
    GAUSSIAN_LAWS,
    AffineNoise,
    BlurNoise,
    ExposureNoise,
    GammaNoise,
    PatchMaskNoise,
    RegionMaskNoise,
    noisy_images,
)

ALPHA, SAMPLES, RUNS = 0.05, 200, 400
IMAGE = 0.2 + 0.6 * torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Case(ABC):
    """A law with the function of a noisy copy that is hardest for it: the copy votes, or not.

    Attributes:
        noise: The law.
        vote: Its true vote at the image.
        radius: Length of the change along ``worst`` at which half of the noisy copies vote.
    """

    noise: object
    vote: float
    radius: float

    @abstractmethod
    def votes(self, images):
        """Whether each noisy copy votes, bool ``[b]``."""

    @abstractmethod
    def worst(self, length):
        """The image changed as badly as a length allows."""

    @abstractmethod
    def vote_at(self, length):
        """The true vote there."""


class HalfSpace(Case):
    """A threshold on the amounts along one direction, for laws whose amounts are Gaussian."""

    vote = 0.9

    def __init__(self, noise):
        self.noise = noise
        self.tau = noise.budget.typical
        self.radius = self.tau * norm.ppf(self.vote)

    def vote_at(self, length):
        return float(norm.cdf(norm.ppf(self.vote) - length / self.tau))


class Exposure(HalfSpace):
    def __init__(self):
        super().__init__(ExposureNoise(exposure=0.5))

    def votes(self, images):
        return torch.log2(images.double() / IMAGE)[:, 0, 2, 3] < self.radius

    def worst(self, length):
        return IMAGE * 2.0**length


class Fields(HalfSpace):
    """The direction mixes exposure and shading."""

    def __init__(self):
        super().__init__(ExposureNoise(exposure=0.5, shading=0.3, shading_order=1))
        modes = self.noise.budget.modes(IMAGE)
        self.fields, self.taus = modes.fields, modes.tau
        self.direction = torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)  # in standard deviations, of length 1
        self.solve = torch.linalg.pinv(self.fields.flatten(1).T)

    def votes(self, images):
        amounts = torch.log2(images.double() / IMAGE).flatten(1) @ self.solve.T
        return (amounts / self.taus) @ self.direction < norm.ppf(self.vote)

    def worst(self, length):
        amounts = length / self.tau * self.direction * self.taus
        return IMAGE * torch.exp2(torch.einsum("m,mchw->chw", amounts, self.fields))


class Gamma(HalfSpace):
    def __init__(self):
        super().__init__(GammaNoise(log_gamma=0.3))

    def votes(self, images):
        return (images.double().log() / IMAGE.log()).log()[:, 0, 2, 3] < self.radius

    def worst(self, length):
        return IMAGE ** math.exp(length)


class Blur(Case):
    """A threshold on the time, which the first wave of the image shows."""

    vote = 0.9

    def __init__(self):
        self.noise = BlurNoise(rate=1.5)
        self.longest = -math.log(1 - self.vote) / 1.5
        self.radius = math.sqrt(2 * -math.log(2 * (1 - self.vote)) / 1.5)
        basis, decay = waves(6)
        self.wave, self.decay = basis[0][:, None] * basis[1], float(decay[1])
        self.size = float((IMAGE[0] * self.wave).sum())

    def votes(self, images):
        share = (images[:, 0].double() * self.wave).sum((1, 2)) / self.size
        return -share.log() / self.decay < self.longest

    def worst(self, length):
        return self.noise.budget.change(IMAGE, torch.tensor([length], dtype=torch.float64))

    def vote_at(self, length):
        return max(0.0, 1 - math.exp(1.5 * length**2 / 2) * (1 - self.vote))


class Affine(Case):
    """The region of the likelihood ratio for one change: exact for the majority there."""

    def __init__(self, k0=0.25, b0=0.05):
        self.noise, self.k0, self.b0 = AffineNoise(log_contrast=0.2, brightness=0.3), k0, b0
        self.vote = needed_vote(self.noise.budget.law, Change(k0, b0))
        self.radius = 0.3 * norm.ppf(self.vote)
        normals = np.random.default_rng(0).normal(size=(2, 1_000_000))
        self.k, self.b = torch.from_numpy(0.2 * normals[0]), torch.from_numpy(0.3 * normals[1])
        moved = self.ratio(k0 + self.k, b0 + math.exp(-k0) * self.b)
        self.edge = float(moved.median())

    def ratio(self, k, b):
        p = -((k / 0.2) ** 2) / 2 - (b / 0.3) ** 2 / 2
        return -(((k - self.k0) / 0.2) ** 2) / 2 - ((b - self.b0) * math.exp(self.k0) / 0.3) ** 2 / 2 - p

    def votes(self, images):
        one, other = images[:, 0, 0, 0].double(), images[:, 0, 1, 1].double()
        k = ((one - other) / (IMAGE[0, 0, 0] - IMAGE[0, 1, 1])).log()
        return self.ratio(k, one / k.exp() - IMAGE[0, 0, 0]) <= self.edge

    def worst(self, length):
        share = length / self.radius
        return math.exp(self.k0 * share) * (IMAGE + self.b0 * share)

    def vote_at(self, length):
        share = length / self.radius  # along a line, on which only the end has this length
        k0, b0 = self.k0 * share, self.b0 * share
        return float((self.ratio(k0 + self.k, b0 + math.exp(-k0) * self.b) <= self.edge).double().mean())


class UnequalNine(Regions):
    """Nine regions of unequal shape, and a corner in none, whatever the image."""

    def __call__(self, image, image_id):
        labels = torch.arange(6)[:, None] // 2 * 3 + torch.tensor([0, 1, 1, 1, 2, 2])
        labels[5, 5] = -1
        return labels


class Patches(Case):
    """The extremal function for one repainted patch: new content never votes, and a part of the grey copies neither.

    Attributes:
        share: How many of the copies in which the first patch is filled do not vote.
    """

    def __init__(self, share=0.35):
        self.noise, self.cell = self.law()
        patterns = np.array(list(itertools.product((0, 1), repeat=8)))
        chances = np.cumsum(np.prod(np.where(patterns, 0.25, 0.75), axis=1))
        self.lost = torch.from_numpy(chances <= share)
        self.share = float(np.concatenate([[0.0], chances])[int(self.lost.sum())])
        self.vote = 1 - 0.75 * self.share
        self.radius = 1.0 if 0.75 * (1 - self.share) <= 0.5 else 2.0  # the fewest patches that break it

    def law(self):
        """The noise, and the number of the part of each pixel."""
        return PatchMaskNoise(keep=0.25, cells=3), cells_of(6, 6, 3)

    def shown(self, images):
        grey = (images == 0.5)[:, 0]
        return torch.stack([~grey[:, self.cell == number].all(1) for number in range(9)], 1)

    def votes(self, images):
        shown = self.shown(images)
        place = (shown[:, 1:].long() * 2 ** torch.arange(7, -1, -1)).sum(1)
        lost = ~shown[:, 0] & self.lost[place]
        new = shown[:, 0] & (images.double() - IMAGE).abs()[:, 0, self.cell == 0].amax(1).gt(1e-6)
        return ~(lost | new)

    def worst(self, length):
        return torch.where(self.cell == 0, 0.9, IMAGE) if length >= 1 else IMAGE

    def vote_at(self, length):
        return 0.75 * (1 - self.share) if length >= 1 else self.vote


class Regional(Patches):
    """The same for regions of the clean image."""

    def law(self):
        noise = RegionMaskNoise(keep=0.25, regions=UnequalNine()).placed(IMAGE, "a")
        return noise, noise.partition


CASES = {"exposure": Exposure, "fields": Fields, "gamma": Gamma, "blur": Blur, "affine": Affine, "patches": Patches}
CASES["regions"] = Regional


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    return CASES[request.param]()


def maps(votes):
    """The first of two pixels is the larger one in the copies that vote."""
    return torch.where(votes[:, None, None], torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 2.0]])).double()


def sampled(case, seed, count=SAMPLES, alpha=ALPHA):
    accumulator = PixelCertificate([1], alpha).start(case.noise, (1, 2), dimension=36)
    for block in noisy_images(IMAGE, case.noise, image_id="a", num_samples=count, batch_size=count, seed=seed):
        accumulator.update(maps(case.votes(block)))
    return accumulator.compute()


def test_the_model_has_the_votes_that_are_said(case):
    for length in (0.0, 0.5 * case.radius, case.radius):
        changed = case.worst(length)
        stream = noisy_images(changed, case.noise, image_id="b", num_samples=4000, batch_size=500)
        share = float(torch.cat([case.votes(block) for block in stream]).double().mean())
        assert share == pytest.approx(case.vote_at(length), abs=5 * 0.5 / 4000**0.5)


def test_the_bound_is_attained(case):
    votes = case.noise.budget.votes
    if isinstance(case, Patches):
        assert float(votes.lower(case.vote, 1)) == pytest.approx(case.vote_at(1), rel=1e-9)
        assert float(votes.radius(case.vote)) == 0.5  # no repainted patch: one breaks it
        assert case.vote_at(1) < 0.5
        return
    for share in (0.999, 1.01):
        length = case.noise.budget.length(IMAGE, case.worst(share * case.radius))
        assert length == pytest.approx(share * case.radius, rel=3e-3 if isinstance(case, Affine) else 3e-9)
        if not isinstance(case, Affine):
            assert case.vote_at(length) == pytest.approx(float(votes.lower(case.vote, length)), rel=1e-7)
        tolerance = 2e-3 if isinstance(case, Affine) else 0.0  # its votes are simulated
        assert (case.vote_at(share * case.radius) > 0.5 - tolerance) if share < 1 else True
        assert (case.vote_at(share * case.radius) < 0.5) if share > 1 else True
    assert float(votes.radius(case.vote)) == pytest.approx(case.radius, rel=1e-3)


def test_a_radius_exceeds_the_true_one_as_seldom_as_alpha_says(case):
    found = [sampled(case, seed) for seed in range(RUNS)]
    radii = torch.stack([one.radius[0, 0] * (one.labels[0, 0] == 1) for one in found])[:, 0]
    wrong = int((radii > case.radius).sum())
    assert wrong <= binom.ppf(0.9999, RUNS, ALPHA)
    assert float(radii.max()) > 0  # they say something
    # Control: the shares themselves, without a confidence level, are wrong about half of the time.
    shares = [float(one.votes[0, 0, 0]) / SAMPLES for one in found[:60]]
    naive = case.noise.budget.votes.radius(np.minimum(shares, 1 - 1e-9))
    assert (naive >= case.radius).sum() > 10


class Network(nn.Module):
    """Predicts the first class where a noisy copy votes."""

    def __init__(self, case):
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.case = case

    def forward(self, images):
        score = torch.where(self.case.votes(images), 1.0, -1.0)
        return self.weight * torch.stack([score, -score], 1)


class Shown(Attribution):
    """The map of a network that says how its maps look."""

    def __call__(self, model, images, targets, create_graph=False):
        return maps(model.case.votes(images))


LEFT = TopKInside(Box(0, 0, 1, 0.5), top_k=1)
"""1 in copies that vote, else 0."""
STATEMENTS = {
    "pixel": PixelCertificate([1], ALPHA),
    "prediction": PredictionCertificate(ALPHA),
    "claims": ClaimCertificate([Claim("left", LEFT)], alpha=ALPHA),
}
GAUSSIAN = {
    "overlap": TopKOverlapCertificate(top_k=1, alpha=ALPHA),
    "renyi": RenyiCertificate(top_k=1, alpha=ALPHA),
    "cosine": CosineCertificate(alpha=ALPHA, num_selection=100, nonnegative=True),
    "median": PercentileCertificate([Claim("left", LEFT)], alpha=ALPHA),
}


@pytest.fixture(scope="module")
def certified(case):
    named = STATEMENTS | (GAUSSIAN if isinstance(case.noise, GAUSSIAN_LAWS) else {})
    certifier = Certifier(Shown(), case.noise, named, num_samples=1000, batch_size=500, seed=5)
    return certifier(Network(case), IMAGE[None], [0], ids=["a"])[0]


def true_cosine(vote, changed):
    first, second = (np.array([2 * p + (1 - p), p + 2 * (1 - p)]) for p in (vote, changed))
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def kept(results, case, scale=1.0):
    """Whether everything that is certified is true at the worst images; lengths are shortened by ``1 / scale``."""
    true = {}
    lengths = (0.5, 1.0) if isinstance(case, Patches) else np.linspace(0.05, 1.3, 26) * case.radius
    for length in lengths:
        vote, claimed = case.vote_at(length), length / scale
        ok = {
            "pixel": vote > 0.5 or not float(results["pixel"].radius[0, 0, 0]) > claimed,
            "prediction": results["prediction"].interval(claimed).low
            <= vote
            <= results["prediction"].interval(claimed).high
            and (vote > 0.5 or not results["prediction"].holds(claimed)),
            "claims": results["claims"].interval(0, claimed).low <= vote <= results["claims"].interval(0, claimed).high,
        }
        if "cosine" in results:
            ok["cosine"] = results["cosine"].at(claimed) <= true_cosine(case.vote, vote)
            median = float(vote > 0.5)
            low, high = results["median"].interval(0, claimed)
            ok["median"] = low <= median + 1e-9 and median <= high + 1e-9
            for name in ("overlap", "renyi"):
                ok[name] = vote > 0.5 or results[name].certified_count(claimed)[0] == 0
        for name, good in ok.items():
            true[name] = true.get(name, True) and bool(good)
    return true


def test_all_that_is_certified_holds_at_the_worst_images(case, certified):
    assert kept(certified, case) == dict.fromkeys(certified, True)


def test_a_bound_that_is_too_large_is_found_out(case, certified):
    if isinstance(case, Patches):
        too_much = {**certified, "pixel": attrs.evolve(certified["pixel"], radius=certified["pixel"].radius + 1)}
        assert not kept(too_much, case)["pixel"]
        return
    found = kept(certified, case, scale=1.5 if not isinstance(case, Affine) else 2.0)
    assert not found["pixel"]
    assert not found["prediction"]
    assert not found["claims"] or isinstance(case, Affine)
    if "cosine" in certified:
        assert not (found["overlap"] and found["renyi"] and found["median"])


def test_changed_images_are_covered_up_to_the_radius(case, certified):
    pixel, radius = certified["pixel"], float(certified["pixel"].radius[0, 0, 0])
    if isinstance(case, Patches):
        assert pixel.holds_for(IMAGE, case.worst(1)).certified == 0
        return
    inside, outside = (case.worst(share * radius) for share in (0.97, 1.03))
    assert pixel.holds_for(IMAGE, inside).certified == 2
    assert pixel.holds_for(IMAGE, outside).certified == 0 or isinstance(case, Affine)
    wrong = inside.clone()
    wrong[0, 3, 3] += 0.02
    assert pixel.holds_for(IMAGE, wrong).certified == 0
    assert certified["prediction"].holds_for(IMAGE, inside).certified == 1
