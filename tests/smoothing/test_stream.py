"""The stream of noisy maps."""

import torch
from torch import nn

from lit_certattr.attribution import Gradient, InputXGradient
from lit_certattr.smoothing import GaussianNoise, noisy_images, noisy_maps


def quadratic(images):
    """Logits whose gradient is the image itself, and twice the image: maps of noise can be foretold."""
    squares = images.square().flatten(1).sum(1)
    return torch.stack([squares / 2, squares], 1)


class Quadratic(nn.Module):
    def forward(self, images):
        return quadratic(images)


def test_maps_are_those_of_the_noisy_images():
    image, noise = torch.rand(3, 4, 5), GaussianNoise(0.1)
    options = {"image_id": "cat", "num_samples": 10, "batch_size": 4}
    maps = torch.cat(list(noisy_maps(Quadratic(), Gradient("sum"), noise, image, 1, **options)))
    images = torch.cat([block.clone() for block in noisy_images(image, noise, **options)])
    torch.testing.assert_close(maps, 2 * images.sum(1))
    assert not maps.requires_grad


def test_a_map_outlives_the_block_it_came_from():
    options = {"image_id": "cat", "num_samples": 12, "batch_size": 4}
    stream = noisy_maps(Quadratic(), InputXGradient(), GaussianNoise(0.1), torch.rand(1, 3, 3), 0, **options)
    kept, copies = [], []
    for maps in stream:
        kept.append(maps)
        copies.append(maps.clone())
    assert torch.equal(torch.cat(kept), torch.cat(copies))


def test_the_target_is_the_same_for_every_sample():
    seen = []

    def method(model, images, targets):
        seen.append(targets.tolist())
        return images.sum(1)

    list(
        noisy_maps(
            Quadratic(), method, GaussianNoise(0.1), torch.rand(1, 3, 3), 7, image_id="a", num_samples=5, batch_size=2
        )
    )
    assert seen == [[7, 7], [7, 7], [7]]
