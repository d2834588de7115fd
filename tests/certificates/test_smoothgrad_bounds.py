"""The smoothness of smoothed probabilities, attained by the worst functions; distances; and Stein's means."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import overlap
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import binom, norm

from lit_certattr.certificates.smoothgrad_bounds import (
    LARGEST_CURVATURE,
    curvature,
    mean_margins,
    reach,
    spread_upper,
    swap_distances,
)
from lit_certattr.statistics import raw_moment_margin

KAPPA = 0.48394144903828673  # 2 phi(1)


class Steps:
    """A function on the line with values in [0, 1], constant between cuts, and its smoothing with sigma 1."""

    def __init__(self, cuts, values):
        self.cuts, self.values = np.asarray(cuts, float), np.asarray(values, float)

    def mean(self, x, power=1, reference=0.0):
        """E (p - b)^power (x + Z)."""
        weight = np.diff(np.r_[0.0, norm.cdf(self.cuts - x), 1.0])
        return float(weight @ (self.values - reference) ** power)

    def slope(self, x):
        return float(norm.pdf(self.cuts - x) @ np.diff(self.values))

    def second(self, x):
        return float((self.cuts - x) * norm.pdf(self.cuts - x) @ np.diff(self.values))


@st.composite
def steps(draw):
    cuts = sorted(draw(st.lists(st.floats(-3, 3), min_size=1, max_size=5)))
    value = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
    return Steps(cuts, draw(st.lists(value, min_size=len(cuts) + 1, max_size=len(cuts) + 1)))


def test_the_constant():
    integral, _ = quad(lambda z: (z * z - 1) * norm.pdf(z), 1, 40)
    assert 2 * integral == pytest.approx(KAPPA, rel=1e-10)
    assert pytest.approx(KAPPA, rel=1e-14) == LARGEST_CURVATURE


def test_the_constant_is_attained():
    """p = 1 where |z| > 1: the gradient of its smoothing moves at the full rate at 0; inside out, the other way."""
    outer = Steps([-1, 1], [1, 0, 1])
    assert outer.second(0.0) == pytest.approx(KAPPA, rel=1e-12)
    assert Steps([-1, 1], [0, 1, 0]).second(0.0) == pytest.approx(-KAPPA, rel=1e-12)
    assert (outer.slope(1e-4) - outer.slope(0.0)) / 1e-4 == pytest.approx(KAPPA, rel=1e-6)


def test_the_constant_by_an_optimiser():
    """The best of all functions on a grid: the linear programme is solved by the sign of z^2 - 1."""
    z = np.linspace(-8, 8, 200_001)
    weight = norm.pdf(z) * (z[1] - z[0])
    assert np.maximum(weight * (z**2 - 1), 0).sum() == pytest.approx(KAPPA, rel=1e-6)


@given(steps(), st.floats(-2, 2), st.floats(0, 2))
@settings(max_examples=400, deadline=None)
def test_no_smoothed_function_moves_faster(p, x, length):
    assert abs(p.second(x)) <= KAPPA * (1 + 1e-12)
    assert abs(p.slope(x + length) - p.slope(x)) <= KAPPA * length + 1e-12


@given(steps(), st.floats(0, 1), st.floats(-2, 2), st.floats(-1, 1))
@settings(max_examples=400, deadline=None)
def test_functions_that_vary_little_move_slowly(p, b, x, shift):
    largest = max(b, 1 - b)
    spread = p.mean(x, 2, b)
    bound = float(curvature(spread, largest, abs(shift)))
    assert abs(p.second(x + shift)) <= bound + 1e-12
    moved = abs(p.slope(x + shift) - p.slope(x))
    assert moved <= 1e-12 or float(reach(moved * (1 - 1e-9), spread, largest, 1.0)) <= abs(shift) + 1e-9


def test_the_slow_bound_is_nearly_attained():
    """Half-spaces far out vary little: p = 1 where |z| > t has curvature 2 t phi(t) and spread 2 Q(t)."""
    for t in (1.0, 1.5, 2.0):
        p = Steps([-t, t], [1, 0, 1])
        bound = float(curvature(p.mean(0.0, 2), 1.0, 0.0))
        assert 0.6 * bound < p.second(0.0) <= bound


def test_the_gradient_in_many_dimensions():
    """p(z) = Phi(w . z) smoothed is Phi(w . x / sqrt(1 + sigma^2 |w|^2)): its gradient keeps to the constant."""
    rng, sigma = np.random.default_rng(0), 0.5
    for _ in range(200):
        w, x, y = rng.normal(size=(3, 6)) * [[10], [1], [0.3]]
        scale = math.sqrt(1 + sigma**2 * (w @ w))
        gradient = [w / scale * norm.pdf(w @ at / scale) for at in (x, x + y)]
        assert np.linalg.norm(gradient[1] - gradient[0]) <= KAPPA / sigma**2 * np.linalg.norm(y)


def midpoints(f, cells=20_000):
    """Integral over [0, 1]; unlike an adaptive rule, indifferent to the scale of f and of its argument."""
    return float(f((np.arange(cells) + 0.5) / cells).mean())


@given(st.floats(1e-3, 1), st.floats(0.5, 1), st.floats(0, 1), st.floats(0.05, 2))
@example(0.5, 0.9, np.finfo(float).tiny, 1.0)
@settings(max_examples=100, deadline=None)
def test_reach_inverts_the_integral_from_below(spread, largest, distance, sigma):
    distance /= sigma  # the gradient itself is at most .4 / sigma long
    radius = float(reach(distance, spread, largest, sigma))
    exact = radius * midpoints(lambda u: curvature(spread, largest, u * radius / sigma)) / sigma**2
    assert exact <= distance * (1 + 1e-6) + 1e-9
    assert exact >= 0.995 * distance - 1e-6
    assert radius >= distance * sigma**2 / KAPPA * (1 - 1e-12) - 1e-300


def test_reach_without_knowledge_of_the_spread():
    np.testing.assert_allclose(reach([0.0, 0.1, 50.0], 1.0, 1.0, 0.25), np.array([0, 0.1, 50]) * 0.0625 / KAPPA)


# Distances ----------------------------------------------------------------------------------------------------------


@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_distances_are_the_minimum_over_maps(n, seed):
    """Against a general optimiser, for every choice of missing and new pixels."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, n))
    s = np.sort(rng.random(n))[::-1]
    distances = swap_distances(s, s, np.arange(n) < size)
    for m in range(1, min(size, n - size) + 1):
        missing, new = np.arange(size - m, size), np.arange(size, size + m)
        order = [{"type": "ineq", "fun": lambda z, a=a, b=b: z[b] - z[a]} for a, b in itertools.product(missing, new)]
        best = minimize(lambda z: ((z - s) ** 2).sum(), s[::-1].copy(), constraints=order, options={"ftol": 1e-14})
        assert distances[m - 1] == pytest.approx(math.sqrt(best.fun), rel=1e-4, abs=1e-6)


@given(st.integers(2, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_no_map_loses_pixels_for_less(n, seed):
    rng = np.random.default_rng(seed)
    size, s = int(rng.integers(1, n)), rng.random(n)
    inside = overlap.top_set(s, size)
    lower, upper = s - 0.1 * rng.random(n), s + 0.1 * rng.random(n)
    distances = swap_distances(lower, upper, inside)
    for _ in range(50):
        truth = rng.uniform(lower, upper)
        other = truth + rng.normal(size=n) * rng.choice([0.02, 0.2])
        missing = size - int((overlap.top_set(other + 1e-12 * ~inside, size) & inside).sum())
        if missing:
            assert np.linalg.norm(other - truth) >= distances[missing - 1] - 1e-9


def test_pixels_that_the_bounds_do_not_separate_cost_nothing():
    s = np.array([3.0, 2.0, 1.9, 0.5])
    distances = swap_distances(s - 0.1, s + 0.1, s > 1.95)
    assert distances[0] == 0
    assert distances[1] > 0
    ties = swap_distances(np.ones(4), np.ones(4), np.arange(4) < 2)
    assert ties.tolist() == [0, 0]


def test_without_outsiders_nothing_can_be_swapped():
    assert swap_distances([3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [True, True, False])[1] == np.inf


def test_many_pixels_are_rounded_down_to_a_grid(monkeypatch):
    s = np.sort(np.random.default_rng(0).random(300) ** 3)[::-1]
    exact = swap_distances(s, s, np.arange(300) < 120)
    monkeypatch.setattr("lit_certattr.certificates.smoothgrad_bounds._STEPS", 12)
    coarse = swap_distances(s, s, np.arange(300) < 120)
    assert (coarse <= exact * (1 + 1e-12)).all()
    assert (coarse == exact).sum() >= 9


def test_small_values_keep_their_distances():
    s = np.sort(np.random.default_rng(0).random(2000))[::-1]
    inside = np.arange(2000) < 700
    np.testing.assert_allclose(
        swap_distances(1e-9 * s, 1e-9 * s, inside), 1e-9 * swap_distances(s, s, inside), rtol=1e-6
    )


# Means from samples -------------------------------------------------------------------------------------------------


def test_stein_and_what_truncation_leaves_out():
    """E Z (p - b) is the slope; cut at t it is off by at most 2 phi(t) max(b, 1 - b), which is attained."""
    p, x, t = Steps([0.0], [0.0, 1.0]), 0.3, 1.5
    for b in (0.0, 0.4, 1.0):
        full, _ = quad(lambda z, b=b: z * (float(x + z > 0) - b) * norm.pdf(z), -10, 10, points=[-x], limit=200)
        assert full == pytest.approx(p.slope(x), abs=1e-9)
        cut, _ = quad(lambda z, b=b: z * (float(x + z > 0) - b) * norm.pdf(z), -t, t, points=[-x], limit=200)
        assert abs(full - cut) <= 2 * norm.pdf(t) * max(b, 1 - b) + 1e-9
    # p - b = sign(z) max(b, 1 - b) beyond t: attained for b = 1/2
    left_out, _ = quad(lambda z: abs(z) * 0.5 * norm.pdf(z), t, 20)
    assert 2 * left_out == pytest.approx(2 * norm.pdf(t) * 0.5, rel=1e-8)


@pytest.mark.parametrize("truncation", [2.0, 5.0])
def test_margins_hold_for_all_coordinates_at_once(truncation):
    """p depends on three of twelve coordinates; all means within their margins but for alpha."""
    rng, alpha, runs, misses, n = np.random.default_rng(0), 0.2, 400, 0, 500
    truth = np.zeros(12)
    truth[:3] = norm.pdf(0) / math.sqrt(3)  # p = 1 where the three add up to a positive number
    for _ in range(runs):
        z = rng.normal(size=(n, 12))
        difference = (z[:, :3].sum(1) > 0) - 0.5
        x = np.where(np.abs(z) <= truncation, z, 0) * difference[:, None]
        margins = mean_margins((x**2).mean(0), n, alpha, 0.5, truncation)
        misses += bool((np.abs(x.mean(0) - truth) > margins).any())
    assert misses <= binom.ppf(0.999, runs, alpha)


def test_margins_without_the_truncated_part_miss():
    """The control: at t = 1 the deterministic part is most of the margin, and leaving it out is wrong."""
    rng, n = np.random.default_rng(0), 20_000
    z = rng.normal(size=n)
    x = np.where(np.abs(z) <= 1, z, 0) * ((z > 0) - 0.5)
    margin = float(mean_margins(np.array([(x**2).mean()]), n, 0.01, 0.5, 1.0)[0])
    assert abs(x.mean() - norm.pdf(0)) <= margin
    assert abs(x.mean() - norm.pdf(0)) > margin - 2 * norm.pdf(1.0) * 0.5


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5])
def test_the_spread_bound_is_hardly_ever_too_small(p):
    counts = np.arange(401)
    missed = np.array([spread_upper(count / 400, 400, 0.01, 1.0) < p for count in counts])
    assert binom.pmf(counts, 400, p)[missed].sum() <= 0.01
    assert spread_upper(0.25 * p, 400, 0.01, 0.5) == pytest.approx(0.25 * spread_upper(p, 400, 0.01, 1.0), rel=1e-9)


def test_rounded_noise_costs_what_it_can_move_and_what_it_can_hide():
    """The margin grows by M (rho + 2 phi(t - rho)): noise beyond t - rho may be rounded past t and left out."""
    square, t, rho, largest = np.array([0.09, 0.2]), 2.0, 0.25, 0.75
    without = raw_moment_margin(square, 1000, 0.01 / 2, t * largest)
    expected = without + largest * (rho + 2 * norm.pdf(t - rho))
    np.testing.assert_allclose(mean_margins(square, 1000, 0.01, largest, t, rho), expected, rtol=1e-12)


def test_a_spread_that_rounding_puts_above_its_largest_value_is_that_value():
    assert spread_upper(0.25 * (1 + 1e-9), 400, 0.01, 0.5) == spread_upper(0.25, 400, 0.01, 0.5) == 0.25


@pytest.mark.parametrize(("rise", "fall"), [(1.0, 3.0), (3.0, 1.0), (0.0, 1e-3), (1e-3, 0.0)])
def test_distances_are_rounded_down(rise, fall):
    """Against exact rational arithmetic: the level is the mean of the active values, and the sums are not rounded."""
    rng, count = np.random.default_rng(0), 200
    low = np.sort(1 + 0.3 + rise * rng.random(count) ** 2)
    high = np.sort(1 - 0.3 - fall * rng.random(count) ** 2)[::-1]
    values = np.r_[low, high]
    distances = swap_distances(values, values, np.arange(2 * count) < count)
    for m in (1, 2, 5, 20, 77, 200):
        found, exact = Fraction(float(distances[m - 1])) ** 2, exact_square(low[:m], high[:m])
        assert exact * (1 - Fraction(1, 10**9)) <= found <= exact


@pytest.mark.parametrize(("top", "bottom"), [(50.0, 0.7), (1.3, -50.0)])
def test_the_level_is_found_beyond_all_pixels_but_the_last(top, bottom):
    """One pixel far away pulls the level past the others of its side: a level that is not the best costs too much."""
    low, high = np.array([1.3, 1.3, 1.3, 1.3, top]), np.array([0.7, 0.7, 0.7, 0.7, bottom])
    found = Fraction(float(swap_distances(np.r_[low, high], np.r_[low, high], np.arange(10) < 5)[-1])) ** 2
    exact = exact_square(low, high)
    assert exact * (1 - Fraction(1, 10**9)) <= found <= exact


def test_distances_of_many_equal_pixels_are_rounded_down():
    """Where the same rounding error is made in each of the sums' many steps."""
    count, low, high = 25_000, 4 / 3, 2 / 3
    values = np.r_[np.full(count, low), np.full(count, high)]
    found = swap_distances(values, values, np.arange(2 * count) < count)[-1]
    exact = count * exact_square(np.array([low]), np.array([high]))
    assert exact * (1 - Fraction(1, 10**9)) <= Fraction(float(found)) ** 2 <= exact


def exact_square(low, high):
    """Least sum of the squares of what lies above a level among the first, and below it among the second."""
    low, high = [Fraction(x) for x in low.tolist()], [Fraction(x) for x in high.tolist()]
    level, active = None, low + high
    while level != (level := sum(active) / len(active)):  # Newton's method on a slope of straight pieces
        active = [x for x in low if x > level] + [x for x in high if x < level]
    return sum((x - level) ** 2 for x in active)
