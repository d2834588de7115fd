"""The last feature map of networks of no known family: found by running them, or refused with a sensible module."""

import copy
import gc
import weakref

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from lit_certattr.attribution import CAM, GradCAM, Gradient, InputXGradient, layer_pass
from lit_certattr.attribution.last_map import last_map
from lit_certattr.errors import InputError

TARGETS = torch.tensor([0, 3])


def of_torchvision(name, **options):
    return torchvision.models.get_model(name, weights=None, num_classes=5, **options)


def of_timm(name, **options):
    return timm.create_model(name, num_classes=5, **options)


EXPECTED = {
    "torchvision mobilenet_v3_small": (lambda: of_torchvision("mobilenet_v3_small"), "features"),
    "torchvision shufflenet": (lambda: of_torchvision("shufflenet_v2_x0_5"), "conv5"),
    "torchvision alexnet": (lambda: of_torchvision("alexnet"), "features.11"),  # the last ReLU before the last pooling
    "torchvision regnet": (lambda: of_torchvision("regnet_x_400mf"), "trunk_output"),
    "timm convnext": (lambda: of_timm("convnext_atto", depths=(1, 1, 1, 1)), "stages"),
    "timm regnet": (lambda: of_timm("regnetx_002"), "s4"),
    "timm nfnet": (lambda: of_timm("nfnet_l0"), "final_act"),
    "timm mobilevit": (lambda: of_timm("mobilevit_xxs"), "final_conv"),
    "timm pvt": (lambda: of_timm("pvt_v2_b0"), "stages"),
    "timm distilled deit": (
        lambda: of_timm("deit_tiny_distilled_patch16_224", img_size=64, depth=3),
        "blocks.1",
    ),  # enters the last
    "timm xcit": (lambda: of_timm("xcit_nano_12_p16_224", img_size=64, depth=2), "cls_attn_blocks.0"),
    "timm cait": (lambda: of_timm("cait_xxs24_224", img_size=64, depth=2), "blocks"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_last_map_before_pooling_or_selection(name):
    torch.manual_seed(0)
    build, expected = EXPECTED[name]
    net, images = build().eval(), torch.rand(2, 3, 64, 64)
    for module in net.modules():
        if isinstance(module, nn.Linear) and module.out_features == 5:
            nn.init.normal_(module.weight)  # some start at zero, where nothing would be seen
    assert last_map(net, images).module is net.get_submodule(expected)
    with torch.no_grad():
        at = layer_pass(net, "final", images)
        torch.testing.assert_close(at.head(at.features.repeat(2, 1, 1, 1)), net(images).repeat(2, 1))
        assert not torch.allclose(at.head(at.features.flip(0)), at.logits)
    assert min(at.features.shape[2:]) > 1
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not net.training
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("name", ["torchvision shufflenet", "timm regnet", "timm mobilevit"])
def test_grad_cam_there_is_the_map_of_the_last_features(name):
    """Behind average pooling and one linear layer Grad-CAM is the class activation map, over the number of places."""
    torch.manual_seed(0)
    net, images = EXPECTED[name][0]().eval(), torch.rand(2, 3, 96, 96)
    linear = next(module for module in net.modules() if isinstance(module, nn.Linear) and module.out_features == 5)
    kept = []
    hook = net.get_submodule(EXPECTED[name][1]).register_forward_hook(lambda _, __, output: kept.append(output))
    with torch.no_grad():
        net(images)
    hook.remove()
    expected = torch.einsum("bc,bchw->bhw", linear.weight[TARGETS], kept[0]).detach()
    maps = GradCAM(relu=False, upsample=False)(net, images, TARGETS) * expected[0].numel()
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    torch.testing.assert_close(CAM(relu=False, upsample=False)(net, images, TARGETS), expected)
    with pytest.raises(InputError, match="gives one map for all images, since only pooling and a linear layer follow"):
        Gradient(layer="final")(net, images, TARGETS)


def test_behind_a_class_token_the_channels_cancel_and_that_is_said():
    torch.manual_seed(0)
    net = of_timm("deit_tiny_distilled_patch16_224", img_size=64, depth=3).eval()
    for head in (net.head, net.head_dist):
        nn.init.normal_(head.weight)
    assert last_map(net, torch.rand(1, 3, 64, 64)).normalised
    with pytest.raises(InputError, match="adds up to zero over the channels"):
        InputXGradient(layer="final")(net, torch.rand(2, 3, 64, 64), TARGETS)
    maps = InputXGradient(channels="sum_abs", layer="final", upsample=False)(net, torch.rand(2, 3, 64, 64), TARGETS)
    assert maps.shape == (2, 4, 4)


class Functional(nn.Module):
    """A network of a user's own, with functions between its modules."""

    def __init__(self, tail):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.act, self.tail = nn.ReLU(), tail

    def forward(self, images):
        return self.tail(self.act(self.second(F.max_pool2d(self.first(images).relu(), 2))))


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)), "act"),
        (nn.Sequential(nn.MaxPool2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(8 * 16, 5)), "act"),
        (nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 5)), "tail.1"),
        (nn.Sequential(nn.Flatten(2), nn.Flatten(), nn.Linear(8 * 64, 5)), "tail.0"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: nn.Sequential(nn.BatchNorm2d(3), net)])
def test_networks_of_ones_own(tail, expected, wrap):
    torch.manual_seed(0)
    inner = Functional(copy.deepcopy(tail))
    net, images = wrap(inner).eval(), torch.rand(2, 3, 16, 16)
    assert last_map(net, images).module is inner.get_submodule(expected)


def test_a_relu_that_runs_twice_is_no_layer():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.act, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Linear(4, 5)

        def forward(self, images):
            return self.head(self.act(self.b(self.act(self.a(images)))).mean((2, 3)))

    net = Twice()
    assert last_map(net, torch.rand(2, 3, 16, 16)).module is net.b


def test_several_paths_and_no_maps_are_refused_with_a_module_to_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5), nn.Linear(4, 5)

        def forward(self, images):
            return self.head(self.a(images).mean((2, 3)) + self.b(images).mean((2, 3)))

    with pytest.raises(InputError, match=r"of Two is not known \(the logits do not depend on 'b' alone\): .*layer='b'"):
        layer_pass(Two(), "final", torch.rand(2, 3, 16, 16))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 5))
    with pytest.raises(InputError, match="no module gives a feature map that the logits depend on"):
        layer_pass(flat, "final", torch.rand(2, 3, 16, 16))


def test_training_statistics_random_numbers_and_weights_are_left_alone():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(4 * 36, 5)).train()
    before = copy.deepcopy(net.state_dict())
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert last_map(net, torch.ones(2, 3, 8, 8)).module is net[1]
    assert net.training
    assert net[1].training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_it_is_looked_for_once_and_again_where_a_module_is_replaced(monkeypatch):
    net, images, runs = Functional(nn.Flatten()), torch.rand(2, 3, 20, 20), []
    net.tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    hook = net.register_forward_pre_hook(lambda *_: runs.append(True))
    assert last_map(net, images).module is net.act
    assert len(runs) == 2
    assert last_map(net, torch.rand(5, 3, 20, 20)).module is net.act
    assert len(runs) == 2
    net.act = nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 1))
    assert last_map(net, images).module is net.act
    assert len(runs) == 4
    hook.remove()
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
