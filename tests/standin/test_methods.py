"""On an accelerator each method gives the maps of the CPU, and its second call waits for nothing."""

from unittest import mock

import pytest
import torch
from standin.device import NAME

from lit_certattr.attribution import (
    CAM,
    LIME,
    LRP,
    RISE,
    AblationCAM,
    GradCAM,
    GradCAMPlusPlus,
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerCAM,
    MaxLogitGradient,
    MoreauGrad,
    Occlusion,
    ProbabilityGradient,
    RegionMap,
    ScoreCAM,
    SmoothGrad,
)
from lit_certattr.attribution import __all__ as names
from lit_certattr.models import CifarResNet
from lit_certattr.regions import Grid
from lit_certattr.smoothing import GaussianNoise

METHODS = [
    Gradient(),
    MaxLogitGradient(),
    ProbabilityGradient(),
    GuidedBackprop(),
    InputXGradient(),
    IntegratedGradients(3),
    CAM(),
    GradCAM(),
    GradCAMPlusPlus(),
    LayerCAM(),
    ScoreCAM(),
    AblationCAM(),
    Occlusion(4, 4),
    Occlusion(1, 1, 0.0, layer="final"),
    RISE(num_masks=6, cells=2),
    LIME(segments=2, num_samples=6),
    LRP(),
    MoreauGrad(steps=2, average=1, num_samples=2, sparsity=0.01, group=2),
    SmoothGrad(Gradient(), GaussianNoise(0.1), draws=2),
    RegionMap(Gradient(), Grid(4)),
]
IMAGES, TARGETS = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.full((5,), 2)


def test_every_method_is_here():
    abstract = {"Attribution", "ActivationMap", "LayerAttribution", "LayerPass"}
    decided_elsewhere = {"FunctionAttribution", "CaptumAttribution"}
    classes = {name for name in names if name[0].isupper()} - abstract - decided_elsewhere
    assert {type(method).__name__ for method in METHODS} == classes


@pytest.mark.parametrize("method", METHODS, ids=lambda method: repr(method)[:40])
@pytest.mark.parametrize("max_batch", [None, 7])
def test_methods(method, max_batch, device, no_float64):
    """The first call may look at the network, as the certifier's clean map does."""
    torch.manual_seed(0)
    net = CifarResNet(8, 5, width=4).eval().requires_grad_(False)
    smaller = max_batch is not None and hasattr(method, "max_batch")
    with mock.patch.object(method, "max_batch", max_batch) if smaller else mock.MagicMock(), torch.no_grad():
        method = method.placed(IMAGES[0], "a")  # as the certifier does before it samples
        wanted = method(net, IMAGES, TARGETS)
        net, images, targets = net.to(NAME), IMAGES.to(NAME), TARGETS.to(NAME)
        method(net, images[:1], targets[:1])
        method(net, images, targets)
        device.waits.clear()
        device.doubles.clear()
        found = method(net, images, targets)
    assert not device.waits
    assert not device.doubles
    assert torch.allclose(found.cpu(), wanted, rtol=1e-3, atol=1e-5)
