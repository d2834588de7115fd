"""Bounds from two moments: against the inequality that they invert, exact binomial tails, and their error rates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binom

from lit_certattr.statistics import (
    bennett_margin,
    empirical_bernstein_lower,
    raw_moment_margin,
    second_moment_upper,
)

MOMENTS, SIZES, LEVELS = st.floats(1e-6, 1.0), st.integers(1, 10**7), st.floats(1e-9, 0.5)


def rate(u):
    return (1 + u) * np.log1p(u) - u


@given(MOMENTS, SIZES, LEVELS, st.floats(1.0, 10.0))
@settings(max_examples=200, deadline=None)
def test_the_margin_inverts_bennetts_inequality(v, n, level, bound):
    margin = float(bennett_margin(v, n, level, bound))
    target = -np.log(level) * bound**2 / (n * v)
    assert rate(margin * bound / v) == pytest.approx(target, rel=1e-6)
    log_level = -np.log(level)
    assert margin <= np.sqrt(2 * v * log_level / n) + bound * log_level / (3 * n) + 1e-12  # Bernstein
    assert margin >= np.sqrt(2 * v * log_level / n) * (1 - 1e-6)


def test_the_margin_by_a_root_finder():
    expected = brentq(lambda e: rate(e / 0.01) - np.log(1000) / 10, 1e-6, 1)
    assert float(bennett_margin(0.01, 1000, 0.001, 1.0)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("p", [0.001, 0.02, 0.3])
@pytest.mark.parametrize("n", [50, 2000])
def test_binomial_tails_are_within_the_level(p, n):
    """For 0/1 variables the second moment is the mean; the exact tail beyond the margin must not exceed the level."""
    for level in (0.2, 1e-2, 1e-5):
        margin = float(bennett_margin(p, n, level, 1.0))
        assert binom.sf(np.ceil(n * (p + margin)) - 1, n, p) <= level
        counts = np.arange(n + 1)
        low = second_moment_upper(counts / n, n, level, 1.0) < p  # the bound misses
        assert binom.pmf(counts, n, p)[low].sum() <= level


@given(MOMENTS, SIZES, LEVELS)
@settings(max_examples=100, deadline=None)
def test_bounds_are_monotone(v, n, level):
    assert second_moment_upper(v, n, level, 1.0) >= v
    assert second_moment_upper(v, 2 * n, level, 1.0) <= second_moment_upper(v, n, level, 1.0)
    assert bennett_margin(v, n, level, 1.0) <= bennett_margin(2 * v, n, level, 1.0)
    assert bennett_margin(v, n, level, 1.0) <= bennett_margin(v, n, level, 2.0) * (1 + 1e-9)
    assert raw_moment_margin(v, n, level, 1.0) >= bennett_margin(v, n, level, 1.0)


def test_nothing_varies():
    assert bennett_margin(0.0, 100, 0.01, 1.0) == 0
    assert raw_moment_margin(0.0, 100, 0.01, 1.0) > 0


@pytest.mark.parametrize("shape", ["noise", "rare", "skewed"])
def test_two_sided_error_rate(shape):
    rng, level, n, runs, misses = np.random.default_rng(0), 0.1, 200, 1500, 0
    for _ in range(runs):
        match shape:
            case "noise":
                x, mean = np.clip(rng.normal(size=n), -3, 3) * 0.1, 0.0
            case "rare":
                x, mean = (rng.random(n) < 0.01).astype(float), 0.01
            case _:
                x, mean = rng.beta(0.3, 2, n), 0.3 / 2.3
        bound = 0.3 if shape == "noise" else 1.0
        misses += abs(x.mean() - mean) > raw_moment_margin((x**2).mean(), n, level, bound)
    assert misses <= binom.ppf(0.999, runs, level)


def test_tighter_than_maurer_and_pontil_for_centred_variables():
    x = np.tile([0.1, -0.1], 500)
    ours = float(raw_moment_margin(0.01, 1000, 0.001, 1.0))
    theirs = -(2 * empirical_bernstein_lower((x + 1) / 2, 0.0005) - 1)
    assert ours < 0.6 * theirs
