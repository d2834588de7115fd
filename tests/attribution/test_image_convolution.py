"""Gradients through the first convolution: the same as autograd's, for every shape, and only where they are wanted."""

from unittest import mock

import networks
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lit_certattr.attribution import (
    LRP,
    Gradient,
    GuidedBackprop,
    IntegratedGradients,
    MoreauGrad,
    frozen,
    input_gradient,
)
from lit_certattr.attribution.image_convolution import ImageConvolutions, image_gradient

SIDES = st.tuples(st.integers(1, 20), st.integers(1, 7), st.integers(1, 5), st.integers(0, 8))
"""Size, kernel, stride and padding in one direction; the padding may be wider than the kernel."""


def random_convolution(sides, channels, outputs, batch=2):
    sizes, kernels, strides, paddings = zip(*sides, strict=True)
    images = torch.randn(batch, channels, *sizes, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outputs, channels, *kernels, dtype=torch.float64)
    return images, weight, strides, paddings


@given(st.tuples(SIDES, SIDES), st.integers(1, 4), st.integers(1, 3))
def test_image_gradient_is_that_of_autograd(sides, channels, outputs):
    assume(all(size + 2 * padding >= kernel for size, kernel, _, padding in sides))
    images, weight, strides, paddings = random_convolution(sides, channels, outputs)
    features = F.conv2d(images, weight, stride=strides, padding=paddings)
    gradient = torch.randn_like(features)
    (expected,) = torch.autograd.grad(features, images, gradient)
    found = image_gradient(gradient, weight, images.shape[2:], strides, paddings)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def through(images, weight, **settings):
    with ImageConvolutions():
        return F.conv2d(images, weight, **settings)


def is_ours(features):
    return "ImageConvolution" in features.grad_fn.name()


def test_inside_the_block_the_gradient_takes_the_dense_way_and_stays_the_same():
    images, weight, strides, paddings = random_convolution([(9, 5, 2, 2), (12, 3, 1, 0)], 3, 4)
    bias = torch.randn(4, dtype=torch.float64)
    usual = F.conv2d(images, weight, bias, strides, paddings)
    ours = through(images, weight, bias=bias, stride=strides, padding=paddings)
    assert is_ours(ours)
    assert not is_ours(usual)
    assert torch.equal(ours, usual)
    gradient = torch.randn_like(usual)
    expected, found = (torch.autograd.grad(features, images, gradient)[0] for features in (usual, ours))
    torch.testing.assert_close(found, expected)


def test_its_gradient_can_be_differentiated():
    images, weight, strides, paddings = random_convolution([(6, 3, 2, 1), (5, 3, 1, 1)], 2, 3)

    def penalty(features):
        (gradient,) = torch.autograd.grad(features.pow(3).sum(), images, create_graph=True)
        return torch.autograd.grad(gradient.pow(2).sum(), images)[0]

    expected = penalty(F.conv2d(images, weight, stride=strides, padding=paddings))
    torch.testing.assert_close(penalty(through(images, weight, stride=strides, padding=paddings)), expected)


@pytest.mark.parametrize(
    ("images", "weight", "settings"),
    [
        pytest.param((2, 5, 8, 8), (4, 5, 3, 3), {}, id="features"),
        pytest.param((2, 4, 8, 8), (4, 1, 3, 3), {"groups": 4}, id="groups"),
        pytest.param((2, 3, 8, 8), (4, 3, 3, 3), {"dilation": 2}, id="dilation"),
        pytest.param((2, 3, 8, 8), (4, 3, 3, 3), {"padding": "same"}, id="padding of a name"),
        pytest.param((3, 8, 8), (4, 3, 3, 3), {}, id="one image without a batch"),
    ],
)
def test_other_convolutions_stay_as_they_are(images, weight, settings):
    assert not is_ours(through(torch.rand(images, requires_grad=True), torch.rand(weight), **settings))


def test_weights_that_learn_get_their_gradient():
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    weight, bias = torch.rand(4, 3, 3, 3, requires_grad=True), torch.rand(4, requires_grad=True)
    for learns in ({"weight": weight}, {"weight": weight.detach(), "bias": bias}):
        features = through(images, **learns)
        assert not is_ours(features)
        features.sum().backward()
    assert weight.grad is not None
    assert bias.grad is not None


def test_without_a_graph_nothing_is_kept():
    weight = torch.rand(4, 3, 3, 3)
    assert through(torch.rand(2, 3, 8, 8), weight).grad_fn is None
    with torch.no_grad():
        assert through(torch.rand(2, 3, 8, 8, requires_grad=True), weight).grad_fn is None


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_maps_of_networks_are_those_of_plain_autograd(family):
    images, targets = networks.images(2).requires_grad_(), torch.tensor([0, 1])
    with frozen(networks.network(family)) as network:
        (expected,) = torch.autograd.grad(network(images).gather(1, targets[:, None]).sum(), images)
        tolerance = {"rtol": 0, "atol": 1e-4 * float(expected.abs().max())}
        torch.testing.assert_close(input_gradient(network, images, targets)[1], expected, **tolerance)
        torch.testing.assert_close(Gradient("sum")(network, images, targets), expected.sum(1), **tolerance)


@pytest.mark.parametrize(
    "method",
    [Gradient(), IntegratedGradients(2), MoreauGrad(steps=2, average=1, num_samples=2), GuidedBackprop()],
    ids=repr,
)
def test_methods_take_the_dense_way_for_frozen_networks_alone(method):
    network, images, targets = networks.network("small cnn"), networks.images(2), torch.tensor([0, 1])
    module = "lit_certattr.attribution.image_convolution.image_gradient"
    with mock.patch(module, wraps=image_gradient) as dense:
        method(network, images, targets)
        assert not dense.called
        with frozen(network):
            method(network, images, targets)
            assert dense.called
            dense.reset_mock()
            method(network, images, targets, create_graph=True)
            assert not dense.called


def test_lrp_takes_it_for_the_two_parts_of_its_box_rule():
    network, images, targets = networks.network("small cnn"), networks.images(2), torch.tensor([0, 1])
    module = "lit_certattr.attribution.image_convolution.image_gradient"
    with mock.patch(module, wraps=image_gradient) as dense:
        found = LRP()(network, images, targets)
        assert dense.call_count == 2
        torch.testing.assert_close(LRP()(network, images, targets, create_graph=True).detach(), found)
        assert dense.call_count == 2


def test_transforms_of_torch_func_differentiate_it():
    images, weight, strides, paddings = random_convolution([(6, 3, 2, 1), (5, 3, 1, 1)], 2, 3)

    def energy(images):
        return F.conv2d(images, weight, stride=strides, padding=paddings).pow(2).sum()

    expected = torch.func.grad(energy)(images.detach())
    with ImageConvolutions():
        torch.testing.assert_close(torch.func.grad(energy)(images.detach()), expected)


def test_under_autocast_the_gradient_is_as_exact_as_that_of_autograd():
    torch.manual_seed(0)
    images, weight = torch.rand(2, 3, 16, 16, requires_grad=True), torch.randn(8, 3, 5, 5)
    (exact,) = torch.autograd.grad(F.conv2d(images, weight, stride=2).sum(), images)
    with torch.autocast("cpu", torch.bfloat16):
        features = through(images, weight, stride=2)
        assert is_ours(features)
        assert features.dtype == torch.bfloat16
        (found,) = torch.autograd.grad(features.sum(), images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0, atol=0.02 * float(exact.abs().max()))


def test_compiled_networks_keep_their_own_gradient():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval().requires_grad_(False)
    images, targets = torch.rand(2, 1, 8, 8), torch.tensor([0, 2])
    compiled = torch.compile(network, backend="aot_eager")
    _, expected = input_gradient(network, images, targets)
    torch.testing.assert_close(input_gradient(compiled, images, targets)[1], expected)
