"""The overlap certificate against every feasible top-K set, the published rules, and its own tightness."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import overlap

from lit_certattr.certificates import TopKOverlapCertificate, displacement_radii
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise
from lit_certattr.statistics.rounding import at_least

P = np.array([0.91, 0.72, 0.55, 0.40, 0.31, 0.22, 0.15, 0.08, 0.05, 0.02])
ROUNDED = st.floats(0, 1).map(lambda p: round(p, 2))  # ties, zeros and ones included


def certify_counts(votes, num_samples, sigma=0.1, **settings):
    """Result for votes ``[N]`` that are given instead of sampled."""
    votes = torch.as_tensor(np.asarray(votes), dtype=torch.int32).view(1, 1, -1)
    certificate = TopKOverlapCertificate(**settings)
    accumulator = certificate.start(GaussianNoise(sigma), votes.shape[1:])
    accumulator.update(torch.arange(votes.shape[2], dtype=torch.float32).view(1, 1, -1))
    accumulator.votes.copy_(votes)
    accumulator.num_samples.fill_(num_samples)
    return accumulator.compute()


def population(p, size, sigma):
    return displacement_radii(p, p, overlap.top_set(p, size), sigma)


@pytest.mark.parametrize(
    ("size", "rho", "sigma", "kept"),
    [(4, 0.03, 0.1, 3), (4, 0.05, 0.1, 2), (4, 0.02, 0.2, 4), (3, 0.25, 0.5, 2), (6, 0.1, 0.1, 3)],
)
def test_population_vectors(size, rho, sigma, kept):
    assert int((population(P, size, sigma) > rho).sum()) == kept


def test_population_radii_vector():
    expected = [0.121251622106, 0.448927280522, 0.809637448383, 1.372913297]
    np.testing.assert_allclose(population(P, 4, 1.0), expected, rtol=1e-9)


@given(st.lists(ROUNDED, min_size=2, max_size=8), st.data())
@settings(max_examples=150, deadline=None)
def test_boxes_equal_every_feasible_set(p, data):
    size = data.draw(st.integers(1, len(p) - 1))
    lower = np.array([data.draw(st.sampled_from([value, value / 2, 0.0])) for value in p])
    upper = np.array([data.draw(st.sampled_from([value, (1 + value) / 2, 1.0])) for value in p])
    inside = overlap.top_set(p, size)
    radii = displacement_radii(lower, upper, inside, sigma=1.0)
    assert (np.diff(radii[np.isfinite(radii)]) >= 0).all()
    for r in (0.0, 0.05, 0.2, 0.5, 1.0):
        expected = overlap.smallest_overlap(overlap.shift(lower, -r), overlap.shift(upper, r), inside)
        close = np.isclose(radii, r, atol=1e-9).any()  # equality of a radius and r is decided by rounding
        assert close or int((radii > r).sum()) == expected


@given(st.lists(ROUNDED, min_size=2, max_size=40), st.data())
@settings(max_examples=150, deadline=None)
def test_population_equals_the_published_ranks(p, data):
    size = data.draw(st.integers(1, len(p) - 1))
    rho, sigma = data.draw(st.sampled_from([0.01, 0.07, 0.3])), data.draw(st.sampled_from([0.1, 0.5]))
    radii = population(np.array(p), size, sigma)
    assert int((radii > rho).sum()) == overlap.population_rule(np.array(p), size, rho, sigma)


@pytest.mark.parametrize("seed", range(20))
def test_the_certificate_is_attained(seed):
    """Half-space maps along one direction reach every end of every box at once: no better rule exists for them."""
    rng = np.random.default_rng(seed)
    p, size = rng.beta(0.7, 1.5, 20), 6
    inside = overlap.top_set(p, size)
    for rho in (0.05, 0.2, 0.5):
        moved = overlap.shift(p, np.where(inside, -rho, rho))
        attained = int((overlap.top_set(moved + 1e-13 * ~inside, size) & inside).sum())
        assert int((population(p, size, 1.0) > rho).sum()) == attained
        for step in rng.uniform(-rho, rho, 50):
            moved = overlap.shift(p, np.where(inside, -step, step))
            assert int((overlap.top_set(moved, size) & inside).sum()) >= attained


@pytest.mark.parametrize(("n", "c"), [(256, 0.108176148912643), (8192, None)])
def test_published_rule_vector(n, c):
    kept, margin = overlap.published_rule(P, 4, 0.01, 0.1, n, 0.05)
    assert c is None or margin == pytest.approx(c, rel=1e-13)
    assert n != 256 or kept == 3
    counts = np.round(P * n).astype(int)
    result = certify_counts(counts, n, top_k=4, alpha=0.05, bound="published_hoeffding")
    assert result.overlap(0.01) == overlap.published_rule(counts / n, 4, 0.01, 0.1, n, 0.05)[0]


@given(st.integers(1, 300), st.data())
@settings(max_examples=150, deadline=None)
def test_samples_equal_the_references(n, data):
    pixels = data.draw(st.integers(2, 30))
    size = data.draw(st.integers(1, pixels - 1))
    votes = np.round(np.array(data.draw(st.lists(st.floats(0, 1), min_size=pixels, max_size=pixels))) ** 2 * n)
    inside, alpha = overlap.top_set(votes, size), data.draw(st.sampled_from([0.3, 0.05, 0.001]))
    exact = certify_counts(votes, n, top_k=size, alpha=alpha)
    published = certify_counts(votes, n, top_k=size, alpha=alpha, bound="published_hoeffding")
    assert (exact.inside[0].numpy() == inside).all()
    lower, upper = overlap.exact_bounds(votes, n, alpha / (2 * pixels))
    for rho in (0.0, 0.01, 0.05):
        low = np.sort(overlap.shift(lower, -rho / 0.1)[inside])
        high = np.sort(overlap.shift(upper, rho / 0.1)[~inside])[::-1]
        pairs = min(len(low), len(high))
        assert exact.overlap(rho) == size - int((high[:pairs] >= low[:pairs]).sum())
        if 2 * size <= pixels:
            assert published.overlap(rho) == overlap.published_rule(votes / n, size, rho, 0.1, n, alpha)[0]


def test_exact_bounds_need_a_fifth_of_the_published_samples():
    """A pair at .30 and .05 among 150528 pixels: Hoeffding's radius of 8192 samples, from 2656 exact ones."""

    def radius(n, bound):
        votes = np.zeros(150528)
        votes[0], votes[1:] = round(0.3 * n), round(0.05 * n)
        return certify_counts(votes, n, 1.0, top_k=1, alpha=0.05, bound=bound).displacement[0]

    published = radius(8192, "published_hoeffding")
    assert published == pytest.approx(0.392, abs=5e-4)
    assert radius(2656, "clopper_pearson") >= published - 5e-4 > radius(2400, "clopper_pearson")


def test_overlap_that_no_perturbation_can_take():
    """With 2K > N two sets of K pixels always share 2K - N."""
    result = certify_counts([50, 50, 50, 50, 50, 50], 100, top_k=4)
    assert result.overlap(0.0) == result.overlap(1e9) == 2
    assert result.displacement.tolist() == [-math.inf, -math.inf, math.inf, math.inf]


def test_ties_go_to_the_adversary():
    for p in (np.zeros(4), np.ones(4), np.full(4, 0.3)):
        assert (population(p, 2, 1.0) == -math.inf).all()


def test_the_curve_falls_and_is_the_overlap():
    result = certify_counts(np.round(P * 2000), 2000, top_k=4)
    radii = torch.linspace(0, 0.3, 200)
    curve = result.curve(radii)
    assert (curve.diff() <= 0).all()
    assert 0 <= curve.min() < curve.max() <= 1
    assert curve.tolist() == [result.overlap(float(r)) / 4 for r in radii]


@pytest.mark.parametrize("share", [0.01, 0.07, 0.25, 0.5, 0.51, 1.0])
def test_max_radius_is_where_the_share_is_lost(share):
    votes = np.r_[np.arange(900, 1000), np.arange(0, 300)]
    result = certify_counts(votes, 1000, top_k=100)
    radius = result.max_radius(share)
    needed = math.ceil(round(share * 100, 6))
    assert radius > 0
    assert result.overlap(radius * (1 - 1e-6)) >= needed > result.overlap(radius)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_max_radius_refuses_shares_out_of_range(share):
    with pytest.raises(InputError, match="share"):
        certify_counts(np.round(P * 100), 100, top_k=4).max_radius(share)


def test_negative_radii_are_refused():
    with pytest.raises(InputError, match="negative"):
        certify_counts(np.round(P * 100), 100, top_k=4).overlap(-0.1)


@pytest.mark.parametrize("bound", ["clopper_pearson", "published_hoeffding"])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_smallest_sample_size_is_where_it_begins_to_work(bound, alpha):
    settings = {"top_k": 1, "alpha": alpha, "bound": bound}
    n = TopKOverlapCertificate(**settings).smallest_num_samples(50)
    for num_samples, works in ((n, True), (n - 1, False)):
        votes = np.zeros(50)
        votes[7] = num_samples
        assert (certify_counts(votes, num_samples, **settings).overlap(0.0) == 1) == works


def test_sparsity_and_k_are_separate():
    certificate = TopKOverlapCertificate(top_k=3, sparsity=0.5)
    assert certificate.mask_sizes(20) == (10,)
    accumulator = certificate.start(GaussianNoise(0.25), (4, 5))
    accumulator.update(torch.arange(20.0).view(1, 4, 5).expand(500, 4, 5) + torch.rand(500, 4, 5))
    result = accumulator.compute()
    assert (result.size, result.kept) == (3, 10)
    assert int(result.votes.sum()) == 500 * 10
    assert int(result.inside.sum()) == 3


def test_constant_maps_certify_nothing():
    certificate = TopKOverlapCertificate(top_k=2, alpha=0.05)
    accumulator = certificate.start(GaussianNoise(0.25), (3, 3))
    accumulator.update(torch.ones(500, 3, 3))
    result = accumulator.compute()
    assert result.overlap(0.0) == 0
    assert any("constant" in flag for flag in result.flags)


def test_the_statement_says_what_was_proved():
    result = certify_counts(np.round(P * 2000), 2000, top_k=4, alpha=0.01)
    text = result.statement(0.02)
    assert text.startswith("With probability at least 0.99: ")
    assert f"l2 norm at most 0.02, at least {result.overlap(0.02)} of the K = 4" in text
    half = result.max_radius(0.5)
    assert f"l2 norm below {at_least(half)}, at least 2 of the K = 4" in result.statement()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"alpha": 2.0}, "alpha"), ({"bound": "bernstein"}, "bound must be one of clopper_pearson")],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TopKOverlapCertificate(**settings)


@pytest.mark.parametrize("settings", [{"top_k": 100}, {"top_k": 3, "sparsity": 100}])
def test_sizes_beyond_the_map_are_refused(settings):
    with pytest.raises(InputError, match="selects 100 of 25 pixels"):
        TopKOverlapCertificate(**settings).start(GaussianNoise(0.25), (5, 5))
