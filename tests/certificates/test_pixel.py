"""The pixel certificate against slow references, and what it says about its own numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import pixel
from scipy.stats import binom, norm

from lit_certattr.certificates import ABSTAIN, PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise
from lit_certattr.statistics.rounding import percent_at_least


def certify_counts(ones, num_samples, *, sigma=0.25, num_constant=0, **settings):
    """Result for votes ``[K, N]`` that are given instead of sampled."""
    ones = torch.as_tensor(np.asarray(ones), dtype=torch.int32)[:, None, :]
    certificate = PixelCertificate(top_k=range(1, len(ones) + 1), **settings)
    accumulator = certificate.start(GaussianNoise(sigma), ones.shape[1:])
    accumulator.update(torch.arange(ones.shape[2], dtype=torch.float32).view(1, 1, -1))
    accumulator.votes.copy_(ones)
    accumulator.num_samples.fill_(num_samples)
    accumulator.num_constant.fill_(num_constant)
    return accumulator.compute()


def sampled(num_samples=200, shape=(8, 9), top_k=(0.5, 0.25, 0.05), spread=1.0, seed=0, **settings):
    """Result for maps that are a fixed pattern plus noise."""
    generator = torch.Generator().manual_seed(seed)
    pattern = spread * torch.randn(shape, generator=generator)
    certificate = PixelCertificate(top_k=top_k, **settings)
    accumulator = certificate.start(GaussianNoise(0.25), shape)
    accumulator.update(pattern + 0.3 * torch.randn(num_samples, *shape, generator=generator))
    return accumulator.compute()


@given(st.integers(1, 400), st.data())
@settings(max_examples=150, deadline=None)
def test_labels_and_radii_equal_the_reference(n, data):
    levels, pixels = data.draw(st.integers(1, 3)), data.draw(st.integers(4, 30))
    heights = data.draw(st.lists(st.floats(0, 1), min_size=levels * pixels, max_size=levels * pixels))
    crowded = [h**0.2 if i % 2 else 1 - h**0.2 for i, h in enumerate(heights)]  # many near 0 and n
    ones = np.round(np.reshape(crowded, (levels, pixels)) * n).astype(int)
    tau, alpha = data.draw(st.sampled_from([0.5, 0.6, 0.75])), data.draw(st.sampled_from([0.3, 0.05, 0.001]))
    result = certify_counts(ones, n, tau=tau, alpha=alpha)

    expected, threshold = pixel.certify_both_sides(ones, n, tau, alpha)  # ones.size: alpha over pixels and levels
    assert result.threshold == threshold
    assert (result.labels[:, 0].numpy() == expected).all()
    radius, certified = result.radius[:, 0].double().numpy(), expected != ABSTAIN
    level = alpha / ones.size
    assert (radius <= pixel.radius_bound(ones, n, 0.25, level) * (1 + 1e-9)).all()
    assert (radius[~certified] == 0).all()
    # The price of testing both labels is at most a factor two in the level.
    assert (radius >= pixel.radius_bound(ones, n, 0.25, level / 2) * (1 - 1e-6) * certified).all()
    assert (radius[certified] >= 0.25 * norm.ppf(tau) * (1 - 1e-6)).all()


def test_thresholds_at_photograph_size():
    ones = np.full((1, 224 * 224), 50)
    ones[0, :4] = [96, 95, 4, 5]
    result = certify_counts(ones, 100, tau=0.75, alpha=0.001)
    assert result.labels[0, 0, :5].tolist() == [1, -1, 0, -1, -1]
    assert result.radius[0, 0, 0] == pytest.approx(0.25 * norm.ppf(0.75), rel=0.02)
    assert result.radius[0, 0, 0] >= 0.16862


def test_a_vote_more_never_costs_radius():
    result = certify_counts(np.arange(101)[None], 100)
    radius = result.radius[0, 0]
    assert (radius.diff()[50:] >= 0).all()
    assert torch.equal(radius, radius.flip(0))  # both labels are treated alike
    assert torch.equal(result.labels[0, 0].flip(0), torch.where(result.labels[0, 0] < 0, -1, 1 - result.labels[0, 0]))


def test_alpha_covers_the_levels_together():
    ones = np.arange(91)[None]
    alone, three = certify_counts(ones, 90, alpha=0.01), certify_counts(np.repeat(ones, 3, 0), 90, alpha=0.03)
    assert alone.threshold == three.threshold
    assert torch.equal(alone.radius[0], three.radius[2])


def test_higher_tau_gives_up_labels_and_never_radius():
    ones = np.arange(201)[None]
    low, high = certify_counts(ones, 200, tau=0.5), certify_counts(ones, 200, tau=0.75)
    kept = high.labels != ABSTAIN
    assert 0 < int(kept.sum()) < int((low.labels != ABSTAIN).sum())
    assert (high.radius[kept] >= low.radius[kept]).all()


def test_radii_are_stored_below_the_proven_value():
    result = certify_counts(np.arange(1001)[None], 1000)
    winner = np.maximum(np.arange(1001), 1000 - np.arange(1001))
    exact = 0.25 * norm.ppf(np.clip(pixel.beta.ppf(result.level, winner, 1001 - winner), 0.5, 1))
    assert (result.radius[0, 0].double().numpy() <= exact * (1 + 1e-12)).all()


def test_sampled_labels_are_nested_over_the_levels():
    result = sampled()
    half, quarter, few = result.labels == 1
    assert few.sum() > 0
    assert not (few & ~quarter).any()
    assert not (quarter & ~half).any()
    half, quarter, few = result.labels == 0
    assert half.sum() > 0
    assert not (half & ~quarter).any()
    assert not (quarter & ~few).any()


@pytest.mark.parametrize("order", [(0.5, 0.25, 0.05), (0.05, 0.5, 0.25)])
def test_composition_equals_the_reference_in_any_order(order):
    result = sampled(top_k=order)
    labels = dict(zip(result.sizes, result.labels.numpy(), strict=True))
    assert (result.composition().numpy() == pixel.compose(labels)).all()
    assert sorted(result.composition().unique().tolist()) == [0, 1, 2, 3]


def test_shares_add_up():
    result = sampled()
    for radius in (0.0, 0.1, 0.3, 10.0):
        shares = result.shares(radius)
        kept = (result.labels != ABSTAIN) & (result.radius > radius)
        assert torch.equal(shares["one"], (kept & (result.labels == 1)).double().mean((1, 2)))
        torch.testing.assert_close(shares["certified"], kept.double().mean((1, 2)))
        torch.testing.assert_close(shares["certified"] + shares["abstain"], torch.ones(3, dtype=torch.float64))
        ones = (kept & (result.labels == 1)).sum((1, 2)) / torch.tensor(result.sizes, dtype=torch.float64)
        torch.testing.assert_close(result.one_share(radius), ones)


def test_more_than_k_pixels_can_have_a_majority_but_fewer_than_two_k():
    """Three of four pixels are among the two largest of two maps in three each; K is 2."""
    result = certify_counts([[0, 0, 0, 0], [2000, 2000, 2000, 0]], 3000)
    assert result.one_share()[1] == 1.5
    most = certify_counts([[0] * 10] * 4 + [[11111] * 9 + [0]], 20000)  # K is 5 of 10
    assert most.one_share()[4] == 9 / 5 < 2


@pytest.mark.parametrize("radius", [0.0, 0.05, 0.2])
def test_null_baseline_is_that_of_random_maps(radius):
    result = sampled(1000, spread=0, top_k=(0.5, 0.02))
    null = result.null_shares(radius)
    radii = certify_counts(np.arange(1001)[None], 1000).radius  # only to see that radii grow with the count
    assert (radii[0, 0].diff()[500:] >= 0).all()
    share = np.array(result.sizes) / 72
    need = next((k for k in range(501, 1001) if _radius_of(result, k) > radius), 1001)
    np.testing.assert_allclose(null["one"], binom.sf(need - 1, 1000, share), rtol=1e-9)
    np.testing.assert_allclose(null["zero"], binom.sf(need - 1, 1000, 1 - share), rtol=1e-9)
    observed = result.shares(radius)["certified"]
    assert observed[0] == 0
    assert observed[1] == pytest.approx(float(null["certified"][1]), abs=1e-6) == 1


def _radius_of(result, count):
    if count < result.threshold:
        return 0
    return result.sigma * norm.ppf(pixel.beta.ppf(result.level, count, result.num_samples - count + 1))


def test_power_is_the_chance_to_reach_the_threshold():
    result = certify_counts(np.zeros((1, 100)), 300)
    assert result.power(0.95) == pytest.approx(binom.sf(result.threshold - 1, 300, 0.95), rel=1e-9)
    assert f"{result.threshold} of 300 votes" in result.power_note()


def test_too_few_samples_certify_nothing_and_say_so():
    result = certify_counts([[5, 0, 3, 5]], 5, alpha=0.001)
    assert (result.labels == ABSTAIN).all()
    assert (result.radius == 0).all()
    needed = PixelCertificate(top_k=[1], alpha=0.001).smallest_num_samples(4)
    assert any(f"{needed} can" in flag for flag in result.flags)
    assert "No vote of 5" in result.power_note()
    assert (certify_counts([[needed, 0, 0, 0]], needed, alpha=0.001).labels != ABSTAIN).all()
    assert (certify_counts([[needed - 1, 0, 0, 0]], needed - 1, alpha=0.001).labels == ABSTAIN).all()


def test_constant_maps_certify_nothing():
    certificate = PixelCertificate(top_k=[0.5, 0.1], alpha=0.05)
    accumulator = certificate.start(GaussianNoise(0.25), (5, 5))
    accumulator.update(torch.arange(500.0).view(500, 1, 1).expand(500, 5, 5))
    result = accumulator.compute()
    assert (result.labels == ABSTAIN).all()
    assert (result.votes == 0).all()
    assert result.num_constant == 500
    assert any("500 of 500 noisy maps are constant" in flag for flag in result.flags)


def test_a_constant_map_votes_for_neither_label():
    """Of 100 samples 10 are constant; every other sample votes the same, and 90 of 100 is what counts."""
    certificate = PixelCertificate(top_k=[1], alpha=0.01)
    accumulator = certificate.start(GaussianNoise(0.25), (1, 2))
    accumulator.update(torch.tensor([[[2.0, 1.0]]]).expand(90, 1, 2))
    accumulator.update(torch.zeros(10, 1, 2))
    result = accumulator.compute()
    assert result.votes.tolist() == [[[90, 0]]]
    assert result.labels.tolist() == [[[1, 0]]]
    expected = certify_counts([[90, 10]], 100, alpha=0.01)
    assert torch.equal(result.radius, expected.radius)
    assert result.labels.tolist() == expected.labels.tolist()


def test_ties_are_reported():
    certificate = PixelCertificate(top_k=[0.5])
    accumulator = certificate.start(GaussianNoise(0.25), (10, 10))
    maps = torch.zeros(50, 10, 10)
    maps[:, :2, :8] = 1 + torch.rand(50, 2, 8)
    accumulator.update(maps)
    result = accumulator.compute()
    assert result.tied == (0.84,)
    assert any(flag.startswith("84.0% of the pixels tie") for flag in result.flags)
    assert sampled().flags == ()
    assert sampled().tied == (0, 0, 0)


def test_the_statement_says_what_was_proved():
    result = sampled(alpha=0.002)
    text = result.statement(0.1)
    shares = result.shares(0.1)
    assert text.startswith("With probability at least 0.998, for all 72 pixels and 3 levels of K at once")
    assert "l2 norm below 0.1" in text
    one, zero = (percent_at_least(float(shares[key][1])) for key in ("one", "zero"))
    assert f"{one}% certified important and {zero}% certified unimportant" in text
    assert "Nothing is claimed about the other pixels" in text
    assert "its certified radius" in result.statement()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": 0.4}, "tau"),
        ({"tau": 1.0}, "tau"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"top_k": ()}, "top_k"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        PixelCertificate(**settings)


def test_levels_that_coincide_are_refused():
    with pytest.raises(InputError, match="names a size twice"):
        PixelCertificate(top_k=[0.5, 0.51]).start(GaussianNoise(0.25), (2, 4))
