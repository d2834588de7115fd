"""Bounds for means of bounded variables: published vectors, order, and how often they miss."""

import numpy as np
import pytest
from scipy.stats import binom

from lit_certattr.statistics import (
    betting_lower,
    chernoff_lower,
    clopper_pearson_lower,
    empirical_bernstein_lower,
    hoeffding_bentkus_lower,
    hoeffding_margin,
    vector_margin,
)

SAWTOOTH = np.array([((37 * t) % 100) / 100 for t in range(500)])
SAWTOOTH[SAWTOOTH < 0.6] = 0
CYCLE = (np.tile([0.9, 0.7, 0.95, 0.85], 64) + 1) / 2


def test_vectors_for_a_mean():
    assert 0.3 - hoeffding_margin(500, 1e-3) == pytest.approx(0.216887093187, abs=1e-12)
    assert chernoff_lower(0.3, 500, 1e-3) == pytest.approx(0.227957460235, abs=1e-11)
    assert hoeffding_bentkus_lower(0.3, 500, 1e-3) == pytest.approx(0.233429988705, abs=1e-11)


def test_vectors_for_values():
    assert empirical_bernstein_lower(SAWTOOTH, 1e-3) == pytest.approx(0.213295764672, abs=1e-12)
    assert betting_lower(SAWTOOTH, 1e-3, cap=0.5) == pytest.approx(0.254973099970, abs=1e-11)
    assert 2 * (CYCLE.mean() - hoeffding_margin(256, 1e-3)) - 1 == pytest.approx(0.617692363, abs=1e-9)
    assert 2 * empirical_bernstein_lower(CYCLE, 1e-3) - 1 == pytest.approx(0.688059284, abs=1e-9)
    assert 2 * betting_lower(CYCLE, 1e-3) - 1 == pytest.approx(0.793023844, abs=1e-9)


def test_vectors_for_vectors():
    assert vector_margin(1024, 1e-3, 2.0) == pytest.approx(0.147404, abs=1e-6)
    assert vector_margin(1024, 1e-3, 2**0.5) == pytest.approx(0.113383, abs=1e-6)


def test_nothing_is_said_where_nothing_can_be():
    assert betting_lower([], 0.01) == 0
    assert betting_lower([1.0], 0.01) == 0
    assert betting_lower(np.zeros(100), 0.01) == 0
    assert chernoff_lower(0.0, 100, 0.01) == hoeffding_bentkus_lower(0.0, 100, 0.01) == 0


@pytest.mark.parametrize("mean", [0.02, 0.3, 0.98, 1.0])
def test_each_bound_is_below_the_sharper_one(mean):
    count = round(200 * mean)
    chernoff, bentkus = chernoff_lower(mean, 200, 0.01), hoeffding_bentkus_lower(mean, 200, 0.01)
    assert mean - hoeffding_margin(200, 0.01) <= chernoff <= bentkus <= mean
    assert chernoff <= clopper_pearson_lower(count, 200, 0.01)


def test_the_bound_rises_with_the_values_and_with_the_level():
    rng = np.random.default_rng(0)
    values = rng.beta(5, 2, 300)
    assert betting_lower(values * 0.9, 0.01) < betting_lower(values, 0.01) < betting_lower(values, 0.1) < values.mean()
    assert betting_lower(values, 0.01, anytime=True) < betting_lower(values, 0.01)


LAWS = {
    "rare": (lambda rng, size: (rng.random(size) < 0.02).astype(float), 0.02),
    "coin": (lambda rng, size: (rng.random(size) < 0.9).astype(float), 0.9),
    "beta": (lambda rng, size: rng.beta(40, 4, size), 40 / 44),
    "uniform": (lambda rng, size: rng.random(size), 0.5),
}
BOUNDS = {
    "betting": betting_lower,
    "empirical Bernstein": empirical_bernstein_lower,
    "Hoeffding-Bentkus": lambda x, level: hoeffding_bentkus_lower(float(x.mean()), x.size, level),
}


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("law", LAWS)
def test_a_bound_misses_no_more_often_than_its_level(law, bound):
    draw, mean = LAWS[law]
    rng = np.random.default_rng(1)
    misses = sum(BOUNDS[bound](draw(rng, 120), 0.05) > mean for _ in range(300))
    assert misses <= binom.ppf(0.999, 300, 0.05)


def test_the_check_catches_a_bound_without_correction():
    draw, mean = LAWS["coin"]
    rng = np.random.default_rng(1)
    misses = sum(betting_lower(draw(rng, 120), 0.5) > mean for _ in range(300))
    assert misses > binom.ppf(0.999, 300, 0.05)


def test_all_prefixes_hold_at_once():
    """The anytime stakes: a run may stop when the bound looks best."""
    rng = np.random.default_rng(2)
    looks = (10, 20, 40, 80, 160)
    misses = 0
    for _ in range(200):
        values = rng.random(160)
        misses += max(betting_lower(values[:n], 0.05, anytime=True) for n in looks) > 0.5
    assert misses <= binom.ppf(0.999, 200, 0.05)


def test_means_that_change_are_covered_by_the_largest():
    """Conditional means that depend on the past, none above one half."""
    rng = np.random.default_rng(3)
    misses = 0
    for _ in range(300):
        coins, values = rng.random(150), []
        for coin in coins:
            mean = 0.5 if not values or values[-1] else 0.3
            values.append(float(coin < mean))
        misses += betting_lower(values, 0.05) > 0.5
    assert misses <= binom.ppf(0.999, 300, 0.05)


def test_the_vector_ball_holds_the_expectation():
    rng = np.random.default_rng(4)
    centre = np.eye(20)[0] * 0.6
    misses = 0
    for _ in range(300):
        x = rng.standard_normal((64, 20))
        x -= x[:, :1] * np.eye(20)[0]
        x = centre + 0.8 * x / np.linalg.norm(x, axis=1, keepdims=True)
        misses += np.linalg.norm(x.mean(0) - centre) > vector_margin(64, 0.05, 2.0)
    assert misses == 0


def test_a_sum_just_below_a_whole_number_counts_as_the_number_below():
    """But for the rounding of a mean: a billionth of a count."""
    whole, rounded, below = (hoeffding_bentkus_lower((90 - short) / 100, 100, 0.01) for short in (0, 5e-10, 1.5e-9))
    assert rounded == pytest.approx(whole, abs=1e-9)
    assert below < whole - 1e-4
