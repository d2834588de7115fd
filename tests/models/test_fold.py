"""Folded batch normalisation: the same function to rounding, for every family, and no fold where it would be wrong."""

import copy
import gc
import weakref

import networks
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import weight_norm

from lit_certattr.errors import InputError
from lit_certattr.models import EfficientNetLite0, fold_batch_norm
from lit_certattr.models.fold import folded_copy

IMAGE = torch.rand(1, 3, 8, 8)
LEFT = {"torchvision densenet": 12, "timm densenet": 12}
"""Normalisations that follow a concatenation or a pooling."""


def block(norm=None):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), norm or nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    if net[1].running_mean is not None:
        net[1].running_mean.normal_()
        net[1].running_var.uniform_(0.5, 2)
    if net[1].affine:
        nn.init.normal_(net[1].weight)
        nn.init.normal_(net[1].bias)
    return net.eval()


def norms(net):
    return sum(isinstance(module, _BatchNorm) for module in net.modules())


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_every_family_is_folded_exactly(family):
    net = copy.deepcopy(networks.network(family)).double()
    images = networks.images(2).double()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    folded = fold_batch_norm(net, images[:1])
    with torch.no_grad():
        torch.testing.assert_close(folded(images), net(images), rtol=1e-9, atol=1e-11)
    assert norms(folded) == LEFT.get(family, 0)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    names = {name for name, module in net.named_modules() if not isinstance(module, _BatchNorm)}
    assert names - {name for name, _ in folded.named_modules()} <= {n for n in names if ".drop" in n or ".act" in n}


def test_gradients_are_the_same():
    net, images = networks.network("torchvision resnet"), networks.images(2)
    pair = []
    for network in (net, fold_batch_norm(net, images[:1])):
        z = images.clone().requires_grad_(True)
        pair.append(torch.autograd.grad(network(z)[:, 3].sum(), z)[0])
    torch.testing.assert_close(*pair, rtol=1e-3, atol=1e-4 * float(pair[0].abs().max()))


@pytest.mark.parametrize(
    "net",
    [
        block(nn.BatchNorm2d(4, affine=False)),
        block(nn.BatchNorm2d(4, eps=0.3)),
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.BatchNorm1d(5)),
        nn.Sequential(nn.Conv2d(3, 6, 3, groups=3, padding="same"), nn.BatchNorm2d(6)),
    ],
)
def test_every_kind_of_layer_is_folded(net):
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    net = net.double().eval()
    folded = fold_batch_norm(net, IMAGE.double())
    assert norms(folded) == 0
    torch.testing.assert_close(folded(IMAGE.double()), net(IMAGE.double()))


class Twice(nn.Module):
    """A convolution whose output goes two ways, one of them normalised."""

    def __init__(self, net):
        super().__init__()
        self.conv, self.norm = net[0], net[1]

    def forward(self, images):
        out = self.conv(images)
        return (self.norm(out) + out).flatten(1)


class Reused(nn.Module):
    """One convolution, used twice, normalised differently."""

    def __init__(self):
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 3, 1), block(nn.BatchNorm2d(3))[1], block(nn.BatchNorm2d(3))[1]
        self.two.running_mean.fill_(0.3)

    def forward(self, images):
        return self.two(self.conv(self.one(self.conv(images)))).flatten(1)


class Activated(nn.Module):
    """A function between the layer and its normalisation, which no order of modules shows."""

    def __init__(self, net):
        super().__init__()
        self.conv, self.norm = net[0], net[1]

    def forward(self, images):
        return self.norm(self.conv(images).relu()).flatten(1)


@pytest.mark.parametrize(
    "net",
    [
        Twice(block()),
        Reused().eval(),
        Activated(block()),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)).eval(),
        nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)).eval(),
        nn.BatchNorm2d(3).eval(),
    ],
    ids=lambda net: type(net).__name__,
)
def test_what_must_not_be_folded_stays(net):
    folded = fold_batch_norm(net, IMAGE)
    assert norms(folded) == norms(net)
    assert torch.equal(folded(IMAGE), net(IMAGE))


def test_a_shared_weight_is_folded_for_its_own_normalisation_only():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), block(nn.BatchNorm2d(3))[1], nn.Conv2d(3, 3, 1)).eval()
    net[2].weight = net[0].weight
    folded = fold_batch_norm(net, IMAGE)
    assert norms(folded) == 0
    torch.testing.assert_close(folded(IMAGE), net(IMAGE))


def test_batch_statistics_are_left_alone():
    net = block(nn.BatchNorm2d(4, track_running_stats=False))
    assert norms(fold_batch_norm(net, IMAGE)) == 1


class Standardised(nn.Conv2d):
    """Its forward changes the weight: a scaled weight means nothing to it."""

    def forward(self, images):
        weight = self.weight / self.weight.norm()
        return nn.functional.conv2d(images, weight, self.bias)


def test_a_layer_that_changes_its_weight_is_refused():
    net = block()
    net[0] = Standardised(3, 4, 3)
    with pytest.raises(InputError, match="batch normalisation of Sequential cannot be folded: its outputs then differ"):
        fold_batch_norm(net, IMAGE)


def test_the_copy_is_frozen_in_eval_mode_and_the_network_as_it_was():
    net = block().train()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    folded = fold_batch_norm(net, IMAGE)
    assert not folded.training
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert net.training
    assert net[1].num_batches_tracked == 0
    assert (net[0].weight.grad == 1).all()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in (*net, *folded))


# The copy that is kept ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[0].weight.mul_(2),
        lambda net: net[1].running_var.add_(1),
        lambda net: net.load_state_dict({name: value + 1 for name, value in net.state_dict().items()}),
        lambda net: setattr(net[4], "bias", nn.Parameter(torch.ones(2))),
        lambda net: net.double(),
        lambda net: net.__setitem__(2, nn.Softplus()),
    ],
)
def test_a_changed_network_is_folded_again(change):
    net = block()
    first = folded_copy(net, IMAGE)
    assert folded_copy(net, IMAGE) is first
    with torch.no_grad():
        change(net)
    image = IMAGE.to(net[0].weight.dtype)
    second = folded_copy(net, image)
    assert second is not first
    torch.testing.assert_close(second.module(image), net(image))


def test_the_copy_lives_as_long_as_the_network():
    net = block()
    kept = weakref.ref(folded_copy(net, IMAGE).module)
    assert kept() is not None
    del net
    gc.collect()
    assert kept() is None


def test_weights_made_under_inference_mode():
    with torch.inference_mode():
        net = block()
    with torch.no_grad():
        torch.testing.assert_close(folded_copy(net, IMAGE).module(IMAGE), net(IMAGE))


def test_tensors_are_functions_of_those_of_the_network():
    net, image = block().double(), IMAGE.double()
    folded = folded_copy(net, image)
    outputs = torch.func.functional_call(folded.module, folded.tensors(net), (image,))
    torch.testing.assert_close(outputs, net(image))
    names, parameters = zip(*net.named_parameters(), strict=True)
    for name, own, through in zip(
        names,
        torch.autograd.grad(net(image)[0, 0], parameters),
        torch.autograd.grad(outputs[0, 0], parameters),
        strict=True,
    ):
        torch.testing.assert_close(through, own, msg=name)


@pytest.mark.slow
def test_the_packaged_network_is_the_same_function():
    net, images = EfficientNetLite0().eval(), torch.rand(2, 3, 224, 224)
    folded = fold_batch_norm(net, images[:1])
    assert norms(net) == 49
    assert norms(folded) == 0
    with torch.no_grad():
        torch.testing.assert_close(folded(images), net(images), rtol=1e-3, atol=1e-3)
