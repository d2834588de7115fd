"""The generalised normal law: its transport from normals to full precision, moments, tails and settings."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gamma, ndtr

from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, GeneralisedNormalNoise, noisy_images, normal_stream
from lit_certattr.smoothing.generalised_normal import _table

EXPONENTS = [2, 4, 6, 12, 32]


def draw(s, count=2000, size=500, dtype=torch.float64, sigma=0.25):
    noise = GeneralisedNormalNoise(sigma, s)
    zeros = torch.zeros(size, dtype=dtype)
    return noise.perturb_(torch.empty(count, size, dtype=dtype), zeros, normal_stream(0, "cat", "cpu"), 0)


@pytest.mark.parametrize("s", EXPONENTS)
def test_the_transport_maps_tail_to_tail(s):
    """Relative error of both tail probabilities, far beyond the largest normal that any stream holds."""
    z = np.linspace(0, 8.7, 20_001)
    z = np.r_[-z[:0:-1], z]
    x, law = GeneralisedNormalNoise(1.0, s).transport(torch.from_numpy(z.copy())).numpy(), stats.gennorm(s)
    lower = z < 0
    np.testing.assert_allclose(law.cdf(x[lower]), ndtr(z[lower]), rtol=1e-10)
    np.testing.assert_allclose(law.sf(x[~lower]), ndtr(-z[~lower]), rtol=1e-10)
    assert (np.diff(x) > 0).all()
    np.testing.assert_array_equal(x, -x[::-1])


@pytest.mark.parametrize("s", EXPONENTS)
def test_the_density_is_that_of_the_law(s):
    """The density of the interpolated transport is phi(z) / T'(z): its logarithm is off by less than 1e-8."""
    node, place = np.meshgrid(np.arange(8 * 256), np.linspace(0, 1, 7))
    constant, slope, square, cube = (row[node] for row in _table(s))
    x = constant + place * (slope + place * (square + place * cube))
    derivative = 256 * (slope + place * (2 * square + 3 * place * cube))
    drawn = stats.norm.logpdf((node + place) / 256) - np.log(derivative)
    assert np.abs(drawn - stats.gennorm(s).logpdf(x)).max() < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("s", EXPONENTS)
def test_the_samples_have_the_law_and_its_moments(s, dtype):
    noise, x = GeneralisedNormalNoise(0.25, s), draw(s, dtype=dtype).double().numpy()
    assert stats.kstest(x.ravel() / noise.scale, stats.gennorm(s).cdf).pvalue > 1e-3
    for power in (1, 2, 3, 4, 6):  # E z^2i = b^2i Gamma((2i + 1) / s) / Gamma(1 / s)
        moment, second = ((noise.scale**k * gamma((k + 1) / s) / gamma(1 / s)) for k in (power, 2 * power))
        expected = 0.0 if power % 2 else moment
        assert abs((x**power).mean() - expected) < 4.5 * math.sqrt(second / x.size)
    for tail in (1e-3, 1e-4, 1e-5):
        share = (np.abs(x) > stats.gennorm(s).isf(tail / 2) * noise.scale).mean()
        assert abs(share - tail) < 5 * math.sqrt(tail / x.size)
    assert abs(np.corrcoef(x[:, :100].T) - np.eye(100)).max() * 2000**0.5 < 5.5


def test_sigma_is_the_standard_deviation_of_a_coordinate():
    for s in EXPONENTS:
        noise = GeneralisedNormalNoise(0.3, s)
        assert noise.scale * stats.gennorm(s).std() == pytest.approx(0.3, rel=1e-12)
    assert GeneralisedNormalNoise(0.3, 2).scale == pytest.approx(0.3 * 2**0.5, rel=1e-14)


def test_exponent_two_is_gaussian_noise():
    image = torch.rand(1, 6, 7, dtype=torch.float64)
    settings = {"image_id": "cat", "num_samples": 20, "batch_size": 20}
    one = next(noisy_images(image, GeneralisedNormalNoise(0.25, 2), **settings))
    other = next(noisy_images(image, GaussianNoise(0.25), **settings))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_normals_beyond_the_table_do_not_fail():
    x = GeneralisedNormalNoise(1.0, 4).transport(torch.tensor([9.5, -20.0, 0.0, -0.0]))
    assert torch.isfinite(x).all()
    assert x[0] > 2
    assert x[1] < -2
    assert x[2] == x[3] == 0


@pytest.mark.parametrize("s", [0, 1, 3, 5, 34, -2, 2.5])
def test_exponents_out_of_range_are_refused(s):
    with pytest.raises(InputError, match=r"s must be an even number in 2\.\.32"):
        GeneralisedNormalNoise(0.25, s)


def test_how_the_noise_was_drawn_is_recorded():
    text = GeneralisedNormalNoise(0.25, 6).generator(normal_stream(0, "cat", "cpu"))
    assert "philox" in text
    assert "cubic table" in text
