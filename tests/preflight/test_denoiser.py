"""A denoiser that removes no noise in front of a network that is certified, without a word about it."""

import logging

import pytest
import torch
from torch import nn

from lit_certattr import Certifier, certify, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.data import Digits
from lit_certattr.models import Denoised, DenoiserAdapter, Normalize, SmallCNN, UNetDenoiser
from lit_certattr.preflight import denoiser_warning
from lit_certattr.smoothing import (
    DiscreteGaussianNoise,
    ExposureNoise,
    GaussianNoise,
    GeneralisedNormalNoise,
    UniformBallNoise,
)

LAWS = [DiscreteGaussianNoise(0.25), GaussianNoise(0.25), GeneralisedNormalNoise(0.25, 4), UniformBallNoise(0.25)]


class Mean(nn.Module):
    """The mean of a pixel and its neighbours."""

    def forward(self, images):
        return nn.functional.avg_pool2d(nn.functional.pad(images, (1, 1, 1, 1), mode="reflect"), 3, 1)


class Gray(nn.Module):
    def forward(self, images):
        return images * 0 + images.mean((1, 2, 3), keepdim=True)


@pytest.fixture(scope="module")
def smooth():
    """Smooth images: a mean of neighbours hardly changes them."""
    ramp = torch.linspace(0, 1, 24)
    return [ramp.expand(3, 24, 24), (ramp[:, None] * ramp).expand(3, 24, 24)]


def random_weights():
    torch.manual_seed(0)
    denoiser = UNetDenoiser(width=4)
    nn.init.normal_(denoiser.leave.weight, std=0.1)
    return denoiser


@pytest.mark.parametrize("noise", LAWS, ids=lambda noise: type(noise).__name__)
def test_a_denoiser_that_denoises_needs_no_warning(smooth, noise):
    assert denoiser_warning(Denoised(Mean(), nn.Flatten()), smooth, noise) is None


@pytest.mark.parametrize("noise", LAWS, ids=lambda noise: type(noise).__name__)
@pytest.mark.parametrize("denoiser", [UNetDenoiser(width=4), random_weights(), nn.Identity()])
def test_one_without_weights_or_with_others_is_named_with_the_remedy(smooth, noise, denoiser):
    words = denoiser_warning(Denoised(denoiser.eval(), nn.Flatten()), smooth, noise)
    assert words.startswith(f"{type(denoiser).__name__} removes no noise of sigma = 0.25: denoised copies have")
    assert "weights='photographs'" in words
    assert "configs/train/denoiser.yaml" in words


def test_one_for_another_range_or_that_gives_the_noise_is_named(smooth):
    for wrong in (DenoiserAdapter(Mean(), gives="noise"), nn.Sequential(Mean(), Normalize([0.5] * 3, [0.5] * 3))):
        assert "removes no noise" in denoiser_warning(Denoised(wrong.eval(), nn.Flatten()), smooth, GaussianNoise(0.1))


def test_one_that_leaves_nothing_of_an_image_is_named(smooth):
    words = denoiser_warning(Denoised(Gray(), nn.Flatten()), smooth, GaussianNoise(0.5))
    assert words.startswith("Gray changes images without noise too much: denoised, they have 1")


def test_other_networks_are_not_tried(smooth):
    assert denoiser_warning(nn.Sequential(nn.Identity(), nn.Flatten()), smooth, GaussianNoise(0.25)) is None


def test_the_packaged_weights_need_no_warning_where_they_are_meant_for():
    denoiser = UNetDenoiser(weights="photographs").eval()
    ramp = torch.linspace(0.1, 0.9, 64)
    image = (ramp[:, None] * ramp).sqrt().expand(3, 64, 64)
    for sigma in (0.05, 0.25, 0.5):
        assert denoiser_warning(Denoised(denoiser, nn.Flatten()), [image], GaussianNoise(sigma)) is None


def test_a_run_warns_and_records_it(tmp_path):
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate([0.5])], num_samples=30)
    network = Denoised(UNetDenoiser(channels=1, width=4, patch=1), SmallCNN(image_size=8))
    with pytest.warns(UserWarning, match="UNetDenoiser removes no noise"):
        run = jobs.run(certifier, Digits(max_images=1), network, output=tmp_path / "run", progress=False)
    (words,) = run.provenance()["preflight"]["warnings"]
    assert words.startswith("UNetDenoiser removes no noise of sigma = 0.25")


def test_one_line_of_python_warns(caplog):
    network = Denoised(UNetDenoiser(channels=1, width=4, patch=1), SmallCNN(image_size=8))
    with caplog.at_level(logging.WARNING):
        certify(network, torch.rand(1, 8, 8), num_samples=100)
    assert "UNetDenoiser removes no noise" in caplog.text


def test_a_law_without_pixel_noise_is_called_by_its_name(smooth):
    words = denoiser_warning(Denoised(nn.Identity(), nn.Flatten()), smooth, ExposureNoise(exposure=0.5))
    assert words.startswith("Identity removes no noise of ExposureNoise: denoised copies have")
