"""Regions, means and percentiles where the truth is known: errors as rare as alpha says, and bounds that are attained.

The models are in benchmarks/soundness/closed_form.py: votes of regions, half-spaces and linear numbers move with the
perturbation as fast as any function can.
"""

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

from benchmarks.soundness import exact
from benchmarks.soundness.closed_form import Blocks, OwnValues, PooledPairs
from benchmarks.soundness.exact import ALPHA, AboveCut, Pixel, attack_exactly
from benchmarks.soundness.verdicts import Verdict
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    PercentileCertificate,
    PixelCertificate,
    claim_result,
    percentile_result,
)
from lit_certattr.smoothing import GaussianNoise

SIGMA, PAIRS = 0.25, 5
IMAGE = torch.linspace(0.2, 0.8, 8 * PAIRS).view(1, 4, 2 * PAIRS)
VOTES = np.array([0.5, 0.7, 0.1, 0.95, 0.999])


def network():
    texture = np.random.default_rng(0).normal(0, 3, (4, 2 * PAIRS))
    curvature = np.linspace(0.5, 2, PAIRS) * np.array([1, -1, 1, 1, -1])
    return PooledPairs.with_votes(IMAGE, VOTES, curvature, SIGMA, texture).eval()


def certify(certificate, model, image=IMAGE, method=None, num_samples=20_000):
    method = RegionMap(Gradient("sum"), Blocks(), "sum") if method is None else method
    run = Certifier(method, GaussianNoise(SIGMA), {"one": certificate}, num_samples, 2000)
    return run(model, image[None], [0], ["image"])[0]["one"]


# --- regions ----------------------------------------------------------------------------------------------------------


def test_sampled_votes_of_regions_are_the_closed_form_and_those_of_pixels_are_not():
    result = certify(PixelCertificate([0.5]), network())
    share, p = result.votes[0].view(2, PAIRS).numpy() / result.num_samples, network().votes(IMAGE)
    np.testing.assert_allclose(p[0], VOTES, atol=1e-6)
    assert (np.abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / result.num_samples) + 1e-9).all()
    pixels = certify(PixelCertificate([0.5]), network(), method=Gradient("sum"), num_samples=1000)
    inside = pixels.votes[0][:2, :2].double() / 1000
    assert float(inside.max() - inside.min()) > 0.5, "the texture decides which pixels of a region are large"


def worst(index):
    """The unit direction that lowers the vote of the first region of a pair fastest, over the pixels of both."""
    direction = torch.zeros(1, 4, 2 * PAIRS, dtype=torch.float64)
    direction[0, :2, 2 * index : 2 * index + 2], direction[0, 2:, 2 * index : 2 * index + 2] = -1, 1
    return direction * network().pairs.curvature[index].sign() / 8**0.5


@pytest.mark.parametrize("index", range(1, PAIRS))
def test_the_true_radius_of_a_region_is_attained(index):
    model, label = network(), VOTES[index] > 0.5
    true = SIGMA * abs(norm.ppf(VOTES[index]))
    direction = worst(index) * (1 if label else -1)
    assert float(direction.norm()) == pytest.approx(1)
    for factor, holds in ((0.999, True), (1.01, False)):
        vote = model.votes(IMAGE.double() + factor * true * direction)[0, index]
        assert ((vote > 0.5) == label) == holds


def test_certified_regions_survive_the_worst_attack_up_to_their_radius():
    model, result = network(), certify(PixelCertificate([0.5]), network())
    radius, labels = result.radius[0].view(2, PAIRS)[0].double(), result.labels[0].view(2, PAIRS)[0]
    assert (labels[1:] >= 0).all()
    for index in range(1, PAIRS):
        true = SIGMA * abs(norm.ppf(VOTES[index]))
        assert 0.85 * true < radius[index] < true
        direction = worst(index) * (1 if labels[index] == 1 else -1)
        vote = model.votes(IMAGE.double() + 0.999 * radius[index] * direction)[0, index]
        assert (vote > 0.5) == bool(labels[index])


# --- means and percentiles --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["betting", "clopper_pearson"])
def test_the_mean_of_a_half_space_holds_at_the_radius_and_breaks_soon_after(bound):
    image, mean = torch.full((1, 1, 4), 0.5), 0.9
    number = AboveCut(1, 0.5 - SIGMA * norm.ppf(mean))
    other = AboveCut(1, 0.5 + SIGMA * norm.ppf(mean))
    for claim, sign in ((Claim("a", number, at_least=0.6), -1), (Claim("a", other, at_most=0.4), 1)):
        result = certify(ClaimCertificate([claim], bound=bound), exact.TwoValues(), image, OwnValues())
        true, radius = SIGMA * (norm.ppf(mean) - norm.ppf(0.6)), result.radius(0)
        assert 0.9 * true < radius < true
        start = mean if sign < 0 else 1 - mean

        def at(length, start=start, sign=sign):
            return norm.cdf(norm.ppf(start) + sign * length / SIGMA)

        inside = [at(factor * true) for factor in (0.999, 1.01)]
        kept = [value >= 0.6 if sign < 0 else value <= 0.4 for value in inside]
        assert kept == [True, False], "the bound is attained by the half-space"
        assert at(radius) >= 0.6 if sign < 0 else at(radius) <= 0.4


@pytest.mark.parametrize("step", [0.0, 0.1])
@pytest.mark.parametrize("budget", [None, 0.1])
def test_the_median_of_a_linear_number_holds_at_the_radius_and_breaks_soon_after(step, budget):
    image, room = torch.full((1, 1, 4), 0.5), 0.15 + step
    claims = [Claim("low", Pixel(1, step), at_least=0.5 - room), Claim("high", Pixel(2, step), at_most=0.5 + room)]
    result = certify(PercentileCertificate(claims, budget=budget), exact.TwoValues(), image, OwnValues())

    def median(length):  # rounded down, the first step at which the distribution reaches one half
        return step * np.ceil((0.5 + length) / step - 1) if step else 0.5 + length

    for index, sign in enumerate((-1, 1)):
        radius = result.radius(index)
        assert radius == budget if budget else radius > 0.02
        for factor in (0.5, 0.999):
            moved = median(sign * factor * radius)
            assert moved >= 0.5 - room if sign < 0 else moved <= 0.5 + room
        far = median(sign * (1.01 * room + step))
        assert far < 0.5 - room if sign < 0 else far > 0.5 + room


# --- errors are as rare as alpha says ---------------------------------------------------------------------------------

REPEATS = 60


def rows(repeats=REPEATS):
    sums, false = {}, {}
    for seed in range(repeats):
        for name, factor, verdict in attack_exactly(seed, (0.999, 4.0), ["claims"]):
            sums[name, factor] = sums.get((name, factor), Verdict()) + verdict
            false[name] = false.get(name, 0) + (verdict.violated > 0)
    return sums, false


@pytest.mark.slow
def test_a_small_version_of_the_long_run():
    sums, false = rows()
    names = {name for name, _ in sums}
    assert names == {
        "regions",
        *(f"claims, {bound}" for bound in ("betting", "exact", "Holm")),
        *(f"percentiles, {kind}" for kind in ("all radii", "one budget")),
        "prediction",
    }
    assert all(count <= binom.ppf(0.999, REPEATS, ALPHA) for count in false.values()), false
    for name in names:
        assert sums[name, 4.0].broken > 0.5 * (sums[name, 4.0].beyond + sums[name, 4.0].inside), name


@pytest.mark.slow
def test_the_check_catches_claims_that_spend_alpha_many_times(monkeypatch):
    """The control: forty times alpha for each claim."""
    exactly, ranks = claim_result.mean_lower, percentile_result.quantile_lower_rank
    monkeypatch.setattr(claim_result, "mean_lower", lambda values, level, *rest: exactly(values, 40 * level, *rest))
    monkeypatch.setattr(percentile_result, "quantile_lower_rank", lambda n, p, level: ranks(n, p, 40 * level))
    monkeypatch.setattr(percentile_result, "hoeffding_margin", lambda n, level: 0.01)
    _, false = rows()
    allowed = binom.ppf(0.999, REPEATS, ALPHA)
    for name in ("claims, betting", "claims, exact", "percentiles, all radii"):
        assert false[name] > allowed, name
