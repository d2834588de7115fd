"""LRP where branches are added up: one map for the trained and the deployed form, conserved, and equal to zennit."""

import copy

import pytest
import timm
import torch
from timm.utils.model import reparameterize_model
from torch import nn
from torch.nn import functional as F
from zennit.attribution import Gradient as ZennitGradient
from zennit.composites import SpecialFirstLayerMapComposite, layer_map_base
from zennit.rules import Epsilon, ZBox, ZPlus
from zennit.types import Convolution

from lit_certattr.attribution import LRP
from lit_certattr.errors import InputError

TARGETS = torch.tensor([0, 3])


def randomised(net):
    """Every statistic and weight of normalisations away from where it starts, in float64."""
    torch.manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return net.double().eval()


def images(size=64):
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def of_timm(name):
    torch.manual_seed(0)
    return randomised(timm.create_model(name, num_classes=5))


@pytest.mark.parametrize("composite", ["epsilon_plus_box", "epsilon_plus"])
@pytest.mark.parametrize("name", ["repvgg_a0", "mobileone_s0"])
def test_the_deployed_network_has_the_same_map(name, composite):
    net = of_timm(name)
    deployed = reparameterize_model(copy.deepcopy(net))
    torch.testing.assert_close(deployed(images()), net(images()))
    assert len(list(deployed.modules())) < len(list(net.modules()))
    expected = LRP(composite).scores(deployed, images(), TARGETS)
    found = LRP(composite).scores(net, images(), TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9 * float(expected.abs().max()))


def test_repvgg_equals_zennit_on_its_deployed_form():
    net = of_timm("repvgg_a0")
    layers = [*layer_map_base(), (Convolution, ZPlus()), (nn.Linear, Epsilon())]
    low, high = torch.zeros_like(images()), torch.ones_like(images())
    rules = SpecialFirstLayerMapComposite(layers, [(Convolution, ZBox(low, high))])
    one_hot = F.one_hot(TARGETS, 5).double()
    with ZennitGradient(model=reparameterize_model(copy.deepcopy(net)), composite=rules) as attributor:
        expected = attributor(images().clone(), lambda logits: one_hot * logits)[1]
    found = LRP().scores(net, images(), TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["repvgg_a0", "mobileone_s0"])
def test_relevance_is_conserved(name):
    net = of_timm(name)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.running_mean)
    logits = net(images()).gather(1, TARGETS[:, None])[:, 0].detach()
    total = LRP(epsilon=1e-12, channels="sum")(net, images(), TARGETS).sum((1, 2))
    torch.testing.assert_close(total, logits, rtol=1e-6, atol=1e-12)


class Parts(nn.Module):
    """A block in parts: convolutions of three sizes, a normalisation, and branches that are not there."""

    def __init__(self, stride=1, dilation=1, groups=2):
        super().__init__()
        shared = {"stride": stride, "dilation": dilation, "groups": groups}
        self.sizes = nn.ModuleList(
            nn.Conv2d(4, 4, size, padding=dilation * (size - 1) // 2, **shared) for size in (1, 3, 5)
        )
        self.norm = nn.BatchNorm2d(4) if stride == 1 else None

    def forward(self, inputs):
        out = 0 if self.norm is None else self.norm(inputs)
        out = 0 + out + 0
        for conv in self.sizes:
            out = out + conv(inputs)
        return out


class Whole(nn.Module):
    """The same block as one convolution."""

    def __init__(self, parts):
        super().__init__()
        first, dilation = parts.sizes[0], parts.sizes[0].dilation[0]
        self.conv = nn.Conv2d(4, 4, 5, first.stride, 2 * dilation, dilation, first.groups).double()
        with torch.no_grad():
            weight = sum(F.pad(conv.weight, [2 - conv.kernel_size[0] // 2] * 4) for conv in parts.sizes)
            bias = sum(conv.bias for conv in parts.sizes)
            if parts.norm is not None:
                scale = parts.norm.weight / (parts.norm.running_var + parts.norm.eps).sqrt()
                for channel in range(4):
                    weight[channel, channel % (4 // first.groups), 2, 2] += scale[channel]
                bias = bias + parts.norm.bias - parts.norm.running_mean * scale
            self.conv.weight.copy_(weight)
            self.conv.bias.copy_(bias)

    def forward(self, inputs):
        return self.conv(inputs)


@pytest.mark.parametrize(
    "settings", [{}, {"stride": 2}, {"dilation": 2}, {"groups": 1}, {"groups": 4}, {"stride": 2, "dilation": 2}]
)
@pytest.mark.parametrize("before", [nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1)])
def test_parts_are_one_convolution(settings, before):
    torch.manual_seed(2)
    parts = Parts(**settings)
    tail = [nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)]
    net = randomised(nn.Sequential(copy.deepcopy(before), nn.ReLU(), parts, *tail))
    whole = copy.deepcopy(net)
    whole[2] = Whole(net[2])
    torch.testing.assert_close(whole(images(12)), net(images(12)))
    torch.testing.assert_close(
        LRP().scores(net, images(12), TARGETS), LRP().scores(whole, images(12), TARGETS), rtol=1e-7, atol=1e-12
    )
    method = LRP(channels="sum")  # with a graph the parts are merged anew, with their gradients
    assert method(net, images(12), TARGETS, create_graph=True).requires_grad


def test_a_normalisation_beside_other_paths_takes_the_epsilon_rule():
    """What it adds is shared as in any sum; through it, its shift takes the share of a bias."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.linear = nn.BatchNorm2d(3), nn.Linear(3 * 16, 5, bias=False)

        def forward(self, inputs):
            return self.linear((inputs * 0.5 + self.norm(inputs)).flatten(1))

    net, pixels = randomised(Residual()), images(4)
    norm = net.norm
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).view(1, 3, 1, 1)
    normed = (pixels - norm.running_mean.view(1, 3, 1, 1)) * scale + norm.bias.view(1, 3, 1, 1)
    slope = net.linear.weight[TARGETS].view_as(pixels)  # relevance per unit of the sum
    expected = slope * pixels * 0.5 + slope * normed * (pixels * scale / normed)
    found = LRP(epsilon=1e-14).scores(net, pixels, TARGETS)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-6, atol=1e-12)


def test_a_normalisation_that_is_no_summand_is_still_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    with pytest.raises(InputError, match="no rule for the batch normalisations that do not directly follow"):
        LRP()(net.eval(), torch.rand(2, 3, 4, 4), TARGETS)


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.function = nn.Conv2d(3, 4, 3, padding=1, bias=False), function
        self.linear = nn.LazyLinear(5, bias=False)

    def forward(self, inputs):
        return self.linear(self.function(self.conv(inputs).relu()).flatten(1))


def unshuffled(features):
    """What ``pixel_unshuffle(2)`` does, in two steps that have rules anyway."""
    parts = features.unflatten(2, (-1, 2)).unflatten(4, (-1, 2))
    return parts.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


@pytest.mark.parametrize(
    ("function", "same"),
    [
        (lambda x: F.pixel_unshuffle(x, 2), unshuffled),
        (lambda x: torch.pixel_unshuffle(x, 2), unshuffled),
        (lambda x: x.swapaxes(2, 3), lambda x: x.transpose(2, 3)),
        (lambda x: x.moveaxis(1, 3), lambda x: x.permute(0, 2, 3, 1)),
        (lambda x: torch.hstack(x.unbind(1)), lambda x: torch.cat([x[:, i] for i in range(4)], 1)),
        (lambda x: torch.fliplr(x).rot90(2, (2, 3)), lambda x: x.flip(1).flip((2, 3))),
        (lambda x: x.ravel().view_as(x), lambda x: x),
        (lambda x: x.sum((2, 3)), lambda x: x.mean((2, 3)) * 64),
        (lambda x: x.repeat(1, 2, 1, 1), lambda x: torch.cat([x, x], 1)),
        (lambda x: sum([x, x]), lambda x: x + x),
        (lambda x: torch.add(x, 0) - 0.0, lambda x: x),
    ],
)
def test_functions_that_move_values_move_relevance(function, same):
    pixels = images(8)
    net, other = Does(function).double(), Does(same).double()
    net(pixels), other(pixels)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(net(pixels), other(pixels))
    found, expected = (LRP(epsilon=1e-14).scores(each, pixels, TARGETS) for each in (net, other))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    logits = net(pixels).gather(1, TARGETS[:, None])[:, 0].detach()
    torch.testing.assert_close(found.sum((1, 2, 3)), logits)
