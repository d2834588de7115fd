import pytest
import torch
from blurred_gradient import BlurredGradient
from torch import nn

from lit_certattr.attribution import Gradient
from lit_certattr.errors import InputError

net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
images, targets = torch.rand(3, 1, 8, 8), torch.tensor([0, 1, 2])


def test_it_is_the_mean_of_the_gradient_around_each_pixel():
    maps, gradient = BlurredGradient(width=3)(net, images, targets), Gradient()(net, images, targets)
    torch.testing.assert_close(maps[:, 4, 4], gradient[:, 3:6, 3:6].mean((1, 2)))


def test_an_image_has_the_same_map_alone_and_beside_others():
    """What every certificate assumes: one fixed function of each image."""
    method = BlurredGradient(width=3)
    together = method(net, images, targets)
    alone = [method(net, images[i : i + 1], targets[i : i + 1])[0] for i in range(3)]
    torch.testing.assert_close(together, torch.stack(alone))


def test_another_width_is_another_method():
    assert BlurredGradient(3) != BlurredGradient(5)
    assert BlurredGradient(5).settings() == {"width": 5, "channels": "sum_abs"}


def test_an_even_width_has_no_middle():
    with pytest.raises(InputError, match="odd"):
        BlurredGradient(4)
