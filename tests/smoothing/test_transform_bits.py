"""Noisy copies by laws that transform the image: a copy has the same bits in every batch."""

import pytest
import torch

from lit_certattr.smoothing import (
    AffineNoise,
    BlurNoise,
    ExposureNoise,
    GammaNoise,
    PatchMaskNoise,
    noisy_images,
)

LAWS = {
    "exposure": ExposureNoise(exposure=0.5, sigma=0.1),
    "white balance": ExposureNoise(white_balance=0.3),
    "shading": ExposureNoise(exposure=0.5, shading=0.3),
    "gamma": GammaNoise(0.3, sigma=0.1),
    "contrast": AffineNoise(0.2, 0.2),
    "blur": BlurNoise(0.5),
    "patches": PatchMaskNoise(0.25, cells=3),
}
SAMPLES = 37  # no multiple of the width of a vector instruction


def copies(law, image, batch_size, start=0, num_samples=SAMPLES):
    settings = {"image_id": "a", "num_samples": num_samples, "batch_size": batch_size, "start": start}
    return torch.cat([block.clone() for block in noisy_images(image, law, **settings)])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 19, 23), (1, 5, 3)], ids=str)
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_copy_has_the_same_bits_in_every_batch(law, shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    whole = copies(law, image, SAMPLES)
    for batch_size in (1, 2, 3, 7, 16):
        assert torch.equal(copies(law, image, batch_size), whole)
    assert torch.equal(copies(law, image, 5, start=6, num_samples=11), whole[6:17])


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_copies_of_one_image_are_those_of_a_batch(law):
    """``prepared`` may compute in another way than ``transform``, which has gradients."""
    image = torch.rand(3, 12, 9, generator=torch.Generator().manual_seed(0))
    numbers = torch.randn(SAMPLES, law.size(image.shape), dtype=torch.float64)
    torch.testing.assert_close(
        law.prepared(image)(numbers), law.transform(image.expand(SAMPLES, -1, -1, -1), numbers), rtol=0, atol=3e-6
    )
