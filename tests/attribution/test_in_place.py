"""A network that writes to what it gets is explained like its twin that does not, and the caller's images stay."""

import pytest
import torch
from torch import nn

from lit_certattr.attribution import (
    LRP,
    GradCAM,
    GuidedBackprop,
    IntegratedGradients,
    MaxLogitGradient,
    MoreauGrad,
    ProbabilityGradient,
)
from lit_certattr.objectives import HessianNorm, SaliencyGuided


class Normalised(nn.Module):
    def __init__(self, in_place):
        super().__init__()
        torch.manual_seed(0)
        self.in_place = in_place
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))

    def forward(self, images):
        return self.net(images.sub_(0.5) if self.in_place else images - 0.5)


def images():
    return torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


TARGETS = torch.tensor([0, 2])


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    "method", [IntegratedGradients, ProbabilityGradient, MaxLogitGradient, MoreauGrad, GuidedBackprop, GradCAM, LRP]
)
def test_maps_of_a_network_that_works_in_place(method, create_graph):
    given = images()
    found, expected = (method()(Normalised(kind).eval(), given, TARGETS, create_graph) for kind in (True, False))
    assert torch.equal(given, images())
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("objective", [HessianNorm, SaliencyGuided])
def test_losses_of_a_network_that_works_in_place(objective):
    losses = []
    for kind in (True, False):
        given = images()
        torch.manual_seed(0)
        losses.append(objective()(Normalised(kind), given, TARGETS)[0])
        assert torch.equal(given, images())
    torch.testing.assert_close(*losses)
