import numpy as np
import pytest
import torch
from half_certificate import HalfCertificate
from scipy.stats import norm

from lit_certattr import Certifier
from lit_certattr.attribution import Attribution
from lit_certattr.smoothing import GaussianNoise, UniformBallNoise


class Brightness(Attribution):
    """The image itself as map: then the vote is known in closed form."""

    def __call__(self, model, images, targets, create_graph=False):
        return images.mean(1)


net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()


def image(difference):
    """Its upper half is brighter; under noise the difference of the halves is normal with std 8 sigma."""
    made = torch.full((1, 1, 8, 8), 0.5)
    made[:, :, :4] += difference / 64
    made[:, :, 4:] -= difference / 64
    return made


def probability(difference, sigma):
    return norm.cdf(difference / (8 * sigma))


def certify(difference, alpha=0.05, seed=0, num_samples=400):
    certifier = Certifier(
        Brightness(), GaussianNoise(0.25), [HalfCertificate(alpha)], num_samples=num_samples, seed=seed
    )
    return certifier(net, image(difference))[0]["half"]


def test_the_true_radius_is_that_of_the_difference_and_the_certified_one_is_below():
    """A linear function attains the theorem: the shift that makes the halves equal has length difference / 8."""
    result = certify(4.0)
    assert 0.6 * 4.0 / 8 < result.radius < 4.0 / 8


def test_it_errs_as_rarely_as_it_says():
    """100 runs at alpha 0.05 on a coin that is just fair: nothing may be certified but in some 5 of them."""
    certified = sum(certify(0.0, seed=seed).radius > 0 for seed in range(100))
    assert certified <= 14  # P[Bin(100, 0.05) > 14] < 1e-3


def test_an_audit_derives_the_same():
    result = certify(4.0)
    assert result.rederive().radius == result.radius
    assert np.isclose(result.votes / result.num_samples, probability(4.0, 0.25), atol=0.06)


def test_it_refuses_noise_that_its_theorem_does_not_cover():
    with pytest.raises(ValueError, match="proved for GaussianNoise"):
        Certifier(Brightness(), UniformBallNoise(0.25), [HalfCertificate()])
