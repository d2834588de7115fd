"""Every method explains a denoised network at the denoised image."""

import inspect

import pytest
import torch
from torch import nn

from lit_certattr import attribution
from lit_certattr.attribution import CAM, LRP, Attribution, Gradient, IntegratedGradients, RegionMap, SmoothGrad
from lit_certattr.attribution.function import FunctionAttribution
from lit_certattr.errors import InputError
from lit_certattr.models import CifarResNet, Denoised, SmallCNN, SmoothActivations, UNetDenoiser
from lit_certattr.regions import Grid
from lit_certattr.smoothing import GaussianNoise

SMALL = {
    "RISE": {"num_masks": 6, "cells": 2},
    "LIME": {"segments": 2, "num_samples": 6},
    "IntegratedGradients": {"steps": 3},
    "CaptumAttribution": {"explainer": "Saliency"},
}
SMALL |= {"MoreauGrad": {"steps": 2, "average": 1, "num_samples": 2}, "Occlusion": {"window": 4, "stride": 4}}


def methods():
    """All methods of the package that are not made of another, with small settings."""
    for name in attribution.__all__:
        kind = getattr(attribution, name)
        concrete = inspect.isclass(kind) and issubclass(kind, Attribution) and not inspect.isabstract(kind)
        if concrete and not kind.hands_on_network and kind is not FunctionAttribution and kind is not Attribution:
            yield kind(**SMALL.get(name, {}))


@pytest.fixture
def parts():
    torch.manual_seed(0)
    denoiser = UNetDenoiser(channels=1, width=4, patch=1)
    nn.init.normal_(denoiser.leave.weight, std=0.1)
    return denoiser.eval(), SmallCNN().eval()


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: type(method).__name__)
def test_the_map_is_that_of_the_classifier_at_the_denoised_image(parts, method):
    denoiser, network = parts
    if isinstance(method, CAM):
        network = CifarResNet(8, 10, in_channels=1, width=4, mean=[0.5], std=[0.5]).eval()
    images, targets = torch.rand(2, 1, 28, 28), torch.tensor([1, 2])
    with torch.no_grad():
        denoised = denoiser(images)
    expected = method(network, denoised, targets)
    kept = images.clone()
    assert torch.equal(method(Denoised(denoiser, network), images, targets), expected)
    assert torch.equal(images, kept)
    assert not torch.equal(method(network, images, targets), expected), "the denoiser must matter in this test"


def test_a_user_s_own_method_needs_no_word_about_denoisers(parts):
    def brightness(model, images, targets):
        assert model is parts[1]
        return images.mean(1)

    images = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        expected = parts[0](images).mean(1)
    method = FunctionAttribution(brightness, name="brightness")
    assert torch.equal(method(Denoised(*parts), images, torch.tensor([0, 1])), expected)


def test_each_noisy_copy_of_smoothgrad_is_denoised(parts):
    denoiser, network = parts
    images, targets, noise = torch.rand(1, 1, 28, 28), torch.tensor([1]), GaussianNoise(0.2)

    class AtDenoised(Gradient):
        def __call__(self, model, images, targets, create_graph=False):
            return super().__call__(network, denoiser(images).detach(), targets)

    def around(base, regions):
        method = SmoothGrad(base, noise, draws=3)
        return RegionMap(method, Grid(4)) if regions else method

    for regions in (False, True):
        found = around(Gradient(), regions)(Denoised(denoiser, network), images, targets)
        expected = around(AtDenoised(), regions)(nn.Sequential(denoiser, network), images, targets)
        torch.testing.assert_close(found, expected)


def test_no_backward_pass_goes_through_the_denoiser_unless_asked(parts):
    denoiser, network = parts
    images, targets = torch.rand(2, 1, 28, 28), torch.tensor([1, 2])
    passes = []
    denoiser.register_full_backward_hook(lambda *_: passes.append(1))
    Gradient()(Denoised(denoiser, network), images, targets)
    assert not passes
    through = Gradient()(Denoised(denoiser, network, explain_at="image"), images, targets)
    assert passes
    torch.testing.assert_close(through, Gradient()(nn.Sequential(denoiser, network), images, targets))


def test_an_attack_on_the_map_differentiates_the_denoiser(parts):
    denoiser, network = (part.double() for part in parts)
    images, targets = torch.rand(2, 1, 28, 28, dtype=torch.float64, requires_grad=True), torch.tensor([1, 2])
    method, denoised = IntegratedGradients(3), Denoised(denoiser, network)
    with SmoothActivations(beta=5):  # piecewise linear parts have no derivative that differences could show
        maps = method(denoised, images, targets, create_graph=True)
        (gradient,) = torch.autograd.grad(maps.square().sum(), images)
        step = 1e-4 * gradient / gradient.norm()
        up, down = (method(denoised, images.detach() + move, targets) for move in (step, -step))
    assert float(up.square().sum() - down.square().sum()) / 2e-4 == pytest.approx(float(gradient.norm()), rel=0.01)


def test_lrp_through_a_denoiser_says_what_to_do(parts):
    with pytest.raises(InputError, match="LRP has no rule"):
        LRP()(Denoised(*parts, explain_at="image"), torch.rand(1, 1, 28, 28), torch.tensor([1]))
