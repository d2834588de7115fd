"""The noise laws, and the noisy images that are made of them."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from lit_certattr.errors import InputError
from lit_certattr.smoothing import (
    GaussianNoise,
    GeneralisedNormalNoise,
    UniformBallNoise,
    noisy_images,
    normal_stream,
)

LAWS = [GaussianNoise(0.25), UniformBallNoise(0.25), GeneralisedNormalNoise(0.25, 6)]
IMAGE = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(1))


def images(noise, num_samples, batch_size=64, start=0, image=IMAGE, image_id="cat", seed=0, layout="channels_last"):
    blocks = noisy_images(
        image,
        noise,
        image_id=image_id,
        num_samples=num_samples,
        batch_size=batch_size,
        seed=seed,
        start=start,
        memory_format=getattr(torch, layout),
    )
    return torch.cat([block.clone() for block in blocks])


@pytest.mark.parametrize("noise", LAWS)
@pytest.mark.parametrize("layout", ["channels_last", "contiguous_format"])
@pytest.mark.parametrize(("batch_size", "start"), [(1, 0), (7, 0), (64, 0), (1, 13), (7, 13), (64, 13)])
def test_the_same_bits_for_every_batch_size_start_and_layout(noise, layout, batch_size, start):
    whole = images(noise, 150)
    part = images(noise, 150 - start, batch_size, start, layout=layout)
    assert torch.equal(part, whole[start:])


@pytest.mark.parametrize("noise", LAWS)
@pytest.mark.parametrize("layout", ["channels_last", "contiguous_format"])
def test_blocks_have_the_asked_size_and_layout(noise, layout):
    layout = getattr(torch, layout)
    blocks = noisy_images(IMAGE, noise, image_id="cat", num_samples=10, batch_size=4, memory_format=layout)
    sizes = []
    for block in blocks:
        assert block.is_contiguous(memory_format=layout)
        sizes.append(len(block))
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize("noise", LAWS)
def test_the_layout_of_the_clean_image_does_not_matter(noise):
    strided = IMAGE.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert not strided.is_contiguous()
    assert torch.equal(images(noise, 9, image=strided), images(noise, 9))


@pytest.mark.parametrize("noise", LAWS)
def test_samples_images_and_seeds_differ(noise):
    base = images(noise, 20)
    assert len({row.numpy().tobytes() for row in base}) == 20
    assert not torch.isclose(base, images(noise, 20, seed=1)).all(1).any()
    assert not torch.isclose(base, images(noise, 20, image_id="dog")).all(1).any()


@pytest.mark.parametrize("noise", LAWS)
def test_noise_is_centred_on_the_image_and_not_clipped(noise):
    noisy = images(noise, 4000)
    offset = (noisy - IMAGE).double()
    assert offset.mean(0).abs().max() < 5 * 0.25 / 4000**0.5
    assert noisy.min() < 0
    assert noisy.max() > 1


@pytest.mark.parametrize("noise", LAWS)
def test_torch_generator_is_left_alone(noise):
    before = torch.get_rng_state()
    images(noise, 20)
    assert torch.equal(torch.get_rng_state(), before)


def test_gaussian_noise_has_the_law_it_names():
    offset = (images(GaussianNoise(0.25), 2000, image=IMAGE.double()) - IMAGE).flatten(1).numpy()
    assert stats.kstest(offset.ravel() / 0.25, "norm").pvalue > 1e-3
    assert stats.kstest((offset**2).sum(1) / 0.25**2, "chi2", args=(90,)).pvalue > 1e-3


def test_ball_noise_is_uniform_in_the_ball():
    noise, dimension = UniformBallNoise(0.25), IMAGE.numel()
    radius = noise.ball_radius(dimension)
    assert radius == pytest.approx(0.25 * math.sqrt(dimension + 2))
    offset = (images(noise, 4000, image=IMAGE.double()) - IMAGE).flatten(1).numpy()
    lengths = np.linalg.norm(offset, axis=1)
    assert lengths.max() <= radius * (1 + 1e-12)
    # |eta| = r U^(1/d); the direction is uniform and independent of it; each coordinate is a scaled Beta variable.
    assert stats.kstest((lengths / radius) ** dimension, "uniform").pvalue > 1e-3
    for coordinate in (0, 17, dimension - 1):
        scaled = (offset[:, coordinate] / radius + 1) / 2
        assert stats.kstest(scaled, "beta", args=((dimension + 1) / 2,) * 2).pvalue > 1e-3
    direction = offset[:, 0] / lengths
    assert stats.kstest((direction + 1) / 2, "beta", args=((dimension - 1) / 2,) * 2).pvalue > 1e-3
    assert abs(stats.spearmanr(direction, lengths).statistic) * 4000**0.5 < 4
    spread = offset.std(0)
    assert abs(spread / 0.25 - 1).max() < 5 / 8000**0.5
    assert abs(np.corrcoef(offset.T) - np.eye(dimension)).max() * 4000**0.5 < 5.5


def test_ball_noise_in_one_dimension():
    offset = images(UniformBallNoise(1.0), 4000, image=torch.zeros(1, 1, 1, dtype=torch.float64)).flatten().numpy()
    assert stats.kstest(offset, "uniform", args=(-(3**0.5), 2 * 3**0.5)).pvalue > 1e-3


def test_the_ball_radius_is_computed_in_float64():
    """A float32 image receives the float64 noisy image, rounded once."""
    single = torch.rand(3, 32, 32)
    exact = images(UniformBallNoise(0.25), 16, image=single.double())
    assert torch.equal(images(UniformBallNoise(0.25), 16, image=single), exact.float())
    grey = torch.zeros(1, 32, 32, dtype=torch.float64)
    z = normal_stream(0, "cat", "cpu").fill_(torch.empty(16, 1026, dtype=torch.float64), 0).numpy()
    ball = 0.25 * math.sqrt(1026) * z[:, :1024] / np.linalg.norm(z, axis=1, keepdims=True)
    drawn = images(UniformBallNoise(0.25), 16, image=grey).flatten(1).numpy()
    np.testing.assert_allclose(drawn, ball, rtol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("noise", LAWS)
def test_half_precision_rounds_the_noisy_image_not_the_noise(noise, dtype):
    rough = IMAGE.to(dtype)
    assert torch.equal(images(noise, 9, image=rough), images(noise, 9, image=rough.float()).to(dtype))


@pytest.mark.parametrize("sigma", [0, -0.5, math.nan, math.inf])
@pytest.mark.parametrize("law", [GaussianNoise, UniformBallNoise])
def test_sigma_must_be_positive(law, sigma):
    with pytest.raises(InputError, match=f"sigma must be a positive number, got {sigma}"):
        law(sigma)


@pytest.mark.parametrize("noise", LAWS)
def test_training_noise_has_the_same_law(noise):
    batch = torch.zeros(3000, 1, 4, 5)
    offset = noise.sample_like(batch)
    assert offset.shape == batch.shape
    assert offset.dtype == batch.dtype
    reference = images(noise, 3000, image=torch.zeros(1, 4, 5))
    assert stats.ks_2samp(offset.flatten(1)[:, 3].numpy(), reference.flatten(1)[:, 3].numpy()).pvalue > 1e-3
    assert stats.ks_2samp(offset.flatten(1).norm(dim=1).numpy(), reference.flatten(1).norm(dim=1).numpy()).pvalue > 1e-3
    assert not torch.equal(offset, noise.sample_like(batch))


@pytest.mark.parametrize("noise", LAWS)
def test_training_noise_from_a_generator_of_its_own(noise):
    batch, state = torch.zeros(2, 1, 4, 5), torch.get_rng_state()
    first, again = (noise.sample_like(batch, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)
