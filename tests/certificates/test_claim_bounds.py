"""Bounds and verdicts of claims, number by number against their definitions: no simulation, no network."""

import math
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
import torch
from scipy.stats import beta, norm

from lit_certattr.budgets.votes import VoteBounds
from lit_certattr.certificates import Claim, ClaimCertificate, ClaimResult
from lit_certattr.certificates.claim_result import mean_lower
from lit_certattr.numbers import FunctionNumber
from lit_certattr.smoothing import GaussianNoise
from lit_certattr.statistics import betting_lower

SIGMA, SAMPLES, ALPHA = 0.5, 80, 0.04
RANGES = ((0.0, 1.0), (-3.0, 5.0))


def first(maps):
    return maps[:, 0, 0]


def second(maps):
    return maps[:, 0, 1]


def made(least=(-math.inf, -math.inf), most=(math.inf, math.inf), ranges=RANGES, bound="clopper_pearson", **fields):
    """A result of two claims about 0 and 1, of which some maps have neither; what is claimed is scaled to [0, 1]."""
    certificate = ClaimCertificate(
        [
            Claim("first", FunctionNumber(first, "the first pixel", *ranges[0])),
            Claim("second", FunctionNumber(second, "the second pixel", *ranges[1]), weight=3),
        ],
        ALPHA,
    )
    below = (np.arange(SAMPLES) < np.array([[56], [70]])).astype(float)
    above = (np.arange(SAMPLES) < np.array([[60], [71]])).astype(float)
    blank = ClaimResult(
        lower=torch.zeros(2, dtype=torch.float64),
        upper=torch.ones(2, dtype=torch.float64),
        below=torch.from_numpy(below),
        above=torch.from_numpy(above),
        mean=torch.zeros(1, 2, dtype=torch.float64),
        num_samples=SAMPLES,
        **certificate.fixed(GaussianNoise(SIGMA), (1, 2), 2, SAMPLES, 0.5)
        | {"bound": (bound, bound)}
        | {
            name: tuple(low + (high - low) * one for (low, high), one in zip(ranges, asked, strict=True))
            for name, asked in (("at_least", least), ("at_most", most))
        }
        | fields,
    )
    return blank.rederive()


def exact_lower(successes, level):
    return beta.ppf(level, successes, SAMPLES - successes + 1)


# --- confidence bounds ------------------------------------------------------------------------------------------------


def test_a_claim_spends_half_of_its_share_of_alpha_on_each_side():
    """Alpha .04, half of it for this look, a quarter and three quarters for the claims, half of that for a side."""
    result = made()
    for claim, (level, least, most) in enumerate([(0.0025, 56, 60), (0.0075, 70, 71)]):
        assert float(result.lower[claim]) == pytest.approx(exact_lower(least, level), rel=1e-12)
        assert float(result.upper[claim]) == pytest.approx(1 - exact_lower(SAMPLES - most, level), rel=1e-12)


def test_bets_are_made_on_the_numbers_in_their_order_and_on_what_is_missing_from_one():
    result = made(bound="betting")
    for claim, level in enumerate([0.0025, 0.0075]):
        assert float(result.lower[claim]) == betting_lower(result.below[claim].numpy(), level)
        assert float(result.upper[claim]) == 1 - betting_lower(1 - result.above[claim].numpy(), level)


def test_the_slack_of_the_noise_is_not_spent():
    result = made(alpha_slack=0.015)
    assert float(result.lower[0]) == pytest.approx(exact_lower(56, 0.005 / 8), rel=1e-12)


def test_fresh_noise_allows_the_other_ends():
    result, level = made(), 0.001
    allowed = result.upper_bounds(made(), level)
    lower = [1 - exact_lower(SAMPLES - one, level) for one in (56, 70)]
    upper = [1 - exact_lower(one, level) for one in (60, 71)]
    assert allowed["mean of a number"].tolist() == pytest.approx(lower, rel=1e-12)
    assert allowed["one minus the mean of a number"].tolist() == pytest.approx(upper, rel=1e-12)
    assert mean_lower(torch.ones(9, dtype=torch.float64), level, "clopper_pearson") == pytest.approx(level ** (1 / 9))


# --- what follows from them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.7])
def test_the_interval_is_scaled_to_the_range_of_the_number(radius):
    result = made()
    for claim, (start, end) in enumerate(RANGES):
        low, high = result.interval(claim, radius)
        moved = [norm.ppf(float(result.lower[claim])) - radius / SIGMA, norm.ppf(float(result.upper[claim]))]
        assert low == pytest.approx(start + (end - start) * norm.cdf(moved[0]), abs=1e-12)
        assert high == pytest.approx(start + (end - start) * norm.cdf(moved[1] + radius / SIGMA), abs=1e-12)


@pytest.mark.parametrize("claim", [0, 1])
@pytest.mark.parametrize(("low", "high"), [(0.3, None), (None, 0.98), (0.3, 0.98), (0.45, 0.99), (None, 0.995)])
def test_the_radius_is_the_shorter_one_of_both_sides_and_the_last_that_holds(claim, low, high):
    result = made(
        *((one, one) for one in (-math.inf if low is None else low, math.inf if high is None else high)),
    )
    lengths = [] if low is None else [SIGMA * (norm.ppf(float(result.lower[claim])) - norm.ppf(low))]
    lengths += [] if high is None else [SIGMA * (norm.ppf(high) - norm.ppf(float(result.upper[claim])))]
    radius = result.radius(claim)
    assert min(lengths) > 0.05
    assert radius == pytest.approx(min(lengths), rel=1e-9)
    assert result.holds(claim, radius)
    assert not result.holds(claim, radius * (1 + 1e-9))
    assert result.verdict(claim) == "holds"


def test_a_claim_that_holds_at_the_image_alone_has_no_radius():
    """Its bound is the lower end itself: no perturbation is left, and "holds" would promise one."""
    result = made()
    low, high = result.interval(0)
    for changes in ({"at_least": (low, 0.0)}, {"at_most": (high, 9.0)}):
        exact = attrs.evolve(result, **changes)
        assert exact.holds(0, 0.0), "at least, and at most, are meant as they are said"
        assert exact.radius(0) < 1e-12
    none = attrs.evolve(result, at_least=(np.nextafter(low, 1), 0.0))
    assert not none.holds(0, 0.0)
    assert none.radius(0) == 0.0
    assert none.verdict(0) == "not shown"
    assert made().radius(0) == 0.0, "a claim without bounds"


def test_a_claim_is_refuted_only_if_its_interval_misses_it_altogether():
    result = made()
    low, high = result.interval(0)
    refuted = "refuted at the clean image"
    for at_least, verdict in ((high, "not shown"), (np.nextafter(high, 1), refuted)):
        assert attrs.evolve(result, at_least=(at_least, 0.0)).verdict(0) == verdict
    for at_most, verdict in ((low, "not shown"), (np.nextafter(low, 0), refuted)):
        assert attrs.evolve(result, at_most=(at_most, 9.0)).verdict(0) == verdict


# --- Holm's test ------------------------------------------------------------------------------------------------------

HOLM_RADIUS = 0.1


def asked_for(scaled, radius=HOLM_RADIUS):
    """The mean at the image that shows a scaled number at the radius."""
    return norm.cdf(norm.ppf(scaled) + radius / SIGMA)


def test_a_side_that_passes_is_cut_back_to_what_shows_the_claim_at_the_radius():
    """The first claim passes from below and from above, the second does not; thresholds are in closed form."""
    result = made(least=(0.4, 0.9), most=(0.97, math.inf), holm_radius=HOLM_RADIUS)
    assert float(result.lower[0]) == pytest.approx(asked_for(0.4), rel=1e-12)
    assert float(result.upper[0]) == pytest.approx(1 - asked_for(1 - 0.97), rel=1e-12)
    assert result.holds(0, HOLM_RADIUS)
    assert not result.holds(0, HOLM_RADIUS * (1 + 1e-9))


def test_a_side_that_passes_hands_its_level_to_the_rest_and_a_side_that_nobody_asks_about_keeps_its_own():
    """Sides ask for .0025 + .0025 + .0075; when those of the first claim have passed, the last has all of it."""
    result = made(least=(0.4, 0.9), most=(0.97, math.inf), holm_radius=HOLM_RADIUS)
    assert float(result.lower[1]) == pytest.approx(exact_lower(70, 0.0125), rel=1e-9)
    assert float(result.lower[1]) > float(made().lower[1])
    assert float(result.upper[1]) == float(made().upper[1])
    above = made(least=(0.4, -math.inf), most=(0.97, 0.9), holm_radius=HOLM_RADIUS)
    assert float(above.upper[1]) == pytest.approx(1 - exact_lower(SAMPLES - 71, 0.0125), rel=1e-9)
    assert float(above.lower[1]) == float(made().lower[1])
    alone = made(least=(-math.inf, 0.4), most=(0.95, math.inf), holm_radius=HOLM_RADIUS)
    assert float(alone.lower[0]) == float(made().lower[0]), "the first claim asks from above alone"


def test_bets_of_the_step_down_keep_the_stakes_of_their_own_share():
    result = made(least=(0.4, 0.92), most=(0.97, math.inf), holm_radius=HOLM_RADIUS, bound="betting")
    expected = betting_lower(result.below[1].numpy(), 0.0125 * (1 - 1e-12), stakes_level=0.0075)
    assert float(result.lower[1]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scaled", [1e-6, 0.013, 0.62, 1 - 1e-6])
@pytest.mark.parametrize("radius", [1e-3, 0.0371, 4.0])
@pytest.mark.parametrize("ranges", [RANGES, ((-1e-3, 7e5), (0.1, 0.3))])
def test_the_threshold_is_the_smallest_mean_with_which_the_claim_holds_at_the_radius(scaled, radius, ranges):
    for claim in (0, 1):
        for upwards in (False, True):
            asked = (scaled, scaled)
            least, most = ((-math.inf,) * 2, tuple(1 - one for one in asked)) if upwards else (asked, (math.inf,) * 2)
            result = made(least, most, ranges, holm_radius=radius)
            mean = result._threshold(claim, upwards)
            value = 1 - most[claim] if upwards else scaled
            exact = asked_for(value, radius)
            assert exact * (1 - 1e-8) <= mean <= min(1.0, exact * (1 + 1e-8))
            bounds = {"upper": 1 - mean} if upwards else {"lower": mean}
            both = {name: torch.full((2,), one, dtype=torch.float64) for name, one in bounds.items()}
            passed = attrs.evolve(result, **both)
            assert mean == 1 or passed.holds(claim, radius)


class Falls(VoteBounds):
    """A vote falls by a quarter of the length of a change."""

    def lower(self, vote, radii):
        return np.maximum(0.0, np.asarray(vote) - np.asarray(radii) / 4)

    def reach(self, vote, level):
        return 4 * (vote - level)


def test_under_a_law_that_is_not_gaussian_the_threshold_is_the_smallest_mean_as_well(monkeypatch):
    """One that is too high would be right, and let no claim pass."""
    result = made(least=(0.4, 0.9), most=(0.97, math.inf), holm_radius=0.1)
    monkeypatch.setattr(ClaimResult, "change_budget", SimpleNamespace(votes=Falls()))
    for claim, upwards, asked in ((0, False, 0.4), (0, True, 0.03), (1, False, 0.9)):
        assert asked + 0.025 - 1e-15 <= result._threshold(claim, upwards) <= asked + 0.025 + 2e-12
