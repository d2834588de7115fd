"""Bounds of quantiles against the slow reference, exact coverage, ties, and the function that attains the shift."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles.quantiles import kolmogorov_band, shifted_quantile_curve, shifted_quantile_interval
from scipy.stats import binom, kstwo, norm

from lit_certattr.statistics import quantile_lower_rank, quantile_upper_rank


@pytest.mark.parametrize(("n", "p", "low", "high"), [(100, 0.5, 40, 61), (100, 0.3, 21, 40), (1000, 0.31, 282, 340)])
def test_ranks_of_the_reference(n, p, low, high):
    assert (quantile_lower_rank(n, p, 0.025), quantile_upper_rank(n, p, 0.025)) == (low, high)


@given(st.integers(1, 60), st.floats(0, 1), st.floats(1e-6, 0.5))
def test_ranks_are_the_extreme_ones_whose_error_is_allowed(n, p, level):
    slack = 1 + 1e-9  # the two libraries agree to some last bits
    low, high = quantile_lower_rank(n, p, level), quantile_upper_rank(n, p, level)
    assert 0 <= low <= n
    assert 1 <= high <= n + 1
    assert low == 0 or binom.cdf(low - 1, n, p) <= level * slack
    assert low == n or binom.cdf(low, n, p) > level / slack
    assert high == n + 1 or binom.sf(high - 1, n, p) <= level * slack
    assert high == 1 or binom.sf(high - 2, n, p) > level / slack


def test_the_error_of_an_interval_is_what_is_spent_to_the_last_rank():
    """Continuous values: the probability that order statistics miss the quantiles is known exactly."""
    n, r, level = 300, 0.4, 0.05
    low, high = norm.cdf(-r), norm.cdf(r)
    missed = binom.cdf(quantile_lower_rank(n, low, level / 2) - 1, n, low)
    missed += binom.sf(quantile_upper_rank(n, high, level / 2) - 1, n, high)
    assert 0.7 * level < missed <= level


@pytest.mark.parametrize("tied", [False, True])
def test_coverage_by_simulation(tied):
    """2,000 repetitions at 5 % of a linear function under Gaussian noise, whose quantile moves by the shift exactly."""
    generator, lengths, level = np.random.default_rng(0), (0.0, 0.25, 0.5, 1.0), 0.05

    def quantile(p):
        return math.ceil(norm.ppf(p) - 0.5) if tied else norm.ppf(p)

    interval = curve = 0
    for _ in range(2000):
        values = generator.normal(size=150)
        values = np.round(values) if tied else values
        low, high = shifted_quantile_interval(values, 0.5, level)
        interval += not low <= quantile(norm.cdf(-0.5)) or not quantile(norm.cdf(0.5)) <= high
        lows, highs = shifted_quantile_curve(values, lengths, level)
        curve += any(
            not (a <= quantile(norm.cdf(-r)) and quantile(norm.cdf(r)) <= b)
            for r, a, b in zip(lengths, lows, highs, strict=True)
        )
    most = binom.isf(1e-6, 2000, level)
    assert interval <= most
    assert curve <= most
    if not tied:  # a bound that is never wrong at 5 % would be no sharp one, and this test could not fail
        assert interval > 40
        assert curve > 5


def test_a_linear_function_attains_the_bound():
    """g(x) = w x: at a perturbation of length r the median is the Phi(r)-quantile, inside; just beyond, outside."""
    n = 200_000
    values = norm.ppf((np.arange(n) + 0.5) / n)  # the distribution itself, as n values
    for r in (0.3, 1.0):
        low, high = shifted_quantile_interval(values, r, 0.05)
        assert low <= -r <= r <= high
        assert high < 1.02 * r + 0.02
        assert low > -1.02 * r - 0.02


def test_a_curve_holds_at_all_lengths_so_it_is_wider():
    values = np.random.default_rng(0).normal(size=500)
    lengths = np.linspace(0, 2, 9)
    lows, highs = shifted_quantile_curve(values, lengths, 0.01)
    assert lows.tolist() == sorted(lows, reverse=True)
    assert highs.tolist() == sorted(highs)
    for r, low, high in zip(lengths, lows, highs, strict=True):
        one = shifted_quantile_interval(values, r, 0.01)
        assert low <= one[0]
        assert high >= one[1]


def test_too_few_values_say_nothing():
    assert shifted_quantile_interval([1.0, 2.0, 3.0], 0.0, 0.001) == (-math.inf, math.inf)
    lows, highs = shifted_quantile_curve([1.0, 2.0, 3.0], [0.0], 0.001)
    assert (lows.item(), highs.item()) == (-math.inf, math.inf)


def test_an_infinite_value_is_a_value():
    low, high = shifted_quantile_interval([-math.inf] * 50 + [0.0] * 50, 0.0, 0.05)
    assert (low, high) == (-math.inf, 0.0)


@given(st.lists(st.floats(-5, 5), min_size=20, max_size=60), st.floats(0.05, 0.95), st.floats(0, 2))
def test_negated_values_give_the_mirrored_interval(values, p, r):
    low, high = shifted_quantile_interval(values, r, 0.1, p)
    mirrored = shifted_quantile_interval(-np.asarray(values), r, 0.1, 1 - p)
    ordered = np.sort(values)
    for one, other in zip((low, high), (-mirrored[1], -mirrored[0]), strict=True):
        # 1 - p is rounded: the rank may be a neighbour's.
        if math.isfinite(one) and math.isfinite(other):
            assert abs(np.searchsorted(ordered, one) - np.searchsorted(ordered, other)) <= 1 or one == other


def test_the_band_is_the_exact_law():
    assert kolmogorov_band(200, 0.05) == pytest.approx(kstwo.isf(0.05, 200), rel=1e-12)
    assert kolmogorov_band(1, 0.1) == pytest.approx(0.95)  # one value: max(U, 1 - U) > d with probability 2(1 - d)
