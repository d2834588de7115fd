"""Target layers: found in every family, cut exactly there, and nothing left behind."""

import copy
import gc

import networks
import pytest
import timm
import torch
from torch import nn

from lit_certattr.attribution import LRP, GuidedBackprop, LayerAttribution, layer_gradient, layer_pass
from lit_certattr.attribution.relu import ReluCalls
from lit_certattr.errors import InputError
from lit_certattr.models import final_layer

TARGETS = torch.tensor([0, 3, 6])
SHAPES = {
    "torchvision resnet": (512, 2, 2),
    "torchvision wide resnet": (512, 2, 2),
    "torchvision vgg": (16, 16, 16),
    "torchvision densenet": (None, 2, 2),
    "torchvision efficientnet": (256, 2, 2),
    "torchvision squeezenet": (512, 3, 3),
    "torchvision vit": (32, 4, 4),
    "torchvision swin": (24, 8, 8),
    "timm resnet": (96, 2, 2),
    "timm wide resnet": (512, 2, 2),
    "timm vgg": (16, 16, 16),
    "timm densenet": (None, 2, 2),
    "timm efficientnet": (256, 2, 2),
    "timm efficientnet lite": (1280, 2, 2),
    "timm vit": (192, 4, 4),
    "timm vit with registers": (96, 4, 4),
    "timm swin": (96, 2, 2),
    "cifar resnet": (64, 16, 16),
    "small cnn": (64, 16, 16),
}


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_the_final_layer_of_every_family(family):
    """Cutting changes nothing; the head is the rest of the network, for any number of variants of each image."""
    net, images = networks.network(family), networks.images()
    with torch.no_grad():
        at = layer_pass(net, "final", images)
        assert at.features.shape[2:] == SHAPES[family][1:]
        assert at.features.shape[1] == (SHAPES[family][0] or at.features.shape[1])
        torch.testing.assert_close(at.logits, net(images))
        torch.testing.assert_close(at.head(at.features.repeat(2, 1, 1, 1)), at.logits.repeat(2, 1))
        assert not torch.allclose(at.head(at.features * 0), at.logits)
    assert at.final is not None
    if at.final.pooled is not None:
        torch.testing.assert_close(at.final.pooled(at.features.mean((2, 3))), at.logits)
    if at.final.affine:  # f(a) + f(c) = f(a + c) + f(0)
        a, c = torch.rand_like(at.features), torch.rand_like(at.features)
        torch.testing.assert_close(at.head(a) + at.head(c), at.head(a + c) + at.head(0 * a), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", networks.FAMILIES)
def test_the_gradient_at_the_final_layer(family):
    """Without the trunk's graph, with the whole graph, and from the head alone: one gradient."""
    net, images = networks.network(family), networks.images()
    at, gradient = layer_gradient(net, "final", images, TARGETS)
    full, twice = layer_gradient(net, "final", images, TARGETS, create_graph=True)
    features = at.features.detach().requires_grad_(True)
    scores = at.head(features).gather(1, TARGETS[:, None]).sum()
    (of_head,) = torch.autograd.grad(scores, features)
    size = gradient.abs().amax()
    torch.testing.assert_close(gradient / size, of_head / size, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient / size, twice.detach() / size, rtol=1e-4, atol=1e-5)
    assert at.features.is_leaf
    assert full.features.grad_fn is not None
    weights = [p for p in net.parameters() if p.requires_grad]
    above = torch.autograd.grad((full.features * twice).sum(), weights, allow_unused=True)
    assert any(bool(g.any()) for g in above if g is not None)


def test_the_class_token_stays_out_of_reach():
    net = networks.network("torchvision vit")
    seen = []
    hook = net.encoder.layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        at = layer_pass(net, "final", networks.images())
        at.head(at.features * 0)
    hook.remove()
    torch.testing.assert_close(seen[0][:, 1:].transpose(1, 2).unflatten(2, (4, 4)), at.features)
    torch.testing.assert_close(seen[1][:, :1], seen[0][:, :1])
    assert not seen[1][:, 1:].any()


def test_the_relu_of_torchvisions_densenet_is_inside_the_features():
    net = networks.network("torchvision densenet")
    with torch.no_grad():
        assert bool((layer_pass(net, "features", networks.images()).features < 0).any())
        assert not bool((layer_pass(net, "final", networks.images()).features < 0).any())


@pytest.mark.parametrize(
    ("family", "layer"),
    [
        ("torchvision resnet", "network.layer3"),
        ("torchvision resnet", "layer4.1.conv2"),
        ("torchvision vit", "encoder_layer_0"),
        ("timm vit", "blocks.0"),
        ("timm vit with registers", "blocks.0"),
        ("torchvision swin", "features.1"),
        ("timm swin", "layers.1"),
        ("timm swin", "patch_embed.proj"),
        ("small cnn", "features.1"),
        ("small cnn", "input"),
    ],
)
def test_any_module_can_be_the_layer(family, layer):
    net, images = networks.network(family), networks.images()
    with torch.no_grad():
        at = layer_pass(net, layer, images)
        assert at.features.ndim == 4
        assert at.features.shape[2] == at.features.shape[3]
        torch.testing.assert_close(at.logits, net(images))
        torch.testing.assert_close(at.head(at.features.repeat(2, 1, 1, 1)), at.logits.repeat(2, 1))
        assert not torch.allclose(at.head(at.features + torch.rand_like(at.features)), at.logits)
    at, gradient = layer_gradient(net, layer, images, TARGETS)
    _, twice = layer_gradient(net, layer, images, TARGETS, create_graph=True)
    torch.testing.assert_close(gradient, twice.detach(), rtol=1e-3, atol=1e-6)


def test_tokens_of_an_image_that_is_not_square():
    net = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=(64, 32), depth=2).eval()
    with torch.no_grad():
        at = layer_pass(net, "final", torch.rand(2, 3, 64, 32))
        assert at.features.shape[2:] == (4, 2)
        torch.testing.assert_close(at.head(at.features), at.logits)


@pytest.mark.parametrize("family", ["torchvision vit", "timm vit", "timm vit with registers"])
def test_behind_layer_normalisation_channels_cancel(family):
    net = copy.deepcopy(networks.network(family)).double()
    assert final_layer(net).normalised
    at, gradient = layer_gradient(net, "final", networks.images().double(), TARGETS)
    for scores in (gradient, at.features * gradient):
        assert (scores.sum(1).abs() < 1e-3 * scores.abs().sum(1)).all()
    averaged = timm.create_model(
        "vit_tiny_patch16_224", num_classes=7, img_size=64, depth=2, global_pool="avg"
    ).double()
    assert not final_layer(averaged.eval()).normalised
    at, gradient = layer_gradient(averaged, "final", networks.images().double(), TARGETS)
    assert ((at.features * gradient).sum(1).abs() > 1e-2 * (at.features * gradient).abs().sum(1)).any()


def test_what_a_wrapper_adds_after_the_network_is_part_of_the_head():
    class Cooled(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, images):
            return self.net(images) / 3

    net = networks.network("cifar resnet")
    with torch.no_grad():
        at = layer_pass(Cooled(net), "final", networks.images())
        torch.testing.assert_close(at.head(at.features), net(networks.images()) / 3)
    assert at.final is None  # nothing is claimed about what is not known


def test_a_compiled_network_is_run_as_it_was_written():
    net, images = networks.network("cifar resnet"), networks.images()
    compiled = torch.compile(net, backend="eager")
    _, expected = layer_gradient(net, "final", images, TARGETS)
    torch.testing.assert_close(layer_gradient(compiled, "final", images, TARGETS)[1], expected)


@pytest.mark.parametrize(
    ("model", "layer", "message"),
    [
        (networks.network("torchvision resnet"), "layer5", "no layer 'layer5'; did you mean layer4 "),
        (networks.network("torchvision resnet"), "", "no layer ''"),
        (networks.network("torchvision resnet"), "bn2", "ambiguous in TorchvisionClassifier: network.layer1.0.bn2, "),
        (networks.network("torchvision resnet"), "layer4.1.relu", "runs 2 times in a forward pass"),
        (networks.network("torchvision resnet"), "fc", r"gives \(3, 7\), not a feature map"),
        (networks.network("torchvision vit"), "encoder_layer_0.self_attention", "gives tuple, not a feature map"),
        (networks.network("torchvision vit"), "dropout", "ambiguous"),
        (nn.ModuleList([networks.network("cifar resnet"), networks.network("small cnn")]), "final", "holds 2 networks"),
        (nn.Flatten(), "final", "name one of its modules, e.g. layer='input'"),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), "input", r"must return logits \[B, num_classes\], got shape"),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), "0", r"must return logits \[B, num_classes\], got shape"),
    ],
)
def test_refusals_are_one_clear_line(model, layer, message):
    with pytest.raises(InputError, match=message) as caught:
        layer_pass(model, layer, networks.images())
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("layer", ["final", "features.1"])
def test_a_scripted_network_has_no_layers_to_reach(layer):
    net = torch.jit.trace(networks.network("small cnn"), networks.images())
    with pytest.raises(InputError, match="cannot be reached, since it is scripted: use the network from before"):
        layer_pass(net, layer, networks.images())


def test_a_layer_off_the_way_to_the_logits():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.idle, self.side, self.main = nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)

        def forward(self, images):
            self.side(images)
            return self.main(images).mean((2, 3))

    with pytest.raises(InputError, match="do not depend on layer 'side'"):
        layer_gradient(Auxiliary(), "side", networks.images(), torch.zeros(3, dtype=torch.long))
    with pytest.raises(InputError, match="runs 0 times"):
        layer_pass(Auxiliary(), "idle", networks.images())


# Nothing stays ---------------------------------------------------------------------------------------------------


def hooks_of(net):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in net.modules())


@pytest.mark.parametrize("family", ["torchvision densenet", "torchvision vit", "timm resnet"])
def test_no_hook_and_no_mode_outlives_a_pass(family):
    net, images = networks.network(family), networks.images()
    layer_gradient(net, "final", images, TARGETS)
    assert hooks_of(net) == 0
    with pytest.raises(RuntimeError, match="cannot be multiplied"):  # a failure in the middle of the forward pass
        layer_pass(nn.Sequential(net, nn.Linear(3, 3)), "final", images)
    assert hooks_of(net) == 0
    assert torch.is_grad_enabled()
    assert torch.relu(torch.tensor(-1.0)) == 0
    with torch.no_grad():
        layer_gradient(net, "final", images, TARGETS)
        assert not torch.is_grad_enabled()


def test_other_hooks_do_their_work_and_stay():
    net = networks.basic_resnet()
    hook = net.layer4.register_forward_hook(lambda _, __, output: output * 2)
    with torch.no_grad():
        at = layer_pass(net, "final", networks.images())
        torch.testing.assert_close(at.logits, net(networks.images()))
        torch.testing.assert_close(at.head(at.features), at.logits)
    assert hooks_of(net) == 1
    hook.remove()


def test_gradients_and_flags_are_left_alone():
    net = networks.basic_resnet()
    net.fc.weight.grad = torch.ones_like(net.fc.weight)
    net.conv1.weight.requires_grad_(False)
    layer_gradient(net, "final", networks.images(), TARGETS)
    layer_gradient(net, "layer2", networks.images(), TARGETS, create_graph=True)
    assert torch.equal(net.fc.weight.grad, torch.ones_like(net.fc.weight))
    assert net.conv1.weight.grad is None
    assert [n for n, p in net.named_parameters() if not p.requires_grad] == ["conv1.weight"]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("create_graph", [True, False])
def test_frozen_parameters_do_not_matter(frozen, create_graph):
    net = networks.basic_resnet()
    _, expected = layer_gradient(net, "final", networks.images(), TARGETS)
    net.requires_grad_(not frozen)
    _, gradient = layer_gradient(net, "final", networks.images(), TARGETS, create_graph)
    torch.testing.assert_close(gradient, expected)


def test_graphs_are_released():
    net, images = networks.network("timm vgg"), networks.images()

    def count():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    layer_gradient(net, "final", images, TARGETS)
    before = count()
    for _ in range(50):
        layer_gradient(net, "final", images, TARGETS)
        layer_gradient(net, "features.2", images, TARGETS, create_graph=True)
    assert count() <= before


# Maps and ReLUs --------------------------------------------------------------------------------------------------


class Means(LayerAttribution):
    def __call__(self, model, images, targets, create_graph=False):
        return self.resize(layer_pass(model, self.layer, images).features.mean(1), images)


def test_maps_are_resized_with_half_pixel_centres():
    net, images = networks.network("small cnn"), networks.images()
    small = Means("final", upsample=False, channels="sum")(net, images, TARGETS)
    large = Means("final", upsample=True, channels="sum")(net, images, TARGETS)
    assert small.shape == (3, 16, 16)
    assert large.shape == (3, 64, 64)
    # The four pixels around the middle of four cells weigh them 5/8 and 3/8 in each direction.
    a, b, c, d = small[:, 3, 5], small[:, 3, 6], small[:, 4, 5], small[:, 4, 6]
    expected = (25 * a + 15 * b + 15 * c + 9 * d) / 64
    torch.testing.assert_close(large[:, 4 * 3 + 3, 4 * 5 + 3], expected)
    assert torch.equal(Means("input", True, "sum")(net, images, TARGETS), images.mean(1))


@pytest.mark.parametrize(
    "relu",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        torch.relu,
        torch.relu_,
        nn.functional.relu,
        torch.Tensor.relu,
        torch.Tensor.relu_,
        nn.ReLU6(),
        nn.ReLU6(inplace=True),
        nn.functional.relu6,
    ],
)
def test_every_kind_of_relu_is_seen_once(relu):
    calls = []
    with ReluCalls(lambda result: calls.append(1) or result):
        assert torch.equal(relu(torch.tensor([-1.0, 2.0])), torch.tensor([0.0, 2.0]))
        nn.Hardtanh()(torch.tensor(1.0))
        nn.GELU()(torch.tensor(1.0))
    assert len(calls) == 1


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("method", [GuidedBackprop(), LRP()], ids=["GuidedBackprop", "LRP"])
@pytest.mark.parametrize("around", [None, nn.Sequential])
def test_nobody_sees_the_activations_of_a_scripted_network(method, around):
    net = torch.jit.trace(networks.network("small cnn"), networks.images())
    net = net if around is None else around(net, nn.ReLU())
    images = networks.images()
    with pytest.raises(InputError, match=r"since it is scripted: use the network from before torch\.jit"):
        method(net, images, torch.zeros(len(images), dtype=torch.long))
