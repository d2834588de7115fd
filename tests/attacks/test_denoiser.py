"""An attack that cannot see through a denoiser finds too little, and says so."""

import numpy as np
import pytest
import torch
from torch import nn

from lit_certattr.attacks import AttackConfig, TopKMass, attack_explanation
from lit_certattr.attacks.denoiser import check_denoiser_graph
from lit_certattr.attribution import Gradient
from lit_certattr.errors import InputError
from lit_certattr.models import Denoised, DenoiserAdapter, UNetDenoiser

NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Softplus(), nn.Linear(8, 3)).eval()


class Smooth(nn.Module):
    """A filter whose noise estimate may be outside the graph."""

    def __init__(self, part):
        super().__init__()
        self.part, self.filter = part, nn.AvgPool2d(3, 1, 1)

    def forward(self, images):
        if self.part == "numpy":
            return torch.from_numpy(np.asarray(self.filter(images).detach()))
        if self.part == "all":
            return self.filter(images)
        noise = images - self.filter(images)
        return images - (noise.detach() if self.part == "outside" else noise)


@pytest.mark.parametrize("denoiser", [Smooth("all"), Smooth("inside"), UNetDenoiser(1, 4, 1), nn.Identity()])
def test_gradients_that_are_right_pass(denoiser):
    check_denoiser_graph(Denoised(denoiser, NETWORK), torch.rand(2, 1, 8, 8))


def test_a_trained_denoiser_with_a_steep_output_passes():
    torch.manual_seed(0)
    denoiser = UNetDenoiser(1, 8, 1)
    nn.init.normal_(denoiser.leave.weight, std=0.1)
    check_denoiser_graph(Denoised(denoiser, NETWORK), torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize(("part", "words"), [("numpy", "has no gradient"), ("outside", "is not that of its output")])
def test_gradients_that_are_missing_or_wrong_stop_an_attack(part, words):
    network, config = Denoised(Smooth(part), NETWORK), AttackConfig(eps=0.1, steps=2)
    images, targets = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    with pytest.raises(InputError, match=f"Smooth {words}|gradient of Smooth {words}"):
        attack_explanation(network, Gradient(), images, targets, TopKMass(0.25), config)
    network = Denoised(DenoiserAdapter(Smooth(part), straight_through=True), NETWORK)
    assert attack_explanation(network, Gradient(), images, targets, TopKMass(0.25), config).shape == images.shape
