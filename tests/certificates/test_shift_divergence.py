"""Divergence of shifted noise: quadrature against closed forms and 40 digits, and the worst split of a shift."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import gennorm

from lit_certattr.certificates.renyi_bounds import ORDERS, shortest_shift
from lit_certattr.certificates.shift_divergence import _quadrature, kl_of_shift, renyi_of_shift, typical_shift
from lit_certattr.errors import InputError
from lit_certattr.smoothing import DiscreteGaussianNoise, GaussianNoise, GeneralisedNormalNoise, UniformBallNoise

SHIFTS = [1e-6, 1e-3, 0.03, 0.2, 0.7, 2.0]


def forty_digits(s, order, t):
    """The definition, integrated with 40 digits around the peak of the integrand."""
    with mpmath.workdps(40):
        order, t = mpmath.mpf(str(order)), mpmath.mpf(str(t))
        peak = t * (1 + 1 / ((order / (order - 1)) ** (mpmath.mpf(1) / (s - 1)) - 1))
        places = sorted({peak + x for x in (-12, -4, -2, -1, -0.3, 0, 0.3, 1, 2, 4, 12)} | {mpmath.mpf(0), t})
        mean = mpmath.quad(lambda z: mpmath.exp((order - 1) * z**s - order * (z - t) ** s), places)
        return float(mpmath.log(mean / (2 * mpmath.gamma(1 + mpmath.mpf(1) / s))) / (order - 1))


@pytest.mark.parametrize(("s", "order"), [(4, 1.001), (4, 101), (6, 2), (8, 11), (12, 1.001), (12, 101)])
def test_quadrature_has_twelve_digits(s, order):
    shifts = SHIFTS[::2]
    expected = [forty_digits(s, order, t) for t in shifts]
    np.testing.assert_allclose(renyi_of_shift(s, order, shifts), expected, rtol=1e-12)


@pytest.mark.parametrize("s", [2, 4, 6, 12])
def test_the_closed_form_of_order_one(s):
    """Against the integral, and as the limit of the quadrature: D_(1 + e) - D_1 falls like e."""
    law = gennorm(s)
    for t in (0.03, 0.2, 0.7):
        integral, _ = quad(lambda z, t=t: law.pdf(z) * ((z - t) ** s - z**s), -5, 5, epsabs=1e-14, epsrel=1e-13)
        assert float(kl_of_shift(s, t)) == pytest.approx(integral, rel=1e-11)
    one, above, twice = (renyi_of_shift(s, order, SHIFTS[:4]) for order in (1.0, 1 + 1e-7, 1 + 2e-7))
    np.testing.assert_allclose(above, one, rtol=1e-4)
    np.testing.assert_allclose(2 * above - twice, one, rtol=1e-9)


def test_gaussian_shifts():
    """Exponent 2 is Gaussian noise with variance 1/2: order times t squared; exponent 2 through the quadrature, too."""
    np.testing.assert_allclose(renyi_of_shift(2, 7.0, SHIFTS), 7 * np.square(SHIFTS), rtol=1e-15)
    for order in (1.001, 7.0, 101.0):
        np.testing.assert_allclose(_quadrature(2, order, np.array(SHIFTS)), order * np.square(SHIFTS), rtol=1e-12)


def test_vectors():
    """Sum over i of C(4, 2i) t^(2i) Gamma((5 - 2i) / 4) / Gamma(1/4) at t = 1/2."""
    expected = 6 / 4 * math.gamma(3 / 4) / math.gamma(1 / 4) + 1 / 16
    assert float(kl_of_shift(4, 0.5)) == pytest.approx(expected, rel=1e-14)


@given(st.sampled_from([4, 6, 8, 12]), st.sampled_from([1.0, 1.1, 3.0, 20.0]), st.floats(1e-6, 3), st.floats(1, 2))
@settings(max_examples=100, deadline=None)
def test_divergences_rise_with_the_shift_and_the_order(s, order, t, factor):
    near, far = renyi_of_shift(s, order, [t, factor * t])
    assert near <= far * (1 + 1e-12)
    assert near <= float(renyi_of_shift(s, factor * order, t)) * (1 + 1e-12)
    assert float(renyi_of_shift(s, order, -t)) == pytest.approx(near, rel=1e-13)


def test_one_large_shift_can_cost_more_than_many_small_ones():
    """Why the majorant: exponent 12, order 3, the l12 length of two equal shifts in one coordinate."""
    s, order, t = 12, 3.0, 0.046
    equal = 2 * float(renyi_of_shift(s, order, t))
    concentrated = float(renyi_of_shift(s, order, t * 2 ** (1 / s)))
    assert concentrated > equal
    allowed = equal / 2
    assert typical_shift(s, order, allowed) < 0.999 * t


@given(
    st.sampled_from([2, 4, 6, 12]),
    st.sampled_from([1.0, 1.01, 3.0, 101.0]),
    st.floats(-9, 2),
    st.integers(1, 30),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=300, deadline=None)
def test_no_split_of_a_shift_costs_more_than_allowed(s, order, log_allowed, n, seed):
    """Dirichlet splits of the budget sum t^s = n tau^s, from equal ones to a single coordinate."""
    allowed, rng = 10**log_allowed, np.random.default_rng(seed)
    tau = typical_shift(s, order, allowed)
    concentration = rng.choice([0.01, 0.1, 1.0, 100.0])
    split = rng.dirichlet(np.full(n, concentration))
    cost = renyi_of_shift(s, order, tau * (n * split) ** (1 / s)).sum()
    assert cost <= n * allowed * (1 + 1e-12)


@pytest.mark.parametrize("s", [2, 4, 8])
def test_little_is_lost_where_equal_shifts_are_the_worst(s):
    for order in (1.0, 1.5, 10.0):
        for allowed in (1e-8, 1e-5, 1e-3):
            t = typical_shift(s, order, allowed)
            assert float(renyi_of_shift(s, order, 1.0041 * t)) > allowed


def test_allowances_that_the_table_does_not_reach():
    assert typical_shift(4, 2.0, 0.0) == 0
    assert typical_shift(4, 2.0, 1e-18) == 0
    assert typical_shift(4, 2.0, 1e9) == typical_shift(4, 2.0, 1e3) > 0


def needed_for(law, order_index, value):
    needed = np.zeros(ORDERS.size)
    needed[order_index] = value
    return needed


@pytest.mark.parametrize(("p", "spread"), [(2, False), (4, True), (math.inf, True)])
def test_gaussian_lengths_are_attained(p, spread):
    """The shortest l_p shift with a given l2 length has equal coordinates."""
    d, law = 50, GaussianNoise(0.5)
    length = shortest_shift(needed_for(law, 3, 0.4), law, p, d)
    delta = np.full(d, 1.0) if spread else np.eye(d)[0]
    delta *= length / np.linalg.norm(delta, p)
    assert ORDERS[3] * (delta**2).sum() / (2 * 0.5**2) == pytest.approx(0.4, rel=1e-9)


@pytest.mark.parametrize("p", [6, 8, math.inf])
def test_lengths_of_generalised_normal_noise(p):
    d, law = 50, GeneralisedNormalNoise(0.5, 6)
    for index, value in ((0, 0.4), (5, 0.4), (10, 0.01)):
        length = shortest_shift(needed_for(law, index, value), law, p, d)
        each = length * d ** (-1 / p) / law.scale  # equal coordinates
        cost = d * float(renyi_of_shift(6, ORDERS[index], each))
        assert 0.98 * value < cost <= value


def test_exponent_two_is_gaussian_noise():
    needed = np.full(ORDERS.size, 0.3)
    for p in (2, math.inf):
        gaussian = shortest_shift(needed, GaussianNoise(0.25), p, 100)
        general = shortest_shift(needed, GeneralisedNormalNoise(0.25, 2), p, 100)
        assert 0.995 * gaussian < general <= gaussian
        assert shortest_shift(needed, DiscreteGaussianNoise(0.25), p, 100) == gaussian


def test_a_law_without_divergence_is_refused():
    with pytest.raises(InputError, match="no divergence of a shift is known for UniformBallNoise"):
        shortest_shift(np.ones(ORDERS.size), UniformBallNoise(0.25), 2, 10)
