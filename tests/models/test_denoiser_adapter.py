"""Denoisers of other libraries."""

import pytest
import torch
from torch import nn

from lit_certattr.errors import InputError
from lit_certattr.models import Denoised, DenoiserAdapter


class Tells(nn.Module):
    """Keeps what it was called with, and returns it halved."""

    def forward(self, *given):
        self.given = given
        return given[0] / 2


def test_a_denoiser_gets_the_noise_level_in_its_own_range():
    inside = Tells()
    images = torch.rand(2, 1, 3, 3)
    output = DenoiserAdapter(inside, sigma=0.25, value_range=(-1, 1))(images)
    torch.testing.assert_close(inside.given[0], 2 * images - 1)
    assert inside.given[1] == 0.5
    torch.testing.assert_close(output, (images - 0.5) / 2 + 0.5)  # halved around the middle of the range


def test_a_blind_denoiser_gets_the_images_alone():
    inside = Tells()
    DenoiserAdapter(inside)(torch.rand(1, 1, 2, 2))
    assert len(inside.given) == 1


def test_noise_is_taken_off_the_image():
    images = torch.rand(2, 1, 3, 3)
    torch.testing.assert_close(DenoiserAdapter(Tells(), gives="noise")(images), images / 2)
    torch.testing.assert_close(DenoiserAdapter(Tells(), gives="noise", value_range=(0, 255))(images), images / 2)


def test_straight_through_changes_the_gradient_and_not_the_image():
    images = torch.rand(1, 1, 2, 2, requires_grad=True)
    output = DenoiserAdapter(Tells(), straight_through=True)(images)
    torch.testing.assert_close(output, images / 2)
    (gradient,) = torch.autograd.grad(output.sum(), images)
    assert torch.equal(gradient, torch.ones_like(images))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sigma": 0.0}, "sigma must be positive"),
        ({"gives": "residual"}, "gives must be one of image, noise"),
        ({"value_range": (1, 0)}, "value_range must be two numbers"),
        ({"value_range": (0, float("inf"))}, "value_range must be two numbers"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        DenoiserAdapter(Tells(), **settings)


def test_a_denoiser_that_returns_several_things_is_named():
    class Two(nn.Module):
        def forward(self, images):
            return images, images

    with pytest.raises(InputError, match=r"must return images of the shape that it gets.*got tuple"):
        Denoised(DenoiserAdapter(Two()), nn.Flatten())(torch.rand(1, 1, 2, 2))
