"""How many of many certificates may be false."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from lit_certattr.errors import InputError
from lit_certattr.statistics import false_certificates


def _exact_tail(count: int, n: int, p: Fraction) -> Fraction:
    """P[Bin(n, p) > count] in rational numbers."""
    return sum((comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(count + 1, n + 1)), Fraction(0))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 999), st.integers(1, 999))
def test_it_is_the_quantile_in_rational_numbers(n, alpha, eta):
    p, budget = Fraction(alpha, 1000), Fraction(eta, 1000)
    expected = next(m for m in range(n + 1) if _exact_tail(m, n, p) <= budget)
    exactly_at = any(abs(float(_exact_tail(m, n, p) - budget)) < 1e-12 for m in range(n + 1))
    assert exactly_at or false_certificates(n, alpha / 1000, eta / 1000) == expected


@pytest.mark.parametrize(("n", "alpha", "eta"), [(50, 0.001, 0.001), (10_000, 0.001, 0.01), (1_000_000, 0.002, 1e-6)])
def test_it_is_the_quantile_of_scipy(n, alpha, eta):
    assert false_certificates(n, alpha, eta) == int(binom.isf(eta, n, alpha))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_simulation_exceeds_it_no_more_often_than_eta(share):
    # Unequal probabilities of error, all at most alpha: the bound must hold for them, and is sharp at equality.
    n, alpha, eta, runs = 200, 0.02, 0.05, 20_000
    generator = np.random.default_rng(0)
    errors = alpha * np.linspace(share, 1, n)
    false = np.concatenate([(generator.random((500, n)) < errors).sum(1) for _ in range(runs // 500)])
    limit = false_certificates(n, alpha, eta)
    slack = 4 * np.sqrt(eta / runs)
    assert (false > limit).mean() <= eta + slack
    if share == 1:
        assert (false > limit - 1).mean() > eta - slack, "one less would not do"


def test_the_ends():
    assert false_certificates(0, 0.5, 0.1) == 0
    assert false_certificates(9, 0.0, 0.1) == 0
    assert false_certificates(9, 1.0, 0.1) == 9
    for wrong in [(-1, 0.1, 0.1), (9, 1.5, 0.1), (9, 0.1, 0.0)]:
        with pytest.raises(InputError):
            false_certificates(*wrong)
