"""The exact test for contrast and brightness: the number of theory, on the safe side, and never a Python error."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from lit_certattr.budgets.affine_votes import AffineVotes, Change, Law, distance, lower_vote, needed_vote

NODES = np.linspace(-9, 9, 40_001)
WEIGHTS = norm.pdf(NODES) / norm.pdf(NODES).sum()
GAP = 2e-3  # by how much the bounds may be looser than the exact number


def share(law, change, c, under_q):
    """P or Q of {log ratio <= c}, by the reference's quadrature."""
    (s, t), (k0, b0) = law, change
    mean_k, mean_b, std_b = (k0, b0, math.exp(-k0) * t) if under_q else (0.0, 0.0, t)
    b = mean_b + std_b * NODES
    quadratic = -((b - b0) ** 2) * math.exp(2 * k0) / (2 * t * t) + b * b / (2 * t * t) + k0 - k0 * k0 / (2 * s * s)
    z = ((c - quadratic) / (k0 / (s * s)) - mean_k) / s
    return float(WEIGHTS @ (norm.cdf(z) if k0 > 0 else norm.sf(z)))


def exact(law, change, value, given_q):
    """The vote on the other side that the test with this mass under one law has under the other."""
    if change.k0 == 0:
        return norm.cdf(norm.ppf(value) + (1 if given_q else -1) * abs(change.b0) / law.brightness)
    c = brentq(lambda c: share(law, change, c, given_q) - value, -5e3, 5e3, xtol=1e-11)
    return share(law, change, c, not given_q)


LAWS = st.builds(Law, st.floats(0.05, 1), st.floats(0.05, 1))


@settings(max_examples=10)
@given(law=LAWS, k=st.floats(-2, 2).filter(lambda k: abs(k) > 0.01), b=st.floats(-2, 2), vote=st.floats(0.5, 0.999))
def test_both_bounds_are_the_exact_test_and_safe(law, k, b, vote):
    change = Change(k * law.log_contrast, b * law.brightness)
    least, needed = exact(law, change, vote, False), exact(law, change, 0.5, True)
    assert least - GAP < lower_vote(law, change, vote) <= least + 1e-7
    assert needed - 1e-7 <= needed_vote(law, change) < needed + GAP


@pytest.mark.parametrize(("contrast", "b0"), [(1.2, 0.64), (1.4, 0.46), (0.7, 0.42)])
def test_the_brightness_beside_a_contrast(contrast, b0):
    # s = .2, t = .3, p = .99: the brightness beside a contrast that still leaves a majority.
    law = Law(0.2, 0.3)
    assert needed_vote(law, Change(math.log(contrast), b0)) < 0.99
    assert needed_vote(law, Change(math.log(contrast), b0 + 0.03)) > 0.99


@pytest.mark.parametrize(("k0", "b0"), [(math.log(1.2), 0.1), (math.log(0.8), -0.2), (math.log(1.4), 0.0)])
def test_the_bound_is_attained_by_the_region_of_the_test(k0, b0):
    s, t, vote, rng = 0.2, 0.3, 0.97, np.random.default_rng(0)

    def ratio(k, b):
        q = norm.logpdf(k, k0, s) + norm.logpdf(b, b0, math.exp(-k0) * t)
        return q - norm.logpdf(k, 0, s) - norm.logpdf(b, 0, t)

    normals = rng.normal(size=(2, 300_000))
    c = np.quantile(ratio(s * normals[0], t * normals[1]), vote)
    worst = np.mean(ratio(k0 + s * normals[0], b0 + math.exp(-k0) * t * normals[1]) <= c)
    assert lower_vote(Law(s, t), Change(k0, b0), vote) == pytest.approx(worst, abs=5e-3)


def test_brightness_alone_is_a_shift():
    law = Law(0.2, 0.3)
    for b0 in (-0.3, 0.0, 1e-12, 0.2):
        shift = norm.cdf(norm.ppf(0.9) - abs(b0) / 0.3)
        assert shift * (1 - 1e-12) <= lower_vote(law, Change(0.0, b0), 0.9) <= shift
        # A contrast that rounding adds changes next to nothing, in the safe direction.
        assert shift - 2e-2 < lower_vote(law, Change(1e-7, b0), 0.9) <= shift + 1e-6


@given(law=LAWS, k=st.floats(0, 3), more=st.floats(0, 1))
def test_the_distance_grows_with_the_contrast_and_bounds_the_votes(law, k, more):
    assert distance(law, 0.0) == 0
    assert distance(law, k * law.log_contrast) <= distance(law, (k + more) * law.log_contrast)


@settings(max_examples=8)
@given(law=LAWS, k=st.floats(0.02, 1), vote=st.floats(0.1, 0.99), sign=st.sampled_from([-1, 1]))
def test_no_vote_moves_by_more_than_the_distance(law, k, vote, sign):
    k0 = k * law.log_contrast
    assert vote - exact(law, Change(sign * k0, 0.0), vote, False) <= distance(law, k0) + 1e-6


@pytest.mark.parametrize("vote", [0.0, 0.5, 1.0])
def test_votes_at_the_ends(vote):
    law = Law(0.2, 0.3)
    for change in (Change(0.1, 0.1), Change(-0.1, 0.0), Change(0.0, 0.1), Change(30.0, 0.0)):
        found = lower_vote(law, change, vote)
        assert 0 <= found <= vote
        assert (found > 0.9) == (vote == 1)


@pytest.mark.parametrize(
    ("law", "change"),
    [
        (Law(1e-4, 1e3), Change(1e-9, 1e3)),
        (Law(1e3, 1e-4), Change(15.0, -1e-9)),
        (Law(1e-4, 1e-4), Change(5.0, 5.0)),
        (Law(0.2, 0.3), Change(-25.0, 0.0)),
        (Law(0.2, 0.3), Change(0.1, 1e9)),
    ],
)
def test_extreme_settings_give_votes(law, change):
    assert 0.5 <= needed_vote(law, change) <= 1
    assert 0 <= lower_vote(law, change, 0.9) <= 0.9


def test_a_threshold_at_the_edge_of_the_search_is_found():
    # The search for the threshold begins with [-1, 1]; here it lies just inside 1, and that for a slack outside.
    found = needed_vote(Law(0.2, 0.3), Change(0.2644416565791767, 0.1))
    assert found == pytest.approx(0.9195, abs=1e-3)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 2), st.floats(0, 1))
def test_votes_by_lengths_are_monotone_and_reach_inverts_them(vote, more, radius, longer):
    votes = AffineVotes(0.3)
    higher = min(1.0, vote + more)
    assert votes.lower(vote, radius) <= votes.lower(higher, radius) <= higher
    assert votes.lower(vote, radius + longer) <= votes.lower(vote, radius)
    assert votes.upper(vote, radius) == 1 - votes.lower(1 - vote, radius)
    length = votes.reach(vote, 0.4)
    if 1e-6 < length < math.inf:
        assert votes.lower(vote, length * (1 - 1e-6)) >= 0.4
        assert votes.lower(vote, length * (1 + 1e-6) + 1e-12) < 0.4 + 1e-9


@settings(max_examples=8)
@given(law=LAWS, k=st.floats(-2, 2).filter(lambda k: abs(k) > 0.05), b=st.floats(-1, 1), vote=st.floats(0.5, 0.99))
def test_what_a_length_leaves_of_a_vote_is_never_above_the_least_vote(law, k, b, vote):
    change = Change(k * law.log_contrast, b * law.brightness)
    length = law.brightness * norm.ppf(needed_vote(law, change))
    least = exact(law, change, vote, False)
    assert float(AffineVotes(law.brightness).lower(vote, length)) <= least + 1e-7


@settings(max_examples=10)
@given(law=LAWS, k=st.floats(0.05, 1), sign=st.sampled_from([-1, 1]), vote=st.floats(0.02, 0.5))
def test_what_is_left_of_a_minority_is_never_above_the_least_vote(law, k, sign, vote):
    change = Change(sign * k * law.log_contrast, 0.1 * law.brightness)
    length = law.brightness * norm.ppf(needed_vote(law, change))
    assert float(AffineVotes(law.brightness).lower(vote, length)) <= exact(law, change, vote, False) + 1e-7


def test_votes_at_the_image_itself_stay_what_they_are():
    votes = np.linspace(0, 1, 101)
    assert np.allclose(AffineVotes(0.3).lower(votes, 0.0), votes, atol=1e-12)
    assert (AffineVotes(0.3).lower(votes, 0.0) <= votes).all()
