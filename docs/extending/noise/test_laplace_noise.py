import math

import pytest
import torch
from laplace_noise import LaplaceHalfCertificate, LaplaceHalfResult, LaplaceNoise
from scipy.stats import kstest, laplace

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.smoothing import noisy_images

net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()


def noise_of(sigma, num_samples=200, batch_size=50, start=0):
    blocks = noisy_images(
        torch.full((1, 8, 8), 0.5), LaplaceNoise(sigma), image_id="grey", num_samples=num_samples,
        batch_size=batch_size, seed=0, start=start,
    )  # fmt: skip
    return torch.cat([block.clone() for block in blocks]) - 0.5


def test_it_is_the_law():
    values = noise_of(0.25).flatten().double()
    assert kstest(values, laplace(scale=0.25 / math.sqrt(2)).cdf).pvalue > 1e-3
    assert values.std().item() == pytest.approx(0.25, rel=0.03)


def test_a_sample_is_the_same_in_every_batch():
    assert torch.equal(noise_of(0.25)[60:80], noise_of(0.25, num_samples=20, batch_size=7, start=60))


def test_theorems_about_gaussian_noise_do_not_take_it():
    with pytest.raises(InputError, match="proved for GaussianNoise"):
        Certifier(Gradient(), LaplaceNoise(0.25), [PixelCertificate()])


def test_the_radius_is_that_of_the_theorem():
    """One coordinate, g(x) = 1{x > 0}: under Laplace noise its probability at x is 1 - exp(-x / b) / 2."""
    b, x = 0.25 / math.sqrt(2), 0.3
    assert LaplaceHalfResult.reach(0.25, 1 - math.exp(-x / b) / 2) == pytest.approx(x)


def test_it_certifies():
    certifier = Certifier(Gradient(), LaplaceNoise(0.25), [LaplaceHalfCertificate()], num_samples=100)
    result = certifier(net, torch.rand(1, 1, 8, 8))[0]["laplace_half"]
    assert result.radius_norm == "l1"
    assert result.change_budget.length(torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.5)) > 31  # an l1 length
