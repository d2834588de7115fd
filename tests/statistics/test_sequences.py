"""Confidence sequences against vectors, a slow oracle, and runs that stop when it suits them."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaln
from scipy.stats import beta as beta_law
from scipy.stats import binom

from lit_certattr.statistics import (
    clopper_pearson_lower,
    doubling_looks,
    kt_interval,
    kt_lower,
    look_share,
    union_lower,
)


def test_vectors():
    lower, upper = kt_interval(37, 100, 0.01)
    assert lower == pytest.approx(0.205563253416, abs=1e-11)
    assert upper == pytest.approx(0.558131293675, abs=1e-11)
    assert kt_lower(37, 100, 0.01) == pytest.approx(0.209202446765, abs=1e-11)


def log_mixture(k, n, p, start=0.0):
    """Log of the mean likelihood ratio against p over Beta(1/2, 1/2) cut to (start, 1)."""
    own = (k * math.log(p) if k else 0.0) + ((n - k) * math.log1p(-p) if n > k else 0.0)
    kept = beta_law.logsf(start, k + 0.5, n - k + 0.5) - beta_law.logsf(start, 0.5, 0.5) if start else 0.0
    return betaln(k + 0.5, n - k + 0.5) - math.log(math.pi) + kept - own


counts = st.integers(1, 600).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.floats(-20, -0.1).map(lambda x: 10**x)


@given(counts, levels)
def test_bounds_are_where_the_process_reaches_one_over_the_level(count, level):
    k, n = count
    lower, upper = (float(bound) for bound in kt_interval(k, n, level))
    one_sided = float(kt_lower(k, n, level))
    wall = math.log(1 / level)
    for bound, start in ((lower, False), (one_sided, True)):
        if bound > 1e-12:
            assert log_mixture(k, n, bound, bound if start else 0.0) >= wall - 1e-6
        inside = bound + 1e-6 * (k / n - bound)
        if inside > bound > 1e-12:
            assert log_mixture(k, n, inside, inside if start else 0.0) < wall + 1e-4
    assert lower <= one_sided + 1e-9 <= k / n + 1e-9
    assert upper == 1 - float(kt_interval(n - k, n, level)[0])


@given(counts, levels)
def test_the_one_sided_process_falls_below_the_mean(count, level):
    """So that the bound errs only where the process of the true p has reached the wall."""
    k, n = count
    grid = np.linspace(0, k / n, 40)[1:-1]
    values = [log_mixture(k, n, p, p) for p in grid] if k else []
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(values))


def test_the_mixture_is_the_integral_it_is_said_to_be():
    k, n, p = 14, 20, 0.4
    area = quad(lambda q: beta_law.pdf(q, 0.5, 0.5) * (q / p) ** k * ((1 - q) / (1 - p)) ** (n - k), p, 1)[0]
    assert math.log(area / beta_law.sf(p, 0.5, 0.5)) == pytest.approx(log_mixture(k, n, p, p), abs=1e-6)


@given(counts, levels)
def test_bounds_that_hold_always_are_never_tighter_than_one_that_holds_once(count, level):
    k, n = count
    assert kt_lower(k, n, level) <= clopper_pearson_lower(k, n, level) + 1e-9


def test_a_table_equals_its_entries():
    table = kt_lower(np.arange(201), 200, 1e-6)
    assert [float(kt_lower(k, 200, 1e-6)) for k in (0, 1, 99, 200)] == table[[0, 1, 99, 200]].tolist()
    assert (np.diff(table) >= 0).all()
    assert table[0] == 0
    assert table[200] < 1


def test_looks_and_their_shares():
    assert doubling_looks(64, 1024) == (64, 128, 256, 512, 1024)
    assert doubling_looks(64, 65) == (64, 65)
    assert doubling_looks(100, 64) == (64,)
    for number in range(1, 12):
        shares = [look_share(k, number) for k in range(1, number + 1)]
        assert sum(map(Fraction, shares)) <= 1 + Fraction(1, 2**52)
        assert shares[-1] == (0.5 if number > 1 else 1)
        assert len(set(shares[:-1])) <= 1
    assert sum(look_share(k) for k in range(1, 10_000)) < 1
    for look, number in ((0, None), (8, 7)):
        with pytest.raises(ValueError, match="look"):
            look_share(look, number)
    with pytest.raises(ValueError, match="power of two"):
        union_lower(3, 96, 0.05)


PATHS, LENGTH, LEVEL = 3000, 512, 0.05
ALLOWED = int(binom.ppf(0.999, PATHS, LEVEL))


@pytest.fixture(scope="module", params=[0.5, 0.9])
def paths(request):
    """Running counts [PATHS, LENGTH] of coin tosses, and the probability."""
    rng = np.random.default_rng(0)
    return (rng.random((PATHS, LENGTH)) < request.param).cumsum(1), request.param


def misses(paths, lower, sizes):
    """Paths on which the lower bound ever exceeds the true probability: what an eager stopper would find."""
    running, p = paths
    ever = np.zeros(PATHS, bool)
    for n in sizes:
        ever |= lower(np.arange(n + 1), n, LEVEL)[running[:, n - 1]] > p
    return int(ever.sum())


def test_coverage_under_optional_stopping(paths):
    def two_sided(k, n, level):
        return kt_interval(k, n, level)[0]

    every = range(1, LENGTH + 1, 5)
    assert 0 < misses(paths, two_sided, every) <= ALLOWED
    assert 0 < misses(paths, kt_lower, range(1, 129)) <= ALLOWED
    assert 0 < misses(paths, union_lower, doubling_looks(2, LENGTH)) <= ALLOWED


def false_at_some_look(p, looks, levels):
    """Probability that the lower bound of some look exceeds p: exact, by the law of the running count."""
    alive, false, drawn = np.ones(1), 0.0, 0
    for n, level in zip(looks, levels, strict=True):
        step = n - drawn
        alive = np.convolve(alive, binom.pmf(np.arange(step + 1), step, p))
        errs = clopper_pearson_lower(np.arange(n + 1), n, level) > p
        false, drawn = false + float(alive[errs].sum()), n
        alive[errs] = 0
    return false


def worst_over_p(looks, levels):
    """The most over probabilities just below what some count of some look claims, where errors are most frequent."""
    claims = np.concatenate(
        [clopper_pearson_lower(np.arange(1, n + 1), n, level) for n, level in zip(looks, levels, strict=True)]
    )
    inner = np.sort(claims[(claims > 0.2) & (claims < 0.99)])
    return max(false_at_some_look(p - 1e-9, looks, levels) for p in inner[:: max(1, len(inner) // 300)])


@pytest.mark.parametrize("level", [1e-4, 1e-6, 1e-8])
def test_the_shares_of_the_looks_spend_no_more_than_the_error_and_hardly_less(level):
    """No sampling: the law of the count is followed from look to look, and the stopper is the most eager one.

    The control: an equal share for each of the earlier looks beside half for the last, 7/6 in all, errs too often.
    """
    looks = doubling_looks(64, 256)
    shares = np.array([look_share(look, len(looks)) for look in range(1, len(looks) + 1)])
    assert worst_over_p(looks, level * shares) <= level
    too_much = np.array([*[1 / len(looks)] * (len(looks) - 1), 0.5])
    assert too_much.sum() == pytest.approx(7 / 6)
    assert worst_over_p(looks, level * too_much) > level


def test_a_fixed_size_bound_looked_at_all_the_time_is_caught(paths):
    """The control: valid at each single size, and false somewhere far more often."""
    assert misses(paths, clopper_pearson_lower, [LENGTH]) <= ALLOWED
    assert misses(paths, clopper_pearson_lower, range(1, LENGTH + 1, 5)) > 2 * ALLOWED
