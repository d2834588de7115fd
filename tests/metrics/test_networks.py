"""Metrics that run the network: one that works in place changes no number, what is no classifier is one line."""

import pytest
import torch
from torch import nn

from lit_certattr.attribution import Gradient
from lit_certattr.errors import InputError
from lit_certattr.metrics import functional


class Net(nn.Module):
    def __init__(self, forward):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        self._forward = forward

    def forward(self, images):
        return self._forward(self.net, images)


def fail(net, images):
    raise ValueError("224 x 224 pixels")


TARGETS = torch.tensor([0, 1])
MAPS = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(1))
METRICS = {
    "deletion": lambda net, images: functional.deletion(net, images, MAPS, TARGETS, steps=4).map,
    "insertion": lambda net, images: functional.insertion(net, images, MAPS, TARGETS, steps=4).map,
    "infidelity": lambda net, images: functional.infidelity(net, images, MAPS, TARGETS, num_samples=4).map,
    "sensitivity": lambda net, images: functional.max_sensitivity(
        net, images, TARGETS, Gradient(), radius=0.5, num_samples=2
    ),
    "randomisation": lambda net, images: functional.parameter_randomisation(net, images, TARGETS, Gradient()).spearman,
}


def images():
    return torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("metric", METRICS)
def test_network_that_works_in_place(metric):
    given = images()
    found = METRICS[metric](Net(lambda net, x: net(x.sub_(0.5).div_(0.25))), given)
    assert torch.equal(given, images())
    torch.testing.assert_close(found, METRICS[metric](Net(lambda net, x: net((x - 0.5) / 0.25)), images()))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda net, x: (net(x), x), "tuple of 2: wrap it"),
        (lambda net, x: net(x)[:, :1], "one logit"),
        (lambda net, x: net(x)[:, :0], "no logits"),
        (lambda net, x: net(x) * torch.nan, "NaN or infinite logits"),
        (fail, "ValueError: 224 x 224 pixels"),
    ],
)
def test_network_that_is_no_classifier(metric, forward, message):
    with pytest.raises(InputError, match=message):
        METRICS[metric](Net(forward), images())


@pytest.mark.parametrize("metric", METRICS)
def test_network_with_dropout_left_on(metric):
    dropout = Net(lambda net, x: net(torch.nn.functional.dropout(x, 0.5, training=True)))
    with pytest.raises(
        InputError, match=r"another result for the same image each time .* remove the source of randomness"
    ):
        METRICS[metric](dropout, images())


@pytest.mark.parametrize("metric", METRICS)
def test_network_that_mixes_the_images_of_a_batch(metric):
    with pytest.raises(InputError, match="depends on the other images of the batch"):
        METRICS[metric](Net(lambda net, x: net(x - x.mean(0))), images())


@pytest.mark.parametrize("metric", METRICS)
def test_network_that_ends_the_program(metric):
    with pytest.raises(InputError, match=r"its forward calls sys.exit\(\)"):
        METRICS[metric](Net(lambda net, x: raise_exit()), images())


def raise_exit():
    raise SystemExit(0)
