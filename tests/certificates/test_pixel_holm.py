"""Fixed-tau labels by Holm's test: against a slow oracle, against Bonferroni, and what the result says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.exact_binomial import tail
from scipy.stats import binom, norm

from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise
from lit_certattr.statistics import two_label_holm, two_label_test

SIGMA = 0.25


def slow_threshold(counts, n, tau, alpha):
    """The definition, one pixel at a time, in exact arithmetic."""
    tau = float(tau)
    claimed, threshold = 0, n + 1
    for count in sorted(set(counts), reverse=True):
        error = (len(counts) - claimed) * tail(count, n, tau) + len(counts) * tail(count, n, 1 - tau)
        if 2 * count <= n or error > alpha:
            break
        threshold, claimed = count, claimed + counts.count(count)
    return threshold


@settings(deadline=None)
@given(st.data())
def test_threshold_is_the_definition(data):
    n = data.draw(st.integers(1, 60))
    counts = data.draw(st.lists(st.integers(0, n), min_size=1, max_size=40))
    tau = data.draw(st.sampled_from([0.5, 0.625, 0.75, 0.9]))
    alpha = data.draw(st.sampled_from([0.001, 0.05, 0.3]))
    histogram = np.bincount(counts, minlength=n + 1)
    assert two_label_holm(histogram, n, tau, alpha) == slow_threshold(counts, n, tau, alpha)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=200), st.sampled_from([0.55, 0.75, 0.9]))
def test_never_fewer_labels_than_bonferroni(counts, tau):
    holm = two_label_holm(np.bincount(counts, minlength=301), 300, tau, 0.01)
    bonferroni = two_label_test(300, tau, 0.01 / len(counts))[0]
    assert sum(count >= holm for count in counts) >= sum(count >= bonferroni for count in counts)


def certify(n, **arguments):
    """Result for n noisy copies of a map with clear and with doubtful pixels."""
    generator = torch.Generator().manual_seed(0)
    maps = 3 * torch.randn(8, 8, generator=generator) + torch.randn(n, 8, 8, generator=generator)
    certificate = PixelCertificate(**arguments)
    accumulator = certificate.start(GaussianNoise(SIGMA), (8, 8))
    accumulator.update(maps)
    return accumulator.compute()


def test_labels_of_all_levels_share_one_family_and_the_radius_is_that_of_tau():
    n = 200
    result = certify(n, top_k=[0.5, 0.25], alpha=0.01, tau=0.75, correction="holm")
    votes = result.votes.numpy()
    winner = np.maximum(votes, n - votes)
    threshold = slow_threshold(winner.ravel().tolist(), n, 0.75, 0.01)
    assert result.threshold == threshold
    expected = np.where(votes >= threshold, 1, np.where(n - votes >= threshold, 0, -1))
    assert result.labels.numpy().tolist() == expected.tolist()
    radii = result.radius[result.labels >= 0].double().unique()
    assert len(radii) == 1
    assert float(radii) == pytest.approx(SIGMA * norm.ppf(0.75), rel=1e-6)
    assert float(radii) <= SIGMA * norm.ppf(0.75)
    assert not result.radius[result.labels < 0].any()
    assert 0.3 < (result.labels >= 0).double().mean() < 1
    plain = certify(n, top_k=[0.5, 0.25], alpha=0.01, tau=0.75)
    assert plain.threshold >= threshold
    assert ((plain.labels < 0) | (plain.labels == result.labels)).all()
    lower = result.claims()["vote for important"]
    assert set(lower.unique().tolist()) <= {0.0, 0.75}
    assert (lower > 0).equal(result.labels == 1)
    again = result.rederive()
    assert again.threshold == threshold
    assert again.labels.equal(result.labels)
    assert again.radius.equal(result.radius)
    assert again.correction == "holm"
    null = result.null_shares(float(radii) * 1.001)  # beyond the only radius there is
    assert not null["certified"].any()


def test_nothing_is_labelled_where_no_count_is_enough():
    result = certify(10, top_k=[0.34], tau=0.75, correction="holm")
    assert result.threshold == 11
    assert (result.labels == -1).all()
    assert not result.radius.any()
    assert any("cannot give a label" in flag for flag in result.flags)


def test_refusals():
    with pytest.raises(InputError, match=r"tau above 0.5"):
        PixelCertificate(correction="holm")
    with pytest.raises(InputError, match="correction must be one of bonferroni, holm"):
        PixelCertificate(correction="fdr")


N, PIXELS, TAU, ALPHA, RUNS = 100, 40, 0.75, 0.1, 4000
ALLOWED = int(binom.ppf(0.999, RUNS, ALPHA))


def false_claims(threshold_of, votes):
    """Runs in which some pixel gets a label whose vote is not above tau."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(RUNS):
        ones = rng.binomial(N, votes)
        threshold = threshold_of(np.bincount(np.maximum(ones, N - ones), minlength=N + 1))
        wrong += bool((((ones >= threshold) & (votes <= TAU)) | ((N - ones >= threshold) & (1 - votes <= TAU))).any())
    return wrong


@pytest.mark.parametrize("null", [0, 10, 36])
def test_family_wise_error(null):
    """Some pixels exactly at tau, the rest clearly above: those free alpha for the first."""
    votes = np.where(np.arange(PIXELS) < PIXELS - null, 0.97, TAU)
    found = false_claims(lambda histogram: two_label_holm(histogram, N, TAU, ALPHA), votes)
    assert found <= ALLOWED
    assert found > 0 or not null


def test_the_check_catches_a_test_without_correction():
    votes = np.full(PIXELS, TAU)
    assert false_claims(lambda histogram: two_label_test(N, TAU, ALPHA)[0], votes) > ALLOWED
