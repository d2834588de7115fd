"""The cosine bounds: vectors, brute force, monotonicity, inverses, and what is wrong with the published formula."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import cosine as oracle
from scipy.special import betaincinv

from benchmarks.soundness.closed_form import worst_parts
from lit_certattr.certificates.cosine_bounds import (
    cosine_bound,
    cosine_bound_nonnegative,
    cosine_bound_signed,
    diameter_bound,
    max_variation,
    published_bound,
    radius_over_sigma,
    total_variation,
)
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, Noise, UniformBallNoise

norms = st.floats(0.01, 1)
variations = st.floats(0, 1)
BALL, GAUSS = UniformBallNoise, GaussianNoise


def ball(radius, dimension):
    return UniformBallNoise(radius / math.sqrt(dimension + 2))


@pytest.mark.parametrize(
    ("dimension", "radius", "of_ball", "expected"),
    [
        (2, 0.5, 1, 0.3149623575257074),
        (3, 1, 1, 11 / 16),
        (5, 0.3, 1, 0.2770597265625),
        (50, 0.2, 1, 0.5238077711105676),
        (784, 0.25, 3, 0.7570099793910277),
        (3072, 0.5, 27.7, 0.3831235993775962),
        (150528, 1, 388, 0.3829069438131312),
    ],
)
def test_vectors_of_the_total_variation(dimension, radius, of_ball, expected):
    assert total_variation(ball(of_ball, dimension), radius, dimension) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("dimension", "radius"), [(2, 0.5), (3, 1.0), (50, 0.2)])
def test_the_total_variation_is_the_uncovered_share_of_a_ball(dimension, radius):
    rng, n = np.random.default_rng(0), 100_000
    z = rng.standard_normal((n, dimension + 2))
    points = z[:, :dimension] / np.linalg.norm(z, axis=1, keepdims=True)
    points[:, 0] -= radius
    share, q = (np.linalg.norm(points, axis=1) > 1).mean(), total_variation(ball(1, dimension), radius, dimension)
    assert abs(share - q) < 4.5 * math.sqrt(q * (1 - q) / n)


def test_the_total_variation_ends_at_one():
    assert total_variation(ball(1, 5), 2.0, 5) == total_variation(ball(1, 5), 7.0, 5) == 1
    assert total_variation(ball(1, 5), 0, 5) == total_variation(GAUSS(0.1), 0, 5) == 0


def test_the_ball_tends_to_the_gaussian():
    for dimension, error in ((784, 4e-4), (3072, 9e-5), (150528, 2e-6)):
        for radius in (0.05, 0.2, 0.5, 1.0):
            difference = total_variation(GAUSS(0.25), radius, 0) - total_variation(BALL(0.25), radius, dimension)
            assert abs(difference) < error


def test_other_laws_and_negative_radii_are_refused():
    class Laplace(Noise):
        perturb_ = sample_like = None

    for function in (total_variation, radius_over_sigma):
        with pytest.raises(InputError, match="no total variation is known for Laplace"):
            function(Laplace(1.0), 0.1, 3)
    with pytest.raises(InputError, match="radius must not be negative"):
        total_variation(GAUSS(1.0), -0.1, 3)


@pytest.mark.parametrize(
    ("norm", "q", "signed", "diameter", "nonnegative", "published"),
    [
        (0.5, 0.1, 0.916515, 0.916515, 0.959166, 0.928477),
        (0.95, 0.1, 0.979054, 0.977588, 0.988858, 0.978550),
        (1.0, 0.3, 0.903508, 0.800000, 0.905539, 0.857493),
        (0.5, 0.3, -1.0, -1.0, 0.554700, 0.640184),
    ],
)
def test_vectors_of_the_bounds(norm, q, signed, diameter, nonnegative, published):
    assert cosine_bound_signed(norm, q) == pytest.approx(signed, abs=1e-6)
    assert diameter_bound(norm, q, 2.0) == pytest.approx(diameter, abs=1e-6)
    assert cosine_bound_nonnegative(norm, q) == pytest.approx(nonnegative, abs=1e-6)
    assert published_bound(norm, 2 * q) == pytest.approx(published, abs=1e-6)


def test_vectors_of_the_inverses():
    signed, nonnegative = max_variation(0.9, 0.8, False), max_variation(0.9, 0.8, True)
    assert signed == pytest.approx(0.1743559577, abs=1e-10)
    assert nonnegative == pytest.approx(0.2465765601, abs=1e-10)
    largest = {784: 0.1102493478, 3072: 0.1101722601, 150528: 0.1101463524}
    smallest = {784: 31.78668639, 3072: 62.90565456, 150528: 440.30277655}
    for dimension, expected in largest.items():
        reach = radius_over_sigma(BALL(0.25), signed, dimension)
        assert 0.25 * reach == pytest.approx(expected, abs=1e-10)
        assert 0.5 / reach * math.sqrt(dimension + 2) == pytest.approx(smallest[dimension], abs=1e-7)


def test_vectors_of_a_ball_that_is_too_small():
    law = ball(math.sqrt(3) * 0.2, 784)
    q = total_variation(law, 0.01, 784)
    assert q == pytest.approx(0.314004, abs=1e-6)
    assert cosine_bound_signed(0.8, q) == pytest.approx(0.6195, abs=1e-4)
    assert published_bound(0.8, 2 * q) == pytest.approx(0.7866, abs=1e-4)
    q = total_variation(law, 0.1, 784)
    assert q == pytest.approx(0.999952, abs=1e-6)
    assert (cosine_bound_signed(0.8, q), cosine_bound_nonnegative(0.8, q)) == (-1, 0)
    assert published_bound(0.8, 2 * q) == pytest.approx(0.3714, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(norms, variations)
def test_the_signed_bound_is_what_brute_force_finds(norm, q):
    bound, found = cosine_bound_signed(norm, q), oracle.smallest_cosine(norm, q)
    assert bound <= found + 1e-9
    assert found <= bound + 2e-3  # the grid's own error


@settings(max_examples=300, deadline=None)
@given(norms, st.floats(1e-3, 0.5))  # below, the oracle itself loses its digits
def test_the_signed_bound_is_attained(norm, q):
    assume(norm > 2 * q)
    common, before, after = worst_parts(norm, q)
    assert max(np.linalg.norm(part) for part in (common, before, after)) <= 1 + 1e-7
    h, moved = (1 - q) * common + q * before, (1 - q) * common + q * after
    assert np.linalg.norm(h) == pytest.approx(norm, abs=1e-9)
    found = h @ moved / np.linalg.norm(h) / np.linalg.norm(moved)
    assert found == pytest.approx(cosine_bound_signed(norm, q), abs=1e-7)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_no_configuration_is_below_the_bound(nonnegative):
    rng, above_published = np.random.default_rng(0), 0
    for _ in range(8000):
        q = 0.6 * rng.random()
        norm, found = oracle.random_cosine(rng, q, nonnegative)
        assert found >= cosine_bound(norm, q, nonnegative) - 1e-9
        assert found >= diameter_bound(norm, q, 2**0.5 if nonnegative else 2.0, 0.0 if nonnegative else -1.0) - 1e-9
        above_published += found < published_bound(norm, 2 * q) - 1e-9
    assert above_published > 0  # the control: such configurations do break a formula that is not valid


@settings(max_examples=500, deadline=None)
@given(norms, norms, variations, variations, st.booleans())
def test_the_bound_rises_with_the_norm_and_falls_with_the_variation(norm, other, q, later, nonnegative):
    low, high = sorted((norm, other))
    first, second = sorted((q, later))
    assert cosine_bound(high, first, nonnegative) >= cosine_bound(low, second, nonnegative) - 1e-9


@settings(max_examples=300, deadline=None)
@given(norms, variations)
def test_the_bounds_are_ordered(norm, q):
    assert cosine_bound_nonnegative(norm, q) >= cosine_bound_signed(norm, q) >= diameter_bound(norm, q, 2.0) - 1e-9


def test_nothing_is_lost_without_a_shift_and_nothing_is_claimed_without_a_norm():
    assert cosine_bound_signed(0.3, 0.0) == cosine_bound_nonnegative(0.3, 0.0) == 1
    assert (cosine_bound_signed(0.0, 0.1), cosine_bound_nonnegative(0.0, 0.1)) == (-1, 0)
    assert (cosine_bound_signed(0.0, 0.0), cosine_bound_nonnegative(0.0, 0.0)) == (-1, 0)
    assert diameter_bound(0.0, 0.0, 2.0) == -1


@settings(max_examples=300, deadline=None)
@given(st.floats(0.01, 1), norms, st.booleans())
def test_the_largest_variation_keeps_the_cosine(cosine, norm, nonnegative):
    q = max_variation(cosine, norm, nonnegative)
    assert cosine_bound(norm, q, nonnegative) >= cosine
    assert cosine_bound(norm, q + 1e-6, nonnegative) < cosine or cosine > 1 - 1e-9


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-4, 0.99), st.sampled_from([2, 784, 150528]), st.sampled_from([BALL, GAUSS]))
def test_radius_and_variation_are_inverse(q, dimension, law):
    radius = 0.25 * radius_over_sigma(law(0.25), q, dimension)
    assert total_variation(law(0.25), radius, dimension) == pytest.approx(q, rel=1e-9)
    if law is BALL:
        direct = 2 * math.sqrt(betaincinv(0.5, (dimension + 1) / 2, q))
        assert radius == pytest.approx(law(0.25).ball_radius(dimension) * direct, rel=1e-12)


@pytest.mark.parametrize("cosine", [0.0, -0.5, 1.01, float("nan")])
def test_a_cosine_out_of_range_is_refused(cosine):
    with pytest.raises(InputError, match=r"cosine must lie in \(0, 1\]"):
        max_variation(cosine, 0.9, False)


# Why the published formula is not used.


def test_the_published_formula_promises_something_where_a_map_may_reverse():
    """Disjoint balls: e1 on the first, -e1 on the second. The cosine is -1."""
    q = total_variation(ball(1.0, 784), 2.1, 784)
    assert q == 1
    assert published_bound(1.0, 2 * q) == pytest.approx(1 / math.sqrt(5))
    assert published_bound(1.0, q) > 0
    assert published_bound(1.0, 1 + q) > 0


@pytest.mark.parametrize(("norm", "q"), [(0.5, 0.2), (0.5, 0.24), (0.6, 0.15), (0.8, 0.1)])
def test_the_published_formula_exceeds_what_maps_attain(norm, q):
    common, before, after = worst_parts(norm, q)
    h, moved = (1 - q) * common + q * before, (1 - q) * common + q * after
    found = h @ moved / np.linalg.norm(h) / np.linalg.norm(moved)
    assert published_bound(norm, q) > published_bound(norm, 2 * q) > found + 1e-3
    assert cosine_bound_signed(norm, q) <= found + 1e-9


def test_the_published_formula_for_maps_without_negative_values():
    """Valid for q <= norm / 2 and looser than ours there; not above."""
    for q in np.linspace(0.01, 0.25, 25):
        assert published_bound(0.5, 2 * q) <= cosine_bound_nonnegative(0.5, q) + 1e-12
    q = 0.4  # h = .5 e1 = q a + (1 - q) c with c = .1 / .6 e1, a = e1; b = e2
    h, moved = np.array([0.5, 0.0]), np.array([0.1, 0.4])
    found = h @ moved / np.linalg.norm(h) / np.linalg.norm(moved)
    assert published_bound(0.5, 2 * q) > found
    assert cosine_bound_nonnegative(0.5, q) <= found + 1e-12


def test_the_published_formula_can_also_be_too_weak():
    assert published_bound(1.0, 0.4) < cosine_bound_signed(1.0, 0.2) - 0.03


def test_a_norm_that_rounding_puts_above_one_gains_nothing():
    for nonnegative in (False, True):
        for q in (0.1, 0.3, 0.5):
            assert cosine_bound(1.0 + 1e-3, q, nonnegative) == cosine_bound(1.0, q, nonnegative)
