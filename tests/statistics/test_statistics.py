"""Binomial tests and bounds against exact rational arithmetic and independently computed vectors."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import exact_binomial, overlap
from scipy.stats import norm

from lit_certattr.statistics import (
    binomial,
    binomial_tail,
    clopper_pearson_lower,
    clopper_pearson_upper,
    exact_share,
    hoeffding_margin,
    holm_threshold,
    shift,
    smallest_sample_size,
    smallest_significant_count,
    two_label_test,
)

PHOTO = 224 * 224


@pytest.mark.parametrize(("count", "n"), [(85, 90), (86, 90), (95, 100), (820, 990), (1, 5), (450, 450)])
@pytest.mark.parametrize("p", [0.75, 0.5, 0.9, 1e-3])
def test_tail_is_exact_far_into_the_tail(count, n, p):
    assert float(binomial_tail(count, n, p)) == pytest.approx(float(exact_binomial.tail(count, n, p)), rel=1e-11, abs=0)


def test_tail_at_the_ends():
    assert binomial_tail([-3, 0, 11], 10, 0.3).tolist() == [1, 1, 0]
    assert binomial_tail([1, 10], 10, [0.0, 1.0]).tolist() == [0, 1]
    assert float(binomial_tail(90, 90, 0.75)) == pytest.approx(0.75**90, rel=1e-12)


@pytest.mark.parametrize(
    ("n", "pixels", "threshold"),
    [(90, PHOTO, 88), (100, PHOTO, 96), (490, PHOTO, 418), (990, PHOTO, 816), (90, 448**2, 88), (90, 896**2, 89)],
)
def test_thresholds_at_photograph_size(n, pixels, threshold):
    assert smallest_significant_count(n, 0.75, 0.001 / pixels) == threshold


@given(st.integers(1, 40), st.sampled_from([0.5, 0.6, 0.75, 0.9]), st.floats(1e-9, 0.3))
@settings(max_examples=60, deadline=None)
def test_threshold_equals_exact_search(n, tau, level):
    assert smallest_significant_count(n, tau, level) == exact_binomial.smallest_significant(n, tau, level)


def test_no_count_is_significant_in_too_few_samples():
    assert smallest_significant_count(10, 0.75, 1e-8) == 11
    assert two_label_test(10, 0.75, 1e-8) == (11, 0.0)


@pytest.mark.parametrize(("tau", "one_sided"), [(0.6, 35), (0.75, 62), (0.9, 169), (0.95, 346), (0.99, 1765)])
def test_sample_sizes_at_photograph_size(tau, one_sided):
    """At these levels the other label's error is below the rounding to a whole sample."""
    assert smallest_sample_size(tau, 0.001 / PHOTO) == one_sided


@given(st.sampled_from([0.5, 0.51, 0.6, 0.75, 0.9]), st.floats(1e-9, 0.4))
@settings(max_examples=60, deadline=None)
def test_smallest_sample_size_is_where_the_test_begins_to_work(tau, level):
    n = smallest_sample_size(tau, level)
    assert two_label_test(n, tau, level)[0] == n
    assert n == 1 or two_label_test(n - 1, tau, level)[0] == n


@pytest.mark.parametrize("power", [3, 9, 20, 52])
def test_smallest_sample_size_on_the_edge(power):
    """2 * 0.5**n equals the level exactly at n = power + 1."""
    assert smallest_sample_size(0.5, 0.5**power) == power + 1
    assert two_label_test(power + 1, 0.5, 0.5**power)[0] == power + 1


@pytest.mark.parametrize("n", [1, 7, 90, 1000, 100_000])
@pytest.mark.parametrize("level", [0.05, 1e-3, 2e-8, 1e-12])
def test_clopper_pearson_inverts_the_tail(n, level):
    counts = np.unique(np.linspace(1, n, 50).astype(int))
    bounds = clopper_pearson_lower(counts, n, level)
    np.testing.assert_allclose(binomial_tail(counts, n, bounds), level, rtol=1e-8)
    assert clopper_pearson_lower(0, n, level) == 0
    assert clopper_pearson_upper(n, n, level) == 1
    np.testing.assert_allclose(bounds[-1], level ** (1 / n), rtol=1e-11)


def test_clopper_pearson_vectors():
    lower, upper = clopper_pearson_lower(102, 256, 0.0025), clopper_pearson_upper(102, 256, 0.0025)
    assert (float(lower), float(upper)) == pytest.approx((0.313620479203, 0.487777087812), abs=1e-12)
    assert float(clopper_pearson_upper(0, 50, 1e-3)) == pytest.approx(0.129036410044, abs=1e-12)
    assert float(clopper_pearson_lower(50, 50, 1e-3)) == pytest.approx(0.870963589956, abs=1e-12)
    assert float(clopper_pearson_lower(150, 500, 1e-3)) == pytest.approx(0.238705188829, abs=1e-12)


@given(st.integers(1, 300), st.data(), st.floats(1e-9, 0.2))
@settings(max_examples=60, deadline=None)
def test_clopper_pearson_equals_the_beta_quantiles(n, data, level):
    count = data.draw(st.integers(0, n))
    lower, upper = overlap.exact_bounds(count, n, level)
    assert float(clopper_pearson_lower(count, n, level)) == pytest.approx(float(lower), rel=1e-9)
    assert float(clopper_pearson_upper(count, n, level)) == pytest.approx(float(upper), rel=1e-9)


def test_clopper_pearson_and_the_test_agree():
    counts, level = np.arange(91), 0.001 / PHOTO
    rejected = counts >= smallest_significant_count(90, 0.75, level)
    assert (rejected == (clopper_pearson_lower(counts, 90, level) >= 0.75)).all()


@pytest.mark.parametrize("n", [5, 20, 60])
@pytest.mark.parametrize("level", [0.05, 0.001])
def test_clopper_pearson_covers_for_every_probability(n, level):
    """The miss probability over a fine grid of p, exactly; its supremum is the level, from below at each bound."""
    bounds = clopper_pearson_lower(np.arange(n + 1), n, level)
    grid = [Fraction(i, 200) for i in range(201)] + [Fraction(float(np.nextafter(b, 0))) for b in bounds[1:]]
    misses = [
        exact_binomial.tail(next((k for k in range(n + 1) if bounds[k] > p), n + 1), n, p) for p in grid if 0 <= p <= 1
    ]
    assert level * (1 - 1e-9) <= float(max(misses)) <= level * (1 + 1e-9)


def test_hoeffding_vectors():
    assert hoeffding_margin(256, 0.05 / 20) == pytest.approx(0.108176148912643, rel=1e-14)
    assert hoeffding_margin(8192, 0.05 / (2 * 150528)) == pytest.approx(0.030867566007958, rel=1e-12)
    assert 0.3 - hoeffding_margin(500, 1e-3) == pytest.approx(0.216887093187, abs=1e-12)


def test_shift_vectors_and_ends():
    assert float(shift(0.3, -0.6)) == pytest.approx(0.130421577327159, rel=1e-13)
    assert float(shift(0.05, 0.6)) == pytest.approx(0.148045312594663, rel=1e-13)
    assert shift([0.0, 1.0, 0.0, 1.0], [3.0, 3.0, -3.0, -3.0]).tolist() == [0, 1, 0, 1]
    grid = np.linspace(0.01, 0.99, 25)
    np.testing.assert_allclose(shift(grid, 0.7), norm.cdf(norm.ppf(grid) + 0.7), rtol=1e-12)


# The two-label test ---------------------------------------------------------------------------------------------------

CASES = [
    (100, 0.75, 0.001 / PHOTO),
    (100, 0.5, 0.001 / PHOTO),
    (41, 0.5, 0.01),
    (60, 0.6, 0.001),
    (9, 0.5, 0.05),
    (30, 0.75, 0.0005),
    (12, 0.5, 0.3),
]


@pytest.mark.parametrize(("n", "tau", "level"), CASES)
def test_two_label_threshold_equals_exact_search(n, tau, level):
    assert two_label_test(n, tau, level)[0] == exact_binomial.two_label_threshold(n, tau, level)


def test_two_label_threshold_at_photograph_size():
    assert two_label_test(100, 0.75, 0.001 / PHOTO)[0] == 96
    assert two_label_test(100, 0.75, 0.001 / (3 * PHOTO))[0] == 97


@given(st.integers(1, 45), st.sampled_from([0.5, 0.55, 0.75, 0.9]), st.floats(1e-8, 0.5))
@settings(max_examples=60, deadline=None)
def test_two_label_threshold_equals_exact_search_at_random(n, tau, level):
    assert two_label_test(n, tau, level)[0] == exact_binomial.two_label_threshold(n, tau, level)


def worst_error(n, tau, threshold, a):
    """Largest probability of a false claim over votes p1 + p0 <= 1, exact; a claim is never below ``tau``."""
    claims = np.maximum(clopper_pearson_lower(np.arange(n + 1), n, a), tau)
    votes = [Fraction(i, 60) for i in range(61)]
    votes += [
        Fraction(float(np.nextafter(claims[k], 0))) for k in range(threshold, n + 1)
    ]  # where the claim begins to be false
    return max(
        exact_binomial.false_claim_probability(n, threshold, claims, one, (1 - one) * rest)
        for one in votes
        for rest in (Fraction(1), Fraction(9, 10), Fraction(1, 2), Fraction(0))
    )


@pytest.mark.parametrize(("n", "tau", "level"), CASES[1:])
def test_two_label_error_reaches_the_level_and_never_exceeds_it(n, tau, level):
    threshold, a = two_label_test(n, tau, level)
    error = float(worst_error(n, tau, threshold, a))
    assert level * (1 - 1e-6) <= error <= level * (1 + 1e-9)


@pytest.mark.parametrize(("n", "tau", "level"), CASES[1:])
def test_a_looser_two_label_test_is_caught(n, tau, level):
    """The control of the test above: a bound at 1.5 times the level, or one vote fewer, breaks the guarantee."""
    threshold, a = two_label_test(n, tau, level)
    assert float(worst_error(n, tau, threshold, 1.5 * a)) > 1.2 * level
    assert float(worst_error(n, tau, threshold - 1, a)) > level


@pytest.mark.parametrize("n", [100, 1000, 20_000])
@pytest.mark.parametrize("tau", [0.5, 0.75, 0.95])
def test_two_label_bound_claims_at_least_tau_and_wastes_nothing(n, tau):
    level = 0.001 / PHOTO
    threshold, a = two_label_test(n, tau, level)
    claimed = clopper_pearson_lower(threshold, n, a)
    if threshold > n:
        assert n < smallest_sample_size(tau, level)
        return
    assert claimed >= tau * (1 - 1e-12)
    assert 2 * threshold > n
    error = a + float(binomial_tail(threshold, n, 1 - claimed))
    assert level * (1 - 1e-6) <= error <= level * (1 + 1e-9)


# Holm -----------------------------------------------------------------------------------------------------------------


@given(
    st.integers(1, 25),
    st.sampled_from([0.5, 0.6, 0.75]),
    st.sampled_from([0.3, 0.05, 0.001]),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
)
@settings(max_examples=80, deadline=None)
def test_holm_from_the_histogram_equals_holm_on_sorted_p_values(n, tau, alpha, heights):
    counts = [round(height**0.3 * n) for height in heights]  # crowded near n, where Holm decides something
    threshold = holm_threshold(np.bincount(counts, minlength=n + 1), n, tau, alpha)
    assert [count >= threshold for count in counts] == exact_binomial.holm_rejects(counts, n, tau, alpha)


def test_holm_beats_bonferroni_where_much_is_certified():
    rng = np.random.default_rng(0)
    votes = np.where(rng.random(PHOTO) < 0.5, 0.99, rng.beta(8, 2, PHOTO))
    histogram = np.bincount(rng.binomial(90, votes), minlength=91)
    assert holm_threshold(histogram, 90, 0.75, 0.001) == 87
    assert smallest_significant_count(90, 0.75, 0.001 / PHOTO) == 88


def test_holm_rejects_nothing_where_nothing_is_significant():
    assert holm_threshold([5, 0, 5], 2, 0.75, 0.05) == 3


# Shares ---------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 999), st.integers(1, 100_000))
def test_exact_share_reads_decimals_as_written(thousandths, total):
    assert exact_share(thousandths / 1000, total) == thousandths * total // 1000


def test_exact_share_vectors():
    sizes = [exact_share(share, PHOTO) for share in (0.5, 0.25, 0.1, 0.05, 0.01)]
    assert sizes == [25088, 12544, 5017, 2508, 501]
    assert math.floor(0.29 * 100) == 28  # what the naive way gives
    assert exact_share(0.29, 100) == 29


def test_a_root_that_is_too_large_costs_no_error(monkeypatch):
    """What a root finder errs by is given back: the level that is claimed and the other label's error fit together."""
    exact = binomial.brentq
    for off in (0.0, 1e-12):
        monkeypatch.setattr(binomial, "brentq", lambda *given, off=off, **settings: exact(*given, **settings) + off)
        for n, tau, level in ((100, 0.5, 0.05), (60, 0.5, 0.2), (41, 0.5, 0.1)):
            threshold, own = two_label_test.__wrapped__(n, tau, level)
            claimed = float(clopper_pearson_lower(threshold, n, own))
            other = float(binomial_tail(threshold, n, 1 - claimed))
            assert 0.999 * level < own + other <= level * (1 + 1e-12)
