"""The exact cosine bound under Gaussian noise: vectors, duality, maps that attain it, search, and rounding."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import cosine as oracle
from scipy.integrate import quad
from scipy.special import ndtri

from benchmarks.soundness.closed_form import GradualTurn
from lit_certattr.certificates import gaussian_cosine
from lit_certattr.certificates.cosine_bounds import cosine_bound, max_variation, radius_over_sigma, total_variation
from lit_certattr.certificates.gaussian_cosine import gaussian_cosine_bound, largest_turn, max_length
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise

UNIT = GaussianNoise(1.0)
norms = st.floats(0.05, 0.9995)
lengths = st.floats(0.01, 3)


def by_variation(norm, length, nonnegative):
    return cosine_bound(norm, total_variation(UNIT, length, 1), nonnegative)


@pytest.mark.parametrize(("norm", "cosine", "length", "signed", "nonnegative"), oracle.GAUSSIAN_LENGTHS)
def test_vectors(norm, cosine, length, signed, nonnegative):
    assert max_length(cosine, norm, False) == pytest.approx(length, abs=6e-4)
    assert max_length(cosine, norm, True) == pytest.approx(max(length, nonnegative), abs=6e-4)
    assert 1.2 < max_length(cosine, norm, False) / signed < 3.8


@settings(max_examples=25, deadline=None)
@given(norms, st.floats(0.05, 1.5))
def test_the_bound_is_what_duality_on_a_grid_gives(norm, length):
    expected, found = oracle.gaussian_cosine(norm, length), gaussian_cosine_bound(norm, length, False)
    if found <= 0.05:  # where the two meet at no angle below 90 degrees the oracle says 0
        assert expected <= 0.06
    else:
        assert found == pytest.approx(expected, abs=2e-6)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.floats(0.02, 3), st.floats(0.02, 1.5))
def test_a_map_attains_the_bound_and_breaks_a_looser_one(length, psi):
    """Its two smoothed values are computed by a general routine for integrals, which shares nothing with the bound."""
    psi = max(psi, 0.02 * length)
    maps = GradualTurn(UNIT, length, psi, (1, 1, 2))
    norm, attained = float(np.linalg.norm(maps.smoothed()[0])), maps.cosine()
    bound = gaussian_cosine_bound(norm, length, False)
    assert bound <= attained + 1e-12
    if norm < 0.9999:
        assert bound == pytest.approx(attained, abs=1e-8)
        # The control: a bound that is loosened by three percent, in the length or in the norm, is broken by this map.
        assert gaussian_cosine_bound(norm, 0.97 * length, False) > attained + 1e-12
        assert gaussian_cosine_bound(min(1.0, 1.03 * norm), length, False) > attained + 1e-12


@pytest.mark.parametrize(("norm", "length"), [(0.5, 0.3), (0.8, 0.5), (0.9, 0.9), (0.97, 1.5)])
def test_a_search_for_maps_comes_near_the_bound_and_not_below(norm, length):
    """Maps of 40 steps, turned by a general optimiser that knows nothing of the theorem."""
    reached, found = oracle.turned_by_search(norm, length)
    assert reached >= norm - 1e-7
    bound = gaussian_cosine_bound(min(reached, 1.0), length, False)
    assert bound - 1e-9 <= found <= bound + 0.01
    assert gaussian_cosine_bound(norm, 0.95 * length, False) > found  # the control


@settings(max_examples=200, deadline=None)
@given(norms, norms, lengths, lengths, st.booleans())
def test_the_bound_rises_with_the_norm_and_falls_with_the_length(norm, other, length, later, nonnegative):
    low, high = sorted((norm, other))
    first, second = sorted((length, later))
    assert gaussian_cosine_bound(high, first, nonnegative) >= gaussian_cosine_bound(low, second, nonnegative) - 1e-8


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1), st.floats(0, 9), st.booleans())
def test_no_less_than_by_total_variation_and_no_more_than_one(norm, length, nonnegative):
    bound = gaussian_cosine_bound(norm, length, nonnegative)
    assert by_variation(norm, length, nonnegative) <= bound <= 1
    assert gaussian_cosine_bound(norm, length, True) >= gaussian_cosine_bound(norm, length, False)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 1), st.floats(0, 1), st.booleans())
def test_the_largest_length_keeps_the_cosine(cosine, norm, nonnegative):
    length = max_length(cosine, norm, nonnegative)
    assert length == 0 or gaussian_cosine_bound(norm, length, nonnegative) >= cosine
    assert gaussian_cosine_bound(norm, 1.001 * length + 1e-5, nonnegative) < cosine
    # Near 1 the length is rounded down to 0: a cosine of 1 - 1e-16 would be reached at about 5e-8.
    assert length + 1e-7 >= (1 - 1e-9) * radius_over_sigma(UNIT, max_variation(cosine, norm, nonnegative), 1)


def test_it_ends_where_a_sign_that_flips_in_the_tail_turns_the_map_around():
    """A map of one value, -1 where t > z and 1 elsewhere: its mean is norm, and it changes sign at length z."""
    for norm in (0.3, 0.8, 0.97):
        end = float(ndtri((1 + norm) / 2))
        assert largest_turn(norm, 0.98 * end) < math.pi / 2
        assert largest_turn(norm, end) == math.pi / 2
        assert gaussian_cosine_bound(norm, end * 1.0001, False) == -1


def test_nothing_is_lost_without_a_shift_and_nothing_is_claimed_without_a_norm():
    assert gaussian_cosine_bound(0.3, 0.0, False) == gaussian_cosine_bound(0.3, 0.0, True) == 1
    assert (gaussian_cosine_bound(0.0, 0.0, False), gaussian_cosine_bound(0.0, 0.1, True)) == (-1, 0)
    assert gaussian_cosine_bound(0.9, math.inf, False) == -1
    assert gaussian_cosine_bound(0.9, 1e-300, False) <= 1
    with pytest.raises(InputError, match="radius must not be negative"):
        gaussian_cosine_bound(0.9, -0.1, False)
    for cosine in (0.0, -0.5, 1.01, float("nan")):
        with pytest.raises(InputError, match=r"cosine must lie in \(0, 1\]"):
            max_length(cosine, 0.9, False)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 4), st.floats(0.5, 3), st.floats(0.002, 1))
def test_the_integral_errs_by_less_than_is_allowed_for(length, place, width):
    """Against a general routine that is told where the integrand bends; also where it bends sharply."""
    psi = min(width * length, 1.5)
    allowance = 1e-12 * (1 + math.exp(length**2 / 2 - length * place * length))
    value = gaussian_cosine._distances(length, place * length, psi)[0]

    def integrand(t):
        return math.hypot(math.exp(length * (t - place * length)) - math.cos(psi), math.sin(psi)) * math.exp(-t * t / 2)

    bends = [0.0, length, place * length]
    expected, error = quad(integrand, -12, 24, points=bends, limit=1000, epsabs=1e-13, epsrel=1e-13)
    assert abs(value - expected / math.sqrt(2 * math.pi)) <= allowance + error


def test_an_answer_does_not_depend_on_a_good_search(monkeypatch):
    """Soundness rests on the evaluation alone: a search that ends anywhere gives a smaller cosine, never a larger."""
    norm, length = 0.9, 0.6
    best = gaussian_cosine_bound(norm, length, False)
    for factor in (0.5, 0.8, 1.3, 2.0):
        largest_turn.cache_clear()
        find = gaussian_cosine._best_place
        with monkeypatch.context() as context:
            context.setattr(
                gaussian_cosine, "_best_place", lambda r, psi, find=find, factor=factor: factor * find(r, psi)
            )
            assert gaussian_cosine_bound(norm, length, False) < best
    largest_turn.cache_clear()


def high_precision(r, place, psi):
    """The mean of the distance with 30 digits, the allowance of its evaluation apart."""
    with mpmath.workdps(30):
        width = mpmath.mpf(psi) / r
        bends = {mpmath.mpf(place) + x * width for x in (-8, -2, 0, 2, 8)}
        low, high = mpmath.mpf(-13), mpmath.mpf(13) + r
        ends = sorted({low, mpmath.mpf(0), mpmath.mpf(r), high} | {x for x in bends if low < x < high})

        def integrand(t):
            v = mpmath.exp(r * (t - place))
            return mpmath.sqrt(v * v - 2 * v * mpmath.cos(psi) + 1) * mpmath.exp(-t * t / 2)

        return mpmath.quad(integrand, ends) / mpmath.sqrt(2 * mpmath.pi)


@pytest.mark.parametrize(
    ("norm", "length"), [(0.999, 0.02), (0.999, 0.4), (0.9, 0.5), (0.5, 0.6), (0.9, 1.2), (0.999, 1.5), (0.9999, 2.5)]
)
def test_an_integral_that_errs_as_much_as_it_may_gives_no_smaller_angle(norm, length, monkeypatch):
    """The allowances one by one: the integral is replaced by its 30 digits, less all that it may be wrong by."""
    integral, places = gaussian_cosine._distances, []

    def noted(r, place, psi):
        places.append((place, psi))
        return integral(r, place, psi)

    with monkeypatch.context() as context:
        context.setattr(gaussian_cosine, "_distances", noted)
        largest_turn.__wrapped__(norm, length)
    place, psi = places[-1]  # of the released value
    exact = high_precision(length, place, psi)
    allowed = 1e-12 * (1 + math.exp(length**2 / 2 - length * place))
    assert abs(integral(length, place, psi)[0] - exact) < 0.01 * allowed

    def wrong(r, at, angle):
        value, *slopes = integral(r, at, angle)
        return (float(exact) - allowed if (at, angle) == (place, psi) else value, *slopes)

    with monkeypatch.context() as context:
        context.setattr(gaussian_cosine, "_distances", wrong)
        found = largest_turn.__wrapped__(norm, length)
    with mpmath.workdps(30):
        least = mpmath.asin(exact / mpmath.mpf(norm)) - mpmath.mpf(psi)
        rounding = mpmath.mpf("3e-15") * (1 + 1 / mpmath.cos(least + psi))
        assert least <= found <= least + rounding


def test_a_search_that_finds_no_bound_proves_nothing(monkeypatch):
    monkeypatch.setattr(gaussian_cosine, "_best_place", lambda r, psi: 20 * r)
    assert largest_turn.__wrapped__(0.9, 0.6) == math.pi / 2
    assert largest_turn.__wrapped__(0.9, 0.0) == 0
