"""Predictions that would be certified although they fall, or that hide that the class is not seen."""

import math

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, norm
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attacks import AttackConfig, NoisyVotes, attack_smoothed
from lit_certattr.attribution import FunctionAttribution, Gradient, RegionMap
from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    PercentileCertificate,
    PixelCertificate,
    PredictionCertificate,
    PredictionResult,
    joint_statement,
    load_results,
    quantities_of,
    save_results,
)
from lit_certattr.certification.stopping import AllDecided
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.numbers import Gini
from lit_certattr.regions import Grid
from lit_certattr.smoothing import DiscreteGaussianNoise, GaussianNoise, MapBlock, UniformBallNoise, noisy_images

NOISE = GaussianNoise(0.5)


def result(own, other, n, alpha=0.001, share=1.0, **fields):
    certificate = PredictionCertificate(alpha)
    fixed = certificate.fixed(NOISE, (4, 4), 16, n, share)
    votes = torch.tensor([own, other])
    return PredictionResult(votes=votes, lower=0.0, upper=1.0, num_samples=n, **(fixed | fields)).rederive()


class HalfSpace(nn.Module):
    """Class 1 where the mean of the image is above one half."""

    def forward(self, images):
        mean = images.flatten(1).mean(1)
        return torch.stack([0.5 - mean, mean - 0.5], 1)


def margin_of(image):
    """l2 distance of an image to the border of the half-space."""
    return float((image.double().mean() - 0.5) * math.sqrt(image.numel()))


def certify(net, image, method=None, n=300, batch_size=64, certificates=None, target=1, **settings):
    certificates = certificates or [PixelCertificate([0.5], alpha=0.01), PredictionCertificate(alpha=0.01)]
    certifier = Certifier(method or Gradient(), NOISE, certificates, n, batch_size=batch_size, **settings)
    return certifier(net, image[None], [target], ["image"])[0]


# The theorem ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0, 1), st.floats(1e-6, 0.3))
def test_bounds_and_radius_are_those_of_the_definition(n, one, two, alpha):
    own = round(one * n)
    other = round(two * (n - own))
    found = result(own, other, n, alpha)
    low = beta.ppf(alpha / 2, own, n - own + 1) if own else 0.0
    low_of_others = beta.ppf(alpha / 2, other, n - other + 1) if other else 0.0
    assert found.lower == pytest.approx(low, abs=1e-9)
    assert found.upper == pytest.approx(1 - low_of_others, abs=1e-9)
    assert found.radius == pytest.approx(max(0.0, NOISE.sigma * norm.ppf(low)) if low > 0.5 else 0.0, abs=1e-6)
    assert found.refuted_radius == pytest.approx(NOISE.sigma * max(0.0, norm.ppf(low_of_others)), abs=1e-6)
    if found.radius:
        assert found.holds(found.radius)
        assert not found.holds(1.01 * found.radius)
    if found.refuted_radius:
        assert found.is_refuted(found.refuted_radius)
        assert not found.is_refuted(1.01 * found.refuted_radius)
    lows, highs = found.intervals([0.0, 0.1, 0.7, 5.0])
    assert (np.diff(lows) <= 0).all()
    assert (np.diff(highs) >= 0).all()
    assert (lows <= highs).all()


@pytest.mark.parametrize("start", [0.6, 0.2, -0.3])
def test_a_half_space_attains_the_interval_and_both_radii(start):
    true = float(norm.cdf(start / NOISE.sigma))
    exact = attrs.evolve(result(1, 1, 10), lower=true, upper=true)

    def share_at(shift):
        return float(norm.cdf((start + shift) / NOISE.sigma))

    for radius in (0.1, 0.4, 1.0):
        low, high = exact.interval(radius)
        assert low == pytest.approx(share_at(-radius), abs=1e-12)
        assert high == pytest.approx(share_at(radius), abs=1e-12)
    radius = exact.radius or exact.refuted_radius
    assert radius == pytest.approx(abs(start), rel=1e-9)
    towards = -math.copysign(1, start)
    held = share_at(towards * 0.999 * radius) > 0.5
    broken = share_at(towards * 1.01 * radius) > 0.5
    assert (held, broken) == ((True, False) if start > 0 else (False, True))


@pytest.mark.parametrize("true", [(0.55, 0.45), (0.8, 0.1), (0.02, 0.9), (0.3, 0.3), (1.0, 0.0)])
def test_no_more_than_alpha_of_the_intervals_miss(true):
    """Ties and invalid logits are the rest: the interval must hold both shares, strict wins and 1 - strict losses."""
    alpha, n, repetitions = 0.05, 60, 2000
    rest = max(0.0, 1 - sum(true))
    counts = np.random.default_rng(1).multinomial(n, [*true, rest], size=repetitions)
    found = {}
    misses = 0
    for own, other, _ in counts.tolist():
        if (own, other) not in found:
            found[own, other] = result(own, other, n, alpha)
        one = found[own, other]
        misses += one.lower > true[0] or one.upper < 1 - true[1]
    assert misses <= binom.ppf(0.999, repetitions, alpha)
    assert max(one.upper - one.lower for one in found.values()) < 1, "bounds that say nothing never err"


def test_a_fair_coin_hardly_ever_gets_a_verdict():
    alpha, n = 0.05, 101
    counts = np.random.default_rng(2).binomial(n, 0.5, 4000)
    decided = sum(result(own, n - own, n, alpha).certified_count()[0] for own in counts.tolist())
    assert decided <= binom.ppf(0.999, 4000, alpha)
    assert decided > 0


def test_samples_of_a_half_space_never_certify_more_than_is_true():
    image = torch.full((1, 4, 4), 0.65)
    true = margin_of(image)
    previous = 0.0
    for n in (30, 300, 3000):
        found = certify(HalfSpace(), image, FunctionAttribution(lambda *a: a[1][:, 0], name="own"), n)["prediction"]
        assert previous < found.radius < true
        previous = found.radius
    assert previous > 0.85 * true
    below = certify(HalfSpace(), 1 - image, FunctionAttribution(lambda *a: a[1][:, 0], name="own"), 3000)["prediction"]
    assert below.verdict == "refuted at the clean image"
    assert 0.85 * true < below.refuted_radius < true


def test_noise_outside_of_the_theorem_is_refused():
    PredictionCertificate().check_noise(DiscreteGaussianNoise(0.25))
    with pytest.raises(InputError, match="is proved for"):
        PredictionCertificate().start(UniformBallNoise(0.25), (4, 4), 16)


@pytest.mark.parametrize(("alpha", "share"), [(0.001, 1.0), (0.05, 1.0), (0.001, 0.25)])
def test_the_fewest_samples_are_just_enough(alpha, share):
    fewest = PredictionCertificate(alpha).smallest_num_samples(16, share)
    assert result(fewest, 0, fewest, alpha, share).holds(0.0)
    assert not result(fewest - 1, 0, fewest - 1, alpha, share).holds(0.0)


# The samples ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return SmallCNN(image_size=8, width=4).eval()


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("batch_size", [7, 64, 300, "auto"])
def test_it_counts_the_samples_of_the_other_certificates_whatever_the_batch_size(net, image, batch_size):
    found = certify(net, image, batch_size=batch_size, target=2)["prediction"]
    blocks = noisy_images(image, NOISE, image_id="image", num_samples=300, batch_size=50)
    with torch.no_grad():
        by_hand = sum(int((net(block).argmax(1) == 2).sum()) for block in blocks)
    assert found.votes.tolist() == [by_hand, 300 - by_hand]
    assert 0 < by_hand < 300, "the network must not be sure"
    assert (found.num_predicted, found.num_predictions, found.num_extra_passes) == (by_hand, 300, 0)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("method", [Gradient(), RegionMap(Gradient(), Grid(2))], ids=repr)
def test_no_copy_passes_the_network_twice_for_a_gradient_whatever_the_order_of_the_certificates(
    net, image, method, order
):
    passes = []
    certify(net, image, method)  # the checks of network and method are made once
    handle = net.register_forward_hook(lambda _, inputs, __: passes.append(len(inputs[0])))
    both = [PixelCertificate([0.5], alpha=0.01), PredictionCertificate()][::order]
    results = certify(net, image, method, certificates=both)
    with_it = sum(passes)
    passes.clear()
    certify(net, image, method, certificates=[PixelCertificate([0.5], alpha=0.01)])
    handle.remove()
    assert with_it == sum(passes)
    assert list(results) == [one.name for one in both]


def test_other_methods_pay_one_pass_for_each_copy(net, image):
    method = FunctionAttribution(lambda model, images, targets: images[:, 0], name="own")
    results = certify(net, image, method)
    assert results["pixel"].num_extra_passes == results["prediction"].num_extra_passes == 300
    assert results["pixel"].num_predictions == 300


def test_alone_it_needs_no_map(net, image):
    calls = []

    def own(model, images, targets):
        calls.append(len(images))
        return images[:, 0]

    found = certify(net, image, FunctionAttribution(own), certificates=[PredictionCertificate()])["prediction"]
    assert sum(calls) < 50, "of the checks before and after"
    assert found.map_shape == (8, 8)


def test_ties_and_invalid_logits_vote_for_neither(image):
    class Often(nn.Module):
        def forward(self, images):
            first = images[:, 0, 0, 0]
            here = float(image[0, 0, 0])
            own = torch.where(first > here + 0.3, torch.nan, torch.where(first < here - 0.3, 1.0, 2.0))
            return torch.stack([first * 0 + 1, own], 1)

    method = FunctionAttribution(lambda model, images, targets: images[:, 0], name="own")
    found = certify(Often(), image, method, certificates=[PredictionCertificate()], n=500)["prediction"]
    own, other = found.votes.tolist()
    assert other == 0
    assert found.num_invalid > 50
    assert found.num_tied > 50
    assert own + found.num_invalid + found.num_tied == 500
    assert found.upper == 1
    assert found.lower == pytest.approx(beta.ppf(0.0005, own, 500 - own + 1))
    assert any("several largest logits" in flag for flag in found.flags)


def test_it_stops_the_sampling_when_it_is_decided_either_way(net, image):
    for target in (1, 2):
        certifier = Certifier(
            Gradient(), GaussianNoise(0.05), [PredictionCertificate()], 4096, stopping=[AllDecided(share=1)]
        )
        found = certifier(net, image[None], [target], ["image"])[0]["prediction"]
        assert found.num_samples < 4096
        assert found.alpha_share < 1
        assert found.certified_count() == (1, 1)


def test_maps_alone_are_not_enough():
    accumulator = PredictionCertificate().start(NOISE, (4, 4))
    with pytest.raises(InputError, match="use a Certifier"):
        accumulator.update(MapBlock(torch.rand(5, 4, 4)))


# What is said ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "verdict", "words"),
    [
        ((990, 10), "holds", "above one half for every perturbation with l2 norm at most"),
        ((10, 990), "refuted at the clean image", "explain a class that has no majority under this noise"),
        ((500, 500), "not shown", "is not shown at any positive radius"),
    ],
)
def test_each_verdict_has_its_sentence(votes, verdict, words):
    found = attrs.evolve(result(*votes, 1000), sampling={"target": 7})
    assert found.verdict == verdict
    assert words in found.statement()
    assert "class 7" in found.statement()
    assert "at least" in found.statement(0.1)
    assert "prediction for an image without noise is not covered" in found.statement()


def test_it_comes_back_from_a_file_and_altered_votes_are_found(tmp_path):
    found = result(900, 50, 1000)
    save_results(tmp_path / "file", {"prediction": found})
    again = load_results(tmp_path / "file")["prediction"]
    assert (again.lower, again.upper, again.radius) == (found.lower, found.upper, found.radius)
    assert attrs.evolve(found, votes=torch.tensor([950, 50])).rederive().lower > found.lower
    for votes in ([960, 50], [-1, 50]):
        with pytest.raises(InputError, match="impossible"):
            attrs.evolve(found, votes=torch.tensor(votes)).rederive()
    with pytest.raises(ValueError, match="votes must be"):
        attrs.evolve(found, votes=torch.tensor([1.0, 2.0]))


def test_fresh_noise_contradicts_invented_votes_and_no_honest_ones():
    honest, invented = result(700, 250, 1000), result(990, 10, 1000)
    for stored, fallen in ((honest, False), (invented, True)):
        allowed = stored.upper_bounds(result(710, 240, 1000), 1e-4)
        assert any(bool((allowed[name] < lower).any()) for name, lower in stored.claims().items()) == fallen


# Together with other certificates -------------------------------------------------------------------------------------


def test_the_joint_statement_is_at_the_sum_of_the_alphas_and_the_smallest_radius(image):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    net[1].bias.data = torch.tensor([-20.0, 20.0])
    claims = [Claim("spread", Gini(), at_most=0.9), Claim("never", Gini(), at_least=0.99)]
    certificates = [ClaimCertificate(claims, alpha=0.01), PredictionCertificate(alpha=0.02)]
    results = certify(net, image, certificates=certificates, n=100)
    said = joint_statement(results)
    assert "With probability at least 0.97, all of the following at once" in said
    assert "the smoothed network still predicts class 1" in said
    assert "is at most 0.9" in said
    assert "0.99" not in said
    smallest = min(results["prediction"].radius, results["claims"].radius(0))
    within = float(said.partition("l2 norm at most ")[2].partition(":")[0])
    assert 0.99 * smallest < within <= smallest
    assert "0.05" in joint_statement(results, radius=0.05)
    assert "0.999" in joint_statement({"one": result(90, 0, 100, 1e-3 / 2), "two": result(90, 0, 100, 1e-3 / 2)})
    edge = {"one": result(90, 0, 100), "two": result(95, 0, 100)}
    assert joint_statement(edge, radius=edge["one"].radius) is not None, "up to its radius means including it"
    assert joint_statement(edge, radius=np.nextafter(edge["one"].radius, 9)) is None
    assert "still predicts 'cat'." in joint_statement(results, explained="'cat'")
    assert joint_statement(results, radius=50.0) is None
    assert joint_statement({"prediction": results["prediction"]}) is None
    for radius in (0.0, -1.0, math.inf):
        with pytest.raises(InputError, match="positive"):
            joint_statement(results, radius)


def test_a_certificate_that_says_nothing_still_counts_in_the_joint_alpha(image):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    net[1].bias.data = torch.tensor([-20.0, 20.0])
    certificates = [
        ClaimCertificate([Claim("spread", Gini(), at_most=0.9)], alpha=0.01),
        PercentileCertificate([Claim("never", Gini(), at_least=0.99)], alpha=0.03),
        PredictionCertificate(alpha=0.02),
        PixelCertificate([0.5], alpha=0.1),
    ]
    assert "at least 0.94," in joint_statement(certify(net, image, certificates=certificates, n=200))


# Attacks --------------------------------------------------------------------------------------------------------------


def test_each_side_has_an_attack_of_its_own():
    found = attrs.evolve(result(900, 50, 1000), sampling={"target": 1})
    down, up = quantities_of(found, "prediction")
    assert down.attack != up.attack
    assert down.certified(0.2) == pytest.approx(found.interval(0.2).low)
    assert up.certified(0.2) == pytest.approx(1 - found.interval(0.2).high)
    for quantity in (down, up):
        assert quantity.certified(quantity.reach()) == pytest.approx(quantity.certified(0.0) / 2, abs=1e-9)
    assert list(quantities_of(result(900, 50, 1000), "prediction")) == [], "no class is recorded"


@pytest.mark.parametrize("other", [False, True])
def test_the_attack_breaks_a_half_space_beyond_the_radius_and_not_within(other):
    image = torch.full((1, 1, 4, 4), 0.35 if other else 0.65)
    distance = abs(margin_of(image))

    def found_at(eps):
        config = AttackConfig(eps=eps, steps=15, seed=0, clamp=None)
        images = attack_smoothed(
            HalfSpace(), Gradient(), NOISE, image, torch.tensor([1]), NoisyVotes(1, other), config, draws=16
        )
        return margin_of(images)

    assert (found_at(0.999 * distance) > 0) != other
    assert (found_at(1.1 * distance) > 0) == other


def test_exactly_one_half_is_no_majority_and_no_refutation():
    even = attrs.evolve(result(60, 40, 100), lower=0.5, upper=0.5)
    assert even.interval(0.0) == (0.5, 0.5)
    assert not even.holds(0.0)
    assert not even.is_refuted(0.0)
    assert even.verdict == "not shown"
