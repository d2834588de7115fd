"""The functions that run a network give the same numbers on an accelerator."""

import pytest
import torch
from torch import nn

from lit_certattr.attribution import Gradient
from lit_certattr.metrics import Deletion, GridPG, SameClassOverlap
from lit_certattr.metrics.functional import (
    deletion,
    energy_in_mask,
    gridpg,
    infidelity,
    max_sensitivity,
    parameter_randomisation,
    pointing_game,
)

IMAGES, TARGETS, MAPS = torch.rand(3, 2, 8, 8), torch.tensor([0, 2, 1]), torch.randn(3, 8, 8)
IDS = ["a", "b", "c"]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 16), nn.Softplus(), nn.Linear(16, 3))


CALLS = {
    "deletion": lambda net, x, y, m: deletion(net, x, m, y, steps=8, ids=IDS).map,
    "random": lambda net, x, y, m: deletion(net, x, m, y, steps=8, ids=IDS).random,
    "energy": lambda net, x, y, m: energy_in_mask(m, (m > 1) | (m == m.amax((1, 2), keepdim=True))).map,
    "pointing": lambda net, x, y, m: pointing_game(m, m < 0.5, tolerance=1).uniform,
    "gridpg": lambda net, x, y, m: gridpg(m, y).map,
    "randomisation": lambda net, x, y, m: parameter_randomisation(net, x, y, Gradient()).spearman,
}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_devices_agree(call):
    here = call(network(), IMAGES, TARGETS, MAPS)
    there = call(network().cuda(), IMAGES.cuda(), TARGETS.cuda(), MAPS.cuda())
    assert torch.allclose(here, there.cpu(), atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_sampled_numbers_and_metrics_on_an_accelerator():
    net, images, targets, maps = network().cuda(), IMAGES.cuda(), TARGETS.cuda(), MAPS.cuda()
    slopes = Gradient(channels="sum")(net, images, targets)
    here = infidelity(network(), IMAGES, slopes.cpu(), TARGETS, num_samples=3000, ids=IDS)
    there = infidelity(net, images, slopes, targets, num_samples=3000, ids=IDS)
    assert torch.allclose(here.zero, there.zero.cpu(), rtol=0.2)  # CUDA draws its own normals
    assert (max_sensitivity(net, images, targets, Gradient(), radius=0.1) > 0).all()
    for metric, arguments in (
        (GridPG(), (maps, [0, 1, 2])),
        (Deletion(steps=8), (deletion(net, images, maps, targets, steps=8),)),
        (SameClassOverlap(3, (8, 8)), (maps, targets)),
    ):
        metric.to("cuda").update(*arguments)
        assert all(value.device.type == "cuda" for value in metric.compute().values())
