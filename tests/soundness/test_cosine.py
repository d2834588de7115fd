"""The cosine certificate against the worst maps that exist, and against an attack on a network.

The worst map is constant up to a sign on each of three regions: the noise of x alone, of x + delta alone, and of
both. Its smoothed map is known in closed form at both points, and so is their cosine: the certificate may come close
to it, and must not exceed it. The published formula does.
"""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn

from benchmarks.soundness.closed_form import GradualTurn, ThreeRegions
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate
from lit_certattr.certificates.cosine_bounds import (
    cosine_bound_signed,
    published_bound,
    total_variation,
)
from lit_certattr.certificates.gaussian_cosine import gaussian_cosine_bound
from lit_certattr.smoothing import GaussianNoise, UniformBallNoise, noisy_images

SHAPE, D = (1, 5, 10), 50
IMAGE = torch.full(SHAPE, 0.5)
BALL, GAUSS = UniformBallNoise(0.25), GaussianNoise(0.25)


class Classes(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :2]


WORST = [(0.5, 0.2), (0.5, 0.24), (0.8, 0.15), (0.95, 0.1)]


def certified(attribution, num_samples, seed=0, image=IMAGE, alpha=0.05, noise=BALL):
    certificate = CosineCertificate(alpha=alpha, num_selection=64)
    certifier = Certifier(attribution, noise, [certificate], num_samples, batch_size=1000, seed=seed)
    (results,) = certifier(Classes(), image.unsqueeze(0), [0], ids=["image"])
    return results["cosine"]


@pytest.mark.parametrize(("norm", "variation"), WORST)
def test_the_closed_form_is_the_closed_form(norm, variation):
    """The sampled means at x and at x + delta are the ones that the comparison below takes for granted."""
    worst, n = ThreeRegions(BALL, norm, variation, SHAPE), 40_000
    moved = IMAGE.clone()
    moved[0, 0, 0] += worst.shift
    for point, expected in zip((IMAGE, moved), worst.smoothed(), strict=True):
        blocks = noisy_images(point, BALL, image_id="a", num_samples=n, batch_size=n)
        mean = worst(None, next(blocks), None).flatten(1).mean(0)
        np.testing.assert_allclose(mean[:2], expected, atol=4.5 / math.sqrt(n))
        assert float(mean[2:].norm()) < 4.5 / math.sqrt(n)


@pytest.mark.parametrize(("norm", "variation"), WORST)
def test_the_certificate_comes_close_to_the_worst_map_and_the_published_formula_exceeds_it(norm, variation):
    worst = ThreeRegions(BALL, norm, variation, SHAPE)
    attained = worst.cosine()
    assert attained == pytest.approx(cosine_bound_signed(norm, variation), abs=1e-9)
    result = certified(worst, 20_000)
    assert attained - 0.12 < result.at(worst.shift) <= attained
    assert result.at(0.9 * worst.shift) > result.at(worst.shift)
    # The control: the published formula, with the true norm and in its charitable reading, is broken by this map
    if norm**2 <= 1 - 2 * variation + 4 * variation**2:
        assert published_bound(norm, 2 * variation) > attained + 0.005
    # and so is our own promise, as soon as it is made for a shorter perturbation than the one that is carried out.
    assert result.at(worst.shift / 4) > attained + 0.005


def test_false_promises_are_rarer_than_alpha():
    """At the hardest point, where nothing but the sampling error separates the promise from the truth."""
    worst, repeats, false, naive = ThreeRegions(BALL, 0.5, 0.2, SHAPE), 150, 0, 0
    for seed in range(repeats):
        result = certified(worst, 300, seed)
        false += result.at(worst.shift) > worst.cosine() + 1e-12
        naive += cosine_bound_signed(float(result.mean.norm()), 0.2) > worst.cosine()
    assert false <= binom.ppf(0.999, repeats, 0.05)
    assert naive > binom.ppf(0.999, repeats, 0.05)  # the control: plugging in the norm of the sample mean


# Gaussian noise: the worst maps turn gradually, and no formula for them enters the test.

TURNS = [(0.3, 0.2), (0.9, 0.7), (1.5, 0.9)]


@pytest.mark.parametrize(("length", "psi"), TURNS)
def test_the_gaussian_certificate_comes_close_to_the_worst_map_and_a_longer_promise_is_broken(length, psi):
    worst = GradualTurn(GAUSS, length, psi, SHAPE)
    attained = worst.cosine()
    result = certified(worst, 50_000, noise=GAUSS)
    assert result.bound == "gaussian_signed"
    assert np.linalg.norm(worst.smoothed()[0]) - 0.02 < result.norm < np.linalg.norm(worst.smoothed()[0])
    assert attained - 0.05 < result.at(worst.shift) <= attained
    # The control: the same promise for a perturbation that is a few percent shorter than the one carried out.
    assert result.at(0.9 * worst.shift) > attained


@pytest.mark.parametrize(("length", "psi"), TURNS[:2])
def test_the_means_of_the_gradual_turn_are_those_of_its_samples(length, psi):
    worst, n = GradualTurn(GAUSS, length, psi, SHAPE), 40_000
    moved = IMAGE.clone()
    moved[0, 0, 0] += worst.shift
    for point, expected in zip((IMAGE, moved), worst.smoothed(), strict=True):
        blocks = noisy_images(point, GAUSS, image_id="a", num_samples=n, batch_size=n)
        mean = worst(None, next(blocks), None).flatten(1).mean(0)
        np.testing.assert_allclose(mean[:2], expected, atol=4.5 / math.sqrt(n))


def test_false_promises_under_gaussian_noise_are_rarer_than_alpha():
    worst, repeats, false, naive = GradualTurn(GAUSS, 0.9, 0.3, SHAPE), 150, 0, 0
    attained = worst.cosine()
    for seed in range(repeats):
        result = certified(worst, 300, seed, noise=GAUSS)
        false += result.at(worst.shift) > attained + 1e-12
        naive += gaussian_cosine_bound(float(result.mean.norm()), 0.9, False) > attained
    assert false <= binom.ppf(0.999, repeats, 0.05)
    assert naive > binom.ppf(0.999, repeats, 0.05)  # the control: plugging in the norm of the sample mean


class Saturating(nn.Module):
    """Two pixels, three classes: a network small enough that its worst perturbation can be searched for."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.inner = nn.Linear(2, 64)
        self.outer = nn.Linear(64, 3)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        self.inner.weight.data *= 5

    def forward(self, images):
        return self.outer(torch.tanh(self.inner(images.flatten(1))))


def smoothed_map(network, attribution, noise, image, seed=1, n=20_000):
    blocks = noisy_images(image, noise, image_id="fresh", num_samples=n, batch_size=n, seed=seed)
    maps = attribution(network, next(blocks), torch.zeros(n, dtype=torch.long)).flatten(1).double()
    return (maps / maps.norm(dim=1, keepdim=True).clamp(min=1e-300)).mean(0)


@pytest.mark.parametrize("noise", [BALL, GAUSS], ids=["ball", "gaussian"])
@pytest.mark.parametrize("channels", ["sum", "sum_abs"])
def test_an_attack_on_the_smoothed_map_of_a_network_fails_up_to_the_radius_and_succeeds_beyond(noise, channels):
    """Every direction of the plane, the same fresh noise at both points for the search, other noise for the verdict."""
    attribution, broken, tried = Gradient(channels), 0, 0
    image, circle = torch.tensor([[[0.4, 0.6]]]), torch.linspace(0, 2 * math.pi, 25)[:-1]
    for seed in range(6):
        network = Saturating(seed)
        certificate = CosineCertificate(alpha=0.01, nonnegative=channels == "sum_abs", num_selection=64)
        certifier = Certifier(attribution, noise, [certificate], num_samples=1500, batch_size=500)
        (results,) = certifier(network, image.unsqueeze(0), [0])
        result = results["cosine"]
        radius = result.max_radius(0.8)
        if radius == 0:
            continue
        tried += 1
        clean = smoothed_map(network, attribution, noise, image)
        for factor in (0.5, 0.999, 10):
            found = []
            for angle in circle:
                delta = factor * radius * torch.tensor([torch.cos(angle), torch.sin(angle)]).view(1, 1, 2)
                there = smoothed_map(network, attribution, noise, image + delta, n=4000)
                found.append((float(nn.functional.cosine_similarity(clean, there, dim=0)), delta))
            delta = min(found, key=lambda pair: pair[0])[1]
            clean_again = smoothed_map(network, attribution, noise, image, seed=2)
            there = smoothed_map(network, attribution, noise, image + delta, seed=3)
            verdict = float(nn.functional.cosine_similarity(clean_again, there, dim=0))
            if factor < 1:
                assert verdict >= result.at(factor * radius) - 0.01
            broken += factor > 1 and verdict < 0.8
    assert tried >= 3
    assert broken >= 1


def test_gaussian_and_ball_noise_of_one_sigma_certify_nearly_the_same_in_many_dimensions():
    for radius in (0.05, 0.1, 0.2):
        difference = total_variation(GAUSS, radius, 3072) - total_variation(BALL, radius, 3072)
        assert 0 < difference < 1e-4
