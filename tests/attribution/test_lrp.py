"""LRP against zennit, its conservation law, closed forms and differences; what it keeps and what it refuses."""

import copy
import gc
import pickle
import weakref

import networks
import pytest
import torch
from torch import nn
from zennit.attribution import Gradient as ZennitGradient
from zennit.composites import SpecialFirstLayerMapComposite, layer_map_base
from zennit.rules import Epsilon, ZBox, ZPlus
from zennit.torchvision import ResNetCanonizer, VGGCanonizer
from zennit.types import Convolution

from lit_certattr.attribution import LRP, lrp
from lit_certattr.errors import InputError
from lit_certattr.models import Normalize, fold_batch_norm
from lit_certattr.models.fold import folded_copy

TARGETS = torch.tensor([0, 3, 6])
REFUSED = {
    "torchvision densenet": "the batch normalisations that do not directly follow a convolution or linear layer",
    "timm densenet": "the batch normalisations that do not directly follow a convolution or linear layer",
    "torchvision vit": "a constant that is added inside the network",
    "timm vit": "a constant that is added inside the network",
    "timm vit with registers": "a constant that is added inside the network",
    "torchvision swin": "torch.nn.functional.layer_norm",
    "timm swin": "torch.nn.functional.layer_norm",
}
WORKING = [family for family in networks.FAMILIES if family not in REFUSED]


def network(family):
    return copy.deepcopy(networks.network(family)).double()


def zennit(net, images, targets, composite, low=0.0, high=1.0, canonizer=None):
    """Zennit's relevance of the images, whose rules are set up as ours are described."""
    layers = [*layer_map_base(), (Convolution, ZPlus()), (nn.Linear, Epsilon())]
    box = [torch.as_tensor(end).double().expand_as(images) for end in (low, high)]
    first = [(Convolution, ZBox(*box))] if composite == "epsilon_plus_box" else []
    rules = SpecialFirstLayerMapComposite(layers, first, canonizers=[canonizer] if canonizer else None)
    one_hot = nn.functional.one_hot(targets, networks.CLASSES).double()
    with ZennitGradient(model=net, composite=rules) as attributor:
        return attributor(images.clone(), lambda logits: one_hot * logits)[1]


@pytest.mark.parametrize("composite", ["epsilon_plus_box", "epsilon_plus"])
@pytest.mark.parametrize(
    ("family", "canonizer"),
    [
        ("torchvision wide resnet", ResNetCanonizer()),
        ("torchvision vgg", VGGCanonizer()),
        ("torchvision squeezenet", None),
        ("small cnn", None),
    ],
)
def test_it_equals_zennit(family, canonizer, composite):
    """On the folded network: zennit leaves its merged normalisations with an epsilon of their own."""
    net, images = network(family), networks.images().double()
    raw, pixels = net, images
    low, high = torch.zeros_like(images), torch.ones_like(images)
    if family in ("torchvision squeezenet", "small cnn"):  # zennit begins behind the normalisation
        raw, pixels, low, high = net, *(net.normalize(part) for part in (images, low, high))
        raw = copy.deepcopy(net)
        raw.normalize = nn.Identity()
    raw = fold_batch_norm(raw, pixels[:1])
    expected = zennit(raw, pixels, TARGETS, composite, low, high, canonizer)
    torch.testing.assert_close(LRP(composite).scores(net, images, TARGETS), expected, rtol=1e-9, atol=1e-12)


def test_outside_the_box_it_is_zennit_with_a_box_that_holds_every_pixel():
    net = network("torchvision wide resnet")
    images = networks.images().double() + 0.5 * torch.randn(3, 3, 64, 64, dtype=torch.float64)
    low, high = images.clamp(max=0), images.clamp(min=1)
    expected = zennit(
        fold_batch_norm(net, images[:1]), images, TARGETS, "epsilon_plus_box", low, high, ResNetCanonizer()
    )
    torch.testing.assert_close(LRP().scores(net, images, TARGETS), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("composite", ["epsilon_plus_box", "epsilon_plus"])
@pytest.mark.parametrize("family", WORKING)
def test_relevance_is_conserved(family, composite):
    """Without biases nothing takes a share but epsilon: relevance adds up to the logit.

    In an EfficientNet a few values have no positive contribution to share theirs among, which z+ loses.
    """
    net = network(family)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.running_mean)
    images = networks.images().double() + 0.3 * torch.randn(3, 3, 64, 64, dtype=torch.float64)
    logits = net(images).gather(1, TARGETS[:, None])[:, 0]
    total = LRP(composite, epsilon=1e-12, channels="sum")(net, images, TARGETS).sum((1, 2))
    lost = 1e-2 if "efficientnet" in family else 1e-6
    torch.testing.assert_close(total, logits.detach(), rtol=lost, atol=1e-9)


def test_a_linear_network_is_input_times_gradient():
    """No bias, no convolution: the epsilon rule. The normalisation passes relevance on to the pixels."""
    net = nn.Sequential(Normalize([0.4], [0.2]), nn.Flatten(), nn.Linear(36, 7, bias=False)).double()
    images = torch.rand(3, 1, 6, 6, dtype=torch.float64)
    expected = net[0](images) * net[2].weight[TARGETS].view_as(images)
    torch.testing.assert_close(LRP(epsilon=1e-12).scores(net, images, TARGETS), expected.detach())


class Gated(nn.Module):
    """Squeeze and excitation, written with functions and in place."""

    def __init__(self, gated):
        super().__init__()
        self.conv, self.squeeze, self.linear = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 7, bias=False)
        self.gated = gated

    def forward(self, images):
        out = nn.functional.relu(self.conv(images), inplace=True)
        gate = torch.sigmoid(self.squeeze(out.mean((2, 3), keepdim=True)))
        out = out * gate if self.gated else out * gate.detach().clone().requires_grad_(False)
        return self.linear(nn.functional.adaptive_avg_pool2d(out, 1).flatten(1))


def test_the_signal_takes_all_of_a_gate():
    """Relevance is as if the gate were a constant factor: that of the convolution times what follows."""
    torch.manual_seed(0)
    net, images = Gated(True).double(), torch.rand(3, 1, 8, 8, dtype=torch.float64)
    features = net.conv(images).relu()
    gate = torch.sigmoid(net.squeeze(features.mean((2, 3), keepdim=True)))
    share = features * gate * net.linear.weight[TARGETS][:, :, None, None] / 36
    weight = net.conv.weight.clamp(min=0), net.conv.weight.clamp(max=0)
    conv = nn.functional.conv2d

    def back(relevance, weight):
        return nn.functional.conv_transpose2d(relevance, weight)

    sums = conv(images, weight[0]) + conv(images - 1, weight[1])
    slope = share / sums
    expected = images * back(slope, weight[0]) + (images - 1) * back(slope, weight[1])
    torch.testing.assert_close(LRP(epsilon=1e-14).scores(net, images, TARGETS), expected.detach())


# A fixed function of each image, that can be differentiated -----------------------------------------------------------


@pytest.mark.parametrize("max_batch", [1, 2, None])
@pytest.mark.parametrize("family", ["torchvision resnet", "timm efficientnet"])
def test_the_budget_does_not_matter(family, max_batch):
    net, images = network(family), networks.images().double()
    expected = LRP()(net, images, TARGETS)
    torch.testing.assert_close(LRP(max_batch=max_batch)(net, images, TARGETS), expected, rtol=1e-6, atol=1e-9)


def small():
    torch.manual_seed(4)
    net = nn.Sequential(
        Normalize([0.5, 0.4], [0.3, 0.2]),
        nn.Conv2d(2, 3, 3, stride=2),
        nn.BatchNorm2d(3),
        nn.SiLU(),
        nn.Conv2d(3, 3, 2),
        nn.Flatten(),
        nn.Linear(12, 7),
    )
    net[2].running_mean.normal_()
    net[2].running_var.uniform_(0.5, 2)
    return net.double().eval()


@pytest.mark.slow
def test_second_derivatives_are_right():
    net, images = small(), torch.rand(2, 2, 7, 7, dtype=torch.float64)
    method, targets = LRP(epsilon=0.1, channels="sum"), TARGETS[:2]
    leaf = images.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda z: method(net, z, targets, create_graph=True), (leaf,), atol=1e-6)
    for tensor in (net[1].weight, net[2].weight, net[6].bias):
        assert torch.autograd.gradcheck(lambda _: method(net, images, targets, create_graph=True), (tensor,), atol=1e-6)


def test_with_and_without_a_graph_the_map_is_the_same():
    net, images = small(), torch.rand(2, 2, 7, 7, dtype=torch.float64)
    maps = LRP()(net, images, TARGETS[:2])
    assert not maps.requires_grad
    torch.testing.assert_close(LRP()(net, images, TARGETS[:2], create_graph=True).detach(), maps)


# What it keeps --------------------------------------------------------------------------------------------------------


def test_a_network_that_learns_is_folded_again():
    net, images = small(), torch.rand(3, 2, 7, 7, dtype=torch.float64)
    before = LRP()(net, images, TARGETS)
    with torch.no_grad():
        net[1].weight.mul_(-1)
        net[2].running_var.mul_(4)
    after = LRP()(net, images, TARGETS)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, LRP()(copy.deepcopy(net), images, TARGETS))


def test_nothing_is_left_on_the_network_and_everything_goes_with_it():
    net, images = small().train(), torch.rand(3, 2, 7, 7, dtype=torch.float64)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    LRP()(net, images, TARGETS)
    assert net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    folded = folded_copy(net, images[:1]).module
    assert folded in lrp._signed
    gone = weakref.ref(net), weakref.ref(folded)
    del net, folded
    gc.collect()
    assert gone[0]() is None
    assert gone[1]() is None


def test_signs_of_the_weights_are_made_once(monkeypatch):
    net, images = small(), torch.rand(3, 2, 7, 7, dtype=torch.float64)
    LRP()(net, images, TARGETS)
    made, clamp = [], torch.Tensor.clamp

    def counting(tensor, *arguments, **bounds):
        made.append(tensor.shape)
        return clamp(tensor, *arguments, **bounds)

    monkeypatch.setattr(torch.Tensor, "clamp", counting)
    LRP()(net, images, TARGETS)
    assert net[1].weight.shape not in made
    assert net[4].weight.shape not in made


def test_settings_are_all_that_is_pickled():
    method = LRP("epsilon_plus", low=-1.0)
    assert repr(pickle.loads(pickle.dumps(method))) == repr(method)
    assert "composite='epsilon_plus'" in repr(method)


# What it refuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", REFUSED)
def test_networks_without_a_rule_are_refused(family):
    with pytest.raises(InputError, match=f"LRP has no rule for {REFUSED[family]}") as caught:
        LRP()(networks.network(family), networks.images(), TARGETS)
    assert "\n" not in str(caught.value)


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3), function

    def forward(self, images):
        return self.function(self.conv(images)).flatten(1)[:, :7]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x * x, "a product of two activations"),
        (lambda x: 1 / x, "torch.Tensor.__rtruediv__"),
        (lambda x: x.detach(), "torch.Tensor.detach"),
        (lambda x: x.data, "torch.Tensor.data"),
        (lambda x: x - x.relu(), "torch.Tensor.sub"),
        (lambda x: x + 1, "a constant that is added inside the network"),
        (lambda x: x.softmax(1), "torch.Tensor.softmax"),
        (lambda x: nn.functional.interpolate(x, scale_factor=2.0), "interpolate"),
    ],
)
def test_functions_without_a_rule_are_refused(function, message):
    with pytest.raises(InputError, match=f"LRP has no rule for .*{message}.* of Does"):
        LRP()(Does(function), networks.images(), TARGETS)


def test_what_python_does_not_call_is_refused():
    class ThroughNumPy(nn.Module):
        def forward(self, images):
            return torch.from_numpy(images.detach().numpy()).flatten(1)

    with pytest.raises(InputError, match=r"LRP has no rule for torch\.Tensor\.detach of ThroughNumPy"):
        LRP()(ThroughNumPy(), networks.images(), TARGETS)
    constant = Does(lambda x: torch.zeros(len(x), 7))
    with pytest.raises(InputError, match="LRP cannot see what Does does: it is scripted, compiled, or leaves PyTorch"):
        LRP()(constant, networks.images(), TARGETS)
    with pytest.raises(InputError, match="LRP needs a network of modules, got function"):
        LRP()(lambda images: images.flatten(1), networks.images(), TARGETS)
    with pytest.raises(InputError, match=r"must return logits \[B, num_classes\]"):
        LRP()(nn.Conv2d(3, 7, 3), networks.images(), TARGETS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"composite": "gamma"}, "composite must be one of epsilon_plus_box, epsilon_plus"),
        ({"low": 1.0}, "low must be below high"),
        ({"high": float("inf")}, "low must be below high"),
        ({"epsilon": 0.0}, "epsilon positive"),
        ({"max_batch": 0}, "max_batch must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LRP(**settings)
