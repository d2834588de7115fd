"""What every method promises whatever it computes: one fixed function of each image, and nothing touched."""

import gc

import pytest
import torch
from torch import nn

from lit_certattr.attribution import LIME, LRP, RISE, MoreauGrad, Occlusion, frozen

METHODS = [
    Occlusion(window=3, stride=2),
    RISE(num_masks=11, cells=2),
    RISE(num_masks=11, cells=3, score="logit"),
    LIME(segments=2, num_samples=9),
    LRP(),
    LRP("epsilon_plus"),
    MoreauGrad(steps=4, average=2, num_samples=2),
    MoreauGrad(steps=4, average=2, num_samples=2, sparsity=0.01, group=2, score="softmax"),
]
TARGETS = torch.tensor([0, 2, 1, 2])

pytestmark = pytest.mark.parametrize("method", METHODS, ids=lambda method: repr(method)[:40])


@pytest.fixture
def net():
    """Small, smooth, with batch statistics that must not be used."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 5 * 6, 3)
    )
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    return net.double().eval()


@pytest.fixture
def images():
    return torch.rand(4, 2, 5, 6, dtype=torch.float64)


def test_maps_are_detached_and_nothing_is_touched(net, images, method):
    net[0].weight.grad = torch.ones_like(net[0].weight)
    images.requires_grad_(True)
    state, kept = torch.get_rng_state(), images.detach().clone()
    maps = method(net, images, TARGETS)
    assert maps.shape == (4, 5, 6)
    assert not maps.requires_grad
    assert method(net, images, TARGETS, create_graph=True).requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, kept)
    assert torch.equal(net[0].weight.grad, torch.ones_like(net[0].weight))
    assert net[0].bias.grad is None
    assert images.grad is None
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("create_graph", [False, True])
def test_maps_are_the_same_in_every_gradient_mode(net, images, method, mode, create_graph):
    expected = method(net, images, TARGETS)
    with mode():
        made_inside = images * 1
        predicted = TARGETS + 0  # an inference tensor, as argmax of logits in a validation loop is
        with frozen(net):
            maps = method(net, made_inside, predicted, create_graph)
    torch.testing.assert_close(maps, expected)


def test_images_of_a_batch_do_not_influence_each_other(net, images, method):
    maps = method(net, images, TARGETS)
    others = torch.rand_like(images)
    others[2] = images[2]
    torch.testing.assert_close(method(net, others, TARGETS)[2], maps[2])
    torch.testing.assert_close(method(net, images[2:3], TARGETS[2:3])[0], maps[2])
    shuffle = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(method(net, images[shuffle], TARGETS[shuffle]), maps[shuffle])


def test_calling_again_gives_the_same_bits(net, images, method):
    first = method(net, images, TARGETS)
    method(net, images[:2].flip(0), TARGETS[1:3])
    torch.manual_seed(123)
    assert torch.equal(method(net, images, TARGETS), first)


def test_derivatives_in_the_images_are_right(net, images, method):
    images = images[:1].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda z: method(net, z, TARGETS[:1], create_graph=True), (images,), atol=1e-5, rtol=1e-3
    )


def test_derivatives_in_the_weights_are_right(net, images, method):
    weight = net[0].weight
    assert torch.autograd.gradcheck(
        lambda _: method(net, images[:1], TARGETS[:1], create_graph=True), (weight,), atol=1e-5, rtol=1e-3
    )


def test_nothing_leaks(net, images, method):
    def count():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    method(net, images, TARGETS)
    before = count()
    for _ in range(5):
        method(net, images, TARGETS)
        method(net, images, TARGETS, create_graph=True)
    assert count() <= before
