"""Certificates for noise with nuisance modes, on a model whose votes are known: the bound holds and is attained."""

import math

import attrs
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import binom, norm

from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    CosineCertificate,
    PercentileCertificate,
    PixelCertificate,
    PixelResult,
    PredictionCertificate,
    RenyiCertificate,
    SmoothGradCertificate,
    TopKOverlapCertificate,
    load_results,
    save_results,
)
from lit_certattr.certificates.presentation import present
from lit_certattr.errors import InputError
from lit_certattr.numbers import Gini
from lit_certattr.smoothing import GaussianNoise, MapBlock, NuisanceNoise, noisy_images, uniform_levels

SHAPE, ALPHA, SAMPLES = (1, 3, 4), 0.05, 400
NOISE = NuisanceNoise(sigma=0.25, brightness=0.3, illumination=0.2, illumination_order=1)
IMAGE = torch.full(SHAPE, 0.5, dtype=torch.float64)
GENERATOR = torch.Generator().manual_seed(1)
DIRECTION = torch.randn(SHAPE, dtype=torch.float64, generator=GENERATOR)
"""The first of two pixels is larger where the product with this direction is above a threshold."""


def covariance():
    modes = NOISE.modes(SHAPE)
    fields = modes.fields.flatten(1)
    return NOISE.sigma**2 * torch.eye(12, dtype=torch.float64) + fields.T @ torch.diag(modes.tau.square()) @ fields


SPREAD = math.sqrt(DIRECTION.flatten() @ covariance() @ DIRECTION.flatten())
"""Standard deviation of the product under the noise."""
VOTE = 0.9
THRESHOLD = float((DIRECTION * IMAGE).sum()) - norm.ppf(VOTE) * SPREAD
TRUE_RADIUS = NOISE.sigma * norm.ppf(VOTE)
"""Length at which the worst change takes the vote to one half."""


def maps(images):
    score = (images.double() * DIRECTION).sum((1, 2, 3)) - THRESHOLD
    return torch.stack([score, torch.zeros_like(score)], 1)[:, None]


def sampled(certificate, seed, noise=NOISE, count=SAMPLES):
    accumulator = certificate.start(noise, (1, 2), dimension=12)
    stream = noisy_images(IMAGE, noise, image_id="a", num_samples=count, batch_size=count, seed=seed)
    for block in stream:
        accumulator.update(maps(block))
    return accumulator.compute()


def worst_change(length):
    """The change of this length that lowers the product most."""
    delta = covariance() @ DIRECTION.flatten()
    return -(length / NOISE.sigma / SPREAD * delta).view(SHAPE)


def vote_at(changed):
    return norm.cdf((float((DIRECTION * changed).sum()) - THRESHOLD) / SPREAD)


def test_the_worst_change_attains_the_bound():
    for share in (0.5, 0.999, 1.01):
        changed = IMAGE + worst_change(share * TRUE_RADIUS)
        length = NOISE.budget.length(IMAGE, changed)
        assert length == pytest.approx(share * TRUE_RADIUS, rel=1e-9)
        assert vote_at(changed) == pytest.approx(float(NOISE.budget.votes.lower(VOTE, length)), rel=1e-9)
        assert (vote_at(changed) > 0.5) == (share < 1)


def test_a_radius_exceeds_the_true_one_as_seldom_as_alpha_says():
    radii = torch.stack([sampled(PixelCertificate([1], ALPHA), seed).radius[0, 0] for seed in range(400)])[:, 0]
    wrong = int((radii > TRUE_RADIUS).sum())
    assert wrong <= binom.ppf(0.9999, len(radii), ALPHA)
    assert float(radii.mean()) > 0.8 * TRUE_RADIUS  # it says something
    # Control: bounds that leave out the confidence level are wrong half of the time.
    shares = torch.tensor([float(sampled(PixelCertificate([1], ALPHA), seed).votes[0, 0, 0]) for seed in range(60)])
    naive = NOISE.sigma * norm.ppf((shares / SAMPLES).clamp(max=1 - 1e-9).numpy())
    assert (naive > TRUE_RADIUS).sum() > 10


def test_what_holds_for_a_changed_image_is_what_its_length_says():
    result = sampled(PixelCertificate([1], ALPHA), 1)
    brighter = result.holds_for(IMAGE, IMAGE + 0.1)
    assert brighter.certified == brighter.total == 2
    assert brighter.length < 0.1 * 12**0.5 / 3  # far below its l2 norm
    assert result.holds_for(IMAGE, IMAGE + worst_change(TRUE_RADIUS)).certified == 0


CERTIFICATES = {
    "pixel": PixelCertificate([1], ALPHA),
    "overlap": TopKOverlapCertificate(top_k=1, alpha=ALPHA),
    "renyi": RenyiCertificate(top_k=1, alpha=ALPHA),
    "cosine": CosineCertificate(alpha=ALPHA, num_selection=50),
    "claims": ClaimCertificate([Claim("gini", Gini())], alpha=ALPHA),
    "percentiles": PercentileCertificate([Claim("gini", Gini())], alpha=ALPHA),
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_numbers_are_those_of_gaussian_noise_and_words_speak_of_lengths(name, tmp_path):
    certificate = CERTIFICATES[name]
    results = {}
    for noise in (NOISE, GaussianNoise(0.25)):  # the same maps for both: only the law differs
        accumulator = certificate.start(noise, (1, 2), dimension=12)
        drawn = torch.rand(SAMPLES, 1, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([1, 0])
        accumulator.update(MapBlock(drawn, levels=uniform_levels(0, "a", 0, SAMPLES)))
        results[noise] = accumulator.compute()
    found, plain = results.values()
    assert (
        found.certified_count(0.1) == plain.certified_count(0.1) if name != "cosine" else found.at(0.1) == plain.at(0.1)
    )
    assert "rest^2 + (0.25 brightness / 0.3)^2" in found.statement(0.1)
    assert "l2 norm below" not in found.statement(0.1).split("Within")[0]
    assert "illumination" not in plain.statement(0.1)
    save_results(tmp_path / "file", {name: found})
    again = load_results(tmp_path / "file")[name]
    assert again.noise_settings == repr(NOISE)
    assert again.statement(0.1) == found.statement(0.1)
    assert again.holds_for(IMAGE, IMAGE + 0.01).length == NOISE.budget.length(IMAGE, IMAGE + 0.01)


def test_the_prediction_speaks_of_lengths():
    fixed = PredictionCertificate(ALPHA).fixed(NOISE, (1, 2), 12, 100, 1.0)
    assert fixed["noise_settings"] == repr(NOISE)
    assert PredictionCertificate(ALPHA).fixed(GaussianNoise(0.25), (1, 2), 12, 100, 1.0)["noise_settings"] == ""


def test_the_certificate_of_the_gradient_itself_refuses_the_law():
    with pytest.raises(InputError, match="SmoothGradCertificate is proved for GaussianNoise, not for NuisanceNoise"):
        SmoothGradCertificate(top_k=1).start(NOISE, (1, 2), dimension=12)


def test_figures_name_lengths_and_not_l2_radii():
    for noise, words in ((NOISE, "length (l2 alone: pixel units)"), (GaussianNoise(0.25), "l2 radius (pixel units)")):
        result = sampled(PixelCertificate([1], ALPHA), 0, noise)
        figure = Figure()
        for plot in present(result).plots(""):
            plot(panel := figure.add_subplot())
            assert panel.get_xlabel() == words


def test_another_norm_is_refused():
    with pytest.raises(InputError, match="set radius_norm to l2"):
        RenyiCertificate(top_k=1, alpha=ALPHA, radius_norm="linf").start(NOISE, (1, 2), dimension=12)


def test_a_result_of_a_law_that_is_not_known_says_so(tmp_path):
    result = sampled(PixelCertificate([1], ALPHA), 0)
    assert isinstance(result, PixelResult)
    text = result.noise_settings.replace("sigma=0.25", "sigma=0.25, wind=3")
    with pytest.raises(InputError, match="is no noise law"):
        attrs.evolve(result, noise_settings=text).holds_for(IMAGE, IMAGE)
