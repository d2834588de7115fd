"""Certified percentiles that a true percentile leaves more often than alpha allows, or that hide missing numbers."""

import math

import attrs
import numpy as np
import pytest
import torch
from oracles.quantiles import shifted_quantile_curve, shifted_quantile_interval
from scipy.stats import binom, kstwo, norm

from lit_certattr.certificates import Claim, PercentileCertificate, load_results, save_results
from lit_certattr.errors import InputError
from lit_certattr.numbers import CentreOfMass, FunctionNumber
from lit_certattr.smoothing import GaussianNoise

NOISE = GaussianNoise(0.5)


def first(maps):
    return maps[:, 0, 0]


LEFT = FunctionNumber(first, "the left pixel", None, None)


def maps_of(values):
    values = torch.as_tensor(values, dtype=torch.float64)
    return torch.stack([values, torch.full_like(values, 1e6)], 1)[:, None]


def certified(values, at_least=None, at_most=None, **settings):
    certificate = PercentileCertificate([Claim("left", LEFT, at_least, at_most)], **settings)
    accumulator = certificate.start(NOISE, (1, 2))
    accumulator.update(maps_of(values))
    return accumulator.compute()


@pytest.mark.parametrize("probability", [0.5, 0.3])
@pytest.mark.parametrize("draw", [np.asarray, np.round], ids=["continuous", "tied"])
def test_one_budget_gives_the_order_statistics_of_the_definition(draw, probability):
    values, budget, alpha = draw(np.random.default_rng(0).normal(size=200)), 0.25, 0.05
    found = certified(values, alpha=alpha, probability=probability, budget=budget).interval(0, budget)
    assert found == shifted_quantile_interval(values, budget / NOISE.sigma, alpha, probability)
    lo = norm.cdf(norm.ppf(probability) - budget / NOISE.sigma)
    rank = max(k for k in range(201) if k == 0 or binom.cdf(k - 1, 200, lo) <= alpha / 2)
    assert found.low == np.sort(values)[rank - 1]


def test_the_band_is_that_of_the_definition_up_to_one_rank():
    values, radii = np.random.default_rng(0).normal(size=200), [0.0, 0.1, 0.25, 0.5, 1.0]
    result = certified(values, alpha=0.05)
    ends, ordered = shifted_quantile_curve(values, np.array(radii) / NOISE.sigma, 0.05), np.sort(values)
    for ours, theirs, outwards in zip(result.intervals(0, radii), ends, (-1, 1), strict=True):
        ranks = [np.searchsorted(ordered, end) for end in (ours, theirs)]
        assert bool(((ranks[0] - ranks[1]) * outwards >= 0).all()), "never inside"
        assert bool((np.abs(ranks[0] - ranks[1]) <= 1).all())
    assert kstwo.isf(0.05, 200) == pytest.approx(0.0952, abs=1e-4)


@pytest.mark.parametrize("budget", [None, 0.25], ids=["all radii", "one budget"])
@pytest.mark.parametrize("kind", ["continuous", "tied", "missing"])
def test_no_more_than_alpha_of_the_intervals_miss_a_percentile(kind, budget):
    """The true percentiles of the number at the worst perturbations, which the theorem says are lo and hi."""
    generator, alpha, repetitions, n = np.random.default_rng(4), 0.05, 2000, 100
    values = generator.normal(size=(repetitions, n))
    values = np.round(values) if kind == "tied" else values
    below, above = values, values
    if kind == "missing":
        gone = generator.random(values.shape) < 0.1
        below, above = np.where(gone, -np.inf, values), np.where(gone, np.inf, values)

    def quantile(p, side):
        if kind == "tied":
            return np.ceil(norm.ppf(p) - 0.5)
        if kind == "continuous":
            return norm.ppf(p)
        inside = (p - 0.1) / 0.9 if side == "below" else p / 0.9
        return -math.inf if inside <= 0 else math.inf if inside >= 1 else norm.ppf(inside)

    result = certified(values[0], alpha=alpha, budget=budget)
    radii = [0.25] if budget else [0.0, 0.1, 0.25, 0.5]
    misses = 0
    for low_values, high_values in zip(below, above, strict=True):
        one = attrs.evolve(result, below=torch.from_numpy(low_values[None]), above=torch.from_numpy(high_values[None]))
        low, high = one.intervals(0, radii)
        lo, hi = (norm.cdf(np.array(radii) / NOISE.sigma * sign) for sign in (-1, 1))
        misses += any(
            not (a <= quantile(p, "below") and quantile(q, "above") <= b)
            for a, b, p, q in zip(low, high, lo, hi, strict=True)
        )
    assert misses <= repetitions * alpha + 3 * math.sqrt(repetitions * alpha * (1 - alpha))
    assert misses > 0, "an interval that never errs is not the one that is meant"


def test_a_linear_number_attains_the_interval():
    """The number w.x + 2: its median moves with the perturbation along w, by exactly the lemma."""
    values = 2 + NOISE.sigma * norm.ppf((np.arange(40_000) + 0.5) / 40_000)
    result = certified(values, at_least=1.5, alpha=1e-6)
    radius = result.radius(0)
    assert 0.45 < radius < 0.5
    assert 2 - 0.999 * radius >= 1.5 > 2 - 1.2 * radius
    for asked in (0.1, 0.3, 0.6):
        low, high = result.interval(0, asked)
        assert 2 - asked - 0.06 < low <= 2 - asked
        assert 2 + asked <= high < 2 + asked + 0.06
    held = certified(values, at_least=1.5, alpha=1e-6, budget=0.47)
    assert held.radius(0) == 0.47
    assert not held.holds(0, 0.471)
    # With the true percentiles in place of samples the bound is attained: 1.01 times the budget breaks it.
    assert norm.ppf(norm.cdf(-0.5 / NOISE.sigma)) * NOISE.sigma + 2 == pytest.approx(1.5)
    assert 2 - 1.01 * 0.5 < 1.5 <= 2 - 0.999 * 0.5


def test_one_budget_is_tighter_there_and_says_nothing_beyond():
    values = np.random.default_rng(0).normal(size=400)
    curve, one = certified(values), certified(values, budget=0.3)
    widths = [result.interval(0, 0.3).high - result.interval(0, 0.3).low for result in (curve, one)]
    assert widths[1] < widths[0]
    assert one.interval(0, 0.1) == one.interval(0, 0.3)
    assert one.interval(0, 0.31) == (-math.inf, math.inf)


@pytest.mark.parametrize("spoiled", [0.0, torch.nan])
def test_maps_without_a_number_count_against_every_claim(spoiled):
    certificate = PercentileCertificate([Claim("row", CentreOfMass("row"), at_least=0.1, at_most=0.9)])
    maps = torch.rand(500, 2, 2, generator=torch.Generator().manual_seed(0))
    radii = []
    for count in (0, 150, 300):
        accumulator = certificate.start(NOISE, (2, 2))
        accumulator.update(torch.where(torch.arange(500).view(-1, 1, 1) < count, spoiled, maps))
        result = accumulator.compute()
        radii.append(result.radius(0))
        assert result.num_missing == (count,)
        assert result.rederive().flags == result.flags
        assert bool(result.flags) == (count > 0)
    assert radii[0] > radii[1] > radii[2] == 0
    assert result.interval(0) == (-math.inf, math.inf)
    assert result.verdict(0) == "not shown"


def test_claims_hold_are_refuted_or_not_shown_and_a_file_gives_them_back(tmp_path):
    values = np.random.default_rng(0).normal(size=500)
    for bounds, verdict in (
        ({"at_least": -1.0, "at_most": 1.0}, "holds"),
        ({"at_least": 0.5}, "refuted at the clean image"),
        ({"at_most": 0.0}, "not shown"),
        ({}, ""),
    ):
        result = certified(values, **bounds)
        assert result.verdict(0) == verdict
        save_results(tmp_path / "file", {"one": result})
        again = load_results(tmp_path / "file")["one"].rederive()
        assert (again.statement(), again.radius(0)) == (result.statement(), result.radius(0))
        assert "the median of the left pixel" in result.statement()
    with pytest.raises(InputError, match="are none"):
        attrs.evolve(result, below=result.below * torch.nan).rederive()


def test_other_noise_contradicts_what_is_not_so():
    values = np.random.default_rng(0).normal(size=500)
    result, fresh = certified(values), certified(np.random.default_rng(1).normal(size=500))
    for name, lower in result.claims().items():
        assert bool((lower <= result.upper_bounds(fresh, 1e-4)[name]).all())
    forged = attrs.evolve(result, below=result.below + 0.5, above=result.above + 0.5)
    fallen = [(lower > forged.upper_bounds(fresh, 1e-4)[name]).any() for name, lower in forged.claims().items()]
    assert any(fallen)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PercentileCertificate(probability=1.0), "probability must lie strictly"),
        (lambda: PercentileCertificate(budget=0.0), "budget must be a positive number"),
        (lambda: PercentileCertificate([]), "at least one"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("settings", [{}, {"budget": 0.2}, {"probability": 0.2}])
def test_the_fewest_samples_are_the_fewest(settings):
    certificate = PercentileCertificate([Claim("left", LEFT)], **settings)
    fewest = certificate.smallest_num_samples(2)
    for count, said in ((fewest, True), (fewest // 2, False)):
        result = certified(np.arange(count), **settings)
        if "budget" not in settings:
            assert all(map(math.isfinite, result.interval(0))) == said


@pytest.mark.parametrize("budget", [None, 0.25], ids=["all radii", "one budget"])
def test_claims_share_alpha_and_do_not_multiply_it(budget):
    """Of a claim with a quarter of alpha the interval is that of a claim alone, at a quarter of alpha."""
    values = np.random.default_rng(0).normal(size=400)
    claims = [Claim("a", LEFT, weight=3), Claim("b", LEFT, weight=1)]
    accumulator = PercentileCertificate(claims, alpha=0.04, budget=budget).start(NOISE, (1, 2))
    accumulator.update(maps_of(values))
    shared = accumulator.compute()
    for claim, alpha in enumerate((0.03, 0.01)):
        assert shared.interval(claim, 0.2) == certified(values, alpha=alpha, budget=budget).interval(0, 0.2)
    assert shared.interval(1, 0.2).low < shared.interval(0, 0.2).low


def test_where_rounding_decides_a_rank_it_goes_outwards():
    """The band is a tenth: the ranks are 40 and 60 but for rounding, of which nobody knows the direction."""
    result = certified(np.arange(1, 101), alpha=2 * math.exp(-2))
    assert result.interval(0, 0.0) == (40, 61)


def test_fresh_noise_tests_the_ends_at_the_lengths_that_are_claimed():
    result = certified(np.random.default_rng(0).normal(size=400), alpha=0.05)
    low, high = result._ends()
    lengths = np.array([0.0, 0.25, 0.5, 1.0, 1.5])
    for ends, expected in zip((low, high), result.intervals(0, lengths * NOISE.sigma), strict=True):
        np.testing.assert_array_equal(ends[0], expected)
