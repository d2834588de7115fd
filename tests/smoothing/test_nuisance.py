"""Noise with nuisance modes: its law, its independence of batches, and what it refuses."""

import os

import numpy as np
import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, NuisanceNoise, noise_law, noisy_images
from lit_certattr.smoothing.normals import few_normals, image_key

IMAGE = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
NOISE = NuisanceNoise(sigma=0.2, brightness=0.3, illumination=0.1, illumination_order=1)


def drawn(noise, count, batch, image=IMAGE, start=0, **options):
    stream = noisy_images(image, noise, image_id="cat", num_samples=count, batch_size=batch, start=start, **options)
    return torch.cat([block.clone() for block in stream])


def test_the_covariance_is_that_of_the_budget():
    noise = drawn(NOISE, 40_000, 4000, IMAGE.double()) - IMAGE.double()
    flat = noise.flatten(1)
    modes = NOISE.modes(IMAGE.shape)
    fields = modes.fields.flatten(1)
    expected = 0.04 * torch.eye(60, dtype=torch.float64) + fields.T @ torch.diag(modes.tau.square()) @ fields
    error = (flat.T @ flat / len(flat) - expected).abs()
    assert float(error.max()) < 6 * 0.2 / len(flat) ** 0.5  # six standard errors of the largest entry
    assert float(flat.mean(0).abs().max()) < 6 * 0.4 / len(flat) ** 0.5


def test_the_bits_depend_on_no_batch():
    whole = drawn(NOISE, 40, 40)
    assert torch.equal(whole, drawn(NOISE, 40, 7))
    assert torch.equal(whole[13:20], drawn(NOISE, 7, 3, start=13))
    assert torch.equal(whole, drawn(NOISE, 40, 7, memory_format=torch.contiguous_format))


def test_the_independent_part_is_that_of_gaussian_noise():
    # A mode that is almost nothing leaves the stream of Gaussian noise.
    almost = drawn(NuisanceNoise(sigma=0.2, brightness=1e-6), 16, 8)
    assert torch.allclose(almost, drawn(GaussianNoise(0.2), 16, 8), atol=1e-5)


def test_amounts_are_independent_of_the_noise_of_values():
    amounts = few_normals(7, 0, 4000, 3)
    assert np.abs(np.corrcoef(amounts.T) - np.eye(3)).max() < 0.1
    assert abs(amounts.std() - 1) < 0.05
    assert np.array_equal(amounts[10:12], few_normals(7, 10, 2, 3))
    assert not np.array_equal(amounts[:2], few_normals(8, 0, 2, 3))
    noise = drawn(NOISE, 4000, 500) - IMAGE
    rest = noise - noise.mean((1, 2, 3), keepdim=True)
    own = torch.from_numpy(few_normals(image_key(0, "cat"), 0, 4000, 3)[:, 0]).float()
    correlation = torch.corrcoef(torch.stack([own, rest[:, 0, 1, 2]]))[0, 1]
    assert abs(float(correlation)) < 0.1


def test_half_precision_rounds_the_noisy_image_alone():
    half = drawn(NOISE, 16, 4, IMAGE.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), drawn(NOISE, 16, 4), atol=0.02)


def test_training_noise_has_the_same_law():
    batch = torch.zeros(20_000, 3, 4, 5)
    noise = NOISE.sample_like(batch, torch.Generator().manual_seed(0)).flatten(1).double()
    modes = NOISE.modes(IMAGE.shape)
    fields = modes.fields.flatten(1)
    expected = 0.04 * torch.eye(60, dtype=torch.float64) + fields.T @ torch.diag(modes.tau.square()) @ fields
    assert float((noise.T @ noise / len(noise) - expected).abs().max()) < 6 * 0.2 / len(noise) ** 0.5


def test_a_record_brings_the_law_back(tmp_path):
    np.save(tmp_path / "modes.npy", np.ones((2, 4, 5)))
    noise = NuisanceNoise(sigma=0.2, images=str(tmp_path / "modes.npy"), images_tau=0.1)
    assert noise_law(repr(noise)) == noise
    np.save(tmp_path / "modes.npy", np.zeros((2, 4, 5)) + 2)
    with pytest.raises(InputError, match="has changed"):
        noise_law(repr(noise)).check(IMAGE, "cat")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "at least one of brightness"),
        ({"brightness": 0.0}, "brightness must lie between"),
        ({"brightness": -0.1}, "brightness must lie between"),
        ({"colour_cast": float("nan")}, "colour_cast must"),
        ({"illumination": "much"}, "illumination must"),
        ({"illumination": 0.1, "illumination_order": 0}, "illumination_order must be"),
        ({"images": "modes.npy"}, "given together"),
        ({"images_tau": 0.1}, "given together"),
        ({"images": "nowhere.npy", "images_tau": 0.1}, "nowhere.npy cannot be read"),
        ({"images": ".", "images_tau": 0.1}, "is a directory"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, reason):
    with pytest.raises(InputError, match=reason) as error:
        NuisanceNoise(sigma=0.2, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.ones((1, 8, 8)), "have the size 8 x 8, the image has 3 x 4 x 5"),
        (np.zeros((1, 4, 5)), "mode 0 .* is zero everywhere"),
        (np.full((2, 4, 5), np.nan), "mode 0 .* NaN"),
        (np.ones((4, 5)), "must hold an array"),
        (np.array([["a"]]), "must hold an array"),
        (np.array([{}], dtype=object), "is no .npy file"),
        (np.ones((300, 4, 5)), "300 modes are more than"),
    ],
)
def test_modes_that_do_not_fit_are_refused_before_sampling(tmp_path, array, reason):
    np.save(tmp_path / "modes.npy", array, allow_pickle=True)
    noise = NuisanceNoise(sigma=0.2, images=str(tmp_path / "modes.npy"), images_tau=0.1)
    with pytest.raises(InputError, match=reason):
        noise.check(IMAGE, "cat")


def test_a_pipe_is_no_file_of_modes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="named pipe"):
        NuisanceNoise(sigma=0.2, images=str(tmp_path / "pipe"), images_tau=0.1)
