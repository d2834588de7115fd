"""The CAM family and guided backpropagation against other libraries and against the formulas of the papers."""

import copy
import gc

import networks
import pytest
import torch
from captum.attr import GuidedBackprop as CaptumGuidedBackprop
from captum.attr import LayerActivation, LayerGradCam
from pytorch_grad_cam import GradCAM as PeerGradCAM
from pytorch_grad_cam import GradCAMPlusPlus as PeerGradCAMPlusPlus
from pytorch_grad_cam import LayerCAM as PeerLayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional as F

from lit_certattr.attribution import (
    CAM,
    GradCAM,
    GradCAMPlusPlus,
    Gradient,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerCAM,
    layer_gradient,
    layer_pass,
)
from lit_certattr.errors import InputError
from lit_certattr.models import CifarResNet

TARGETS = torch.tensor([0, 3, 6])


@pytest.fixture
def images():
    return networks.images().double()


def exact(family):
    """The network of a family in float64."""
    return copy.deepcopy(networks.network(family)).double()


def scaled(maps):
    """Every map from 0 to 1, as pytorch-grad-cam gives them."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / maps.amax((1, 2), keepdim=True)


CNNS = {"torchvision resnet": "network.layer4", "torchvision vgg": "features.7", "small cnn": "features.3"}


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("family", "layer"), CNNS.items())
def test_grad_cam_equals_captum(images, family, layer, relu):
    net = exact(family)
    captum = LayerGradCam(net, net.get_submodule(layer)).attribute(images, TARGETS, relu_attributions=relu)
    maps = GradCAM(layer, relu, upsample=False)(net, images, TARGETS)
    torch.testing.assert_close(maps, captum[:, 0].detach())


@pytest.mark.parametrize(
    ("method", "peer"),
    [(GradCAM, PeerGradCAM), (GradCAMPlusPlus, PeerGradCAMPlusPlus), (LayerCAM, PeerLayerCAM)],
)
@pytest.mark.parametrize(("family", "layer"), CNNS.items())
def test_equals_pytorch_grad_cam(images, family, layer, method, peer):
    net = exact(family)
    last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
    last.weight.data *= 1e4  # so that its epsilon of 1e-6 beside squared gradients does not count
    with peer(net, [net.get_submodule(layer)]) as other:
        theirs = other(images, [ClassifierOutputTarget(target) for target in TARGETS.tolist()])
    ours = scaled(method(layer)(net, images, TARGETS))
    torch.testing.assert_close(ours.float(), torch.from_numpy(theirs), rtol=0, atol=1e-5)


def test_grad_cam_plus_plus_follows_the_paper():
    """Equation 19 with true derivatives of exp(logit), which exist in all orders behind an affine head."""
    torch.manual_seed(4)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7)).double()
    images = torch.rand(3, 3, 8, 8, dtype=torch.float64)
    expected = []
    for image, target in zip(images, TARGETS, strict=True):
        features = net[:2](image[None]).detach()

        def score(a, target=target):
            return net[2:](a)[0, target].exp()

        first = torch.autograd.functional.jacobian(score, features)
        second, third = torch.zeros_like(features), torch.zeros_like(features)
        for place in range(features.numel()):
            one = torch.zeros(features.numel(), dtype=torch.float64)
            one[place] = 1
            step = one.view_as(features)

            def along(t, a=features, step=step):
                return score(a + t * step)

            t = torch.zeros((), dtype=torch.float64, requires_grad=True)
            (d1,) = torch.autograd.grad(along(t), t, create_graph=True)
            (d2,) = torch.autograd.grad(d1, t, create_graph=True)
            (d3,) = torch.autograd.grad(d2, t)
            second.view(-1)[place], third.view(-1)[place] = d2.detach(), d3
        alpha = second / (2 * second + features.sum((2, 3), keepdim=True) * third)
        weights = (alpha * first.relu()).sum((2, 3), keepdim=True)
        expected.append((weights * features).sum(1).relu()[0] / score(features).detach())
    torch.testing.assert_close(GradCAMPlusPlus("1", upsample=False)(net, images, TARGETS), torch.stack(expected))


@pytest.mark.parametrize("family", ["torchvision vgg", "timm vit", "torchvision efficientnet"])
def test_the_formulas(images, family):
    """Each in a few lines, from features and gradients that torch's Jacobian of the head gives."""
    net = exact(family)
    with torch.no_grad():
        at = layer_pass(net, "final", images)
    rows = []
    for index, target in enumerate(TARGETS):
        one = layer_pass(net, "final", images[index : index + 1])
        rows.append(
            torch.autograd.functional.jacobian(lambda a, o=one, t=target: o.head(a)[0, t], one.features.detach())
        )
    a, g = at.features, torch.cat(rows)
    s = a.sum((2, 3), keepdim=True)
    plus = torch.where(g > 0, g**2 / (2 * g**2 + s * g**3), 0) * g.relu()
    expected = {
        GradCAM: (g.mean((2, 3), keepdim=True) * a).sum(1),
        GradCAMPlusPlus: (plus.sum((2, 3), keepdim=True) * a).sum(1),
        LayerCAM: (g.relu() * a).sum(1),
        InputXGradient: (g * a).abs().sum(1),
    }
    for method, maps in expected.items():
        options = {"layer": "final", "upsample": False}
        signed = {"channels": "sum_abs"} if method is InputXGradient else {"relu": False}
        torch.testing.assert_close(method(**options, **signed)(net, images, TARGETS), maps)
        if method is not InputXGradient:
            torch.testing.assert_close(method(**options)(net, images, TARGETS), maps.relu())
            large = F.interpolate(maps.relu()[:, None], (64, 64), mode="bilinear")[:, 0]
            torch.testing.assert_close(method()(net, images, TARGETS), large)


@pytest.mark.parametrize("family", ["torchvision resnet", "timm densenet", "torchvision densenet", "torchvision swin"])
def test_cam_explains_the_logit(images, family):
    """Its mean over the layer, and the bias, are the logit; and Grad-CAM is the same map by its number of cells."""
    net = exact(family)
    maps = CAM(relu=False, upsample=False)(net, images, TARGETS)
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
    logits = net(images).detach().gather(1, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(maps.mean((1, 2)) + linear.bias.detach()[TARGETS], logits)
    cells = maps[0].numel()
    torch.testing.assert_close(GradCAM(upsample=False)(net, images, TARGETS), maps.relu() / cells)


def test_cam_finds_the_structure_of_other_networks(images):
    class Mine(nn.Module):
        def __init__(self, last):
            super().__init__()
            self.body, self.side, self.out = nn.Conv2d(3, 5, 3), nn.Linear(5, 7), nn.Linear(5, 7)
            self.last = last

        def forward(self, images):
            return self.last(
                self.out(self.body(images).amax((2, 3)) if self.last is torch.sin else self.body(images).mean((2, 3)))
            )

    good = Mine(nn.Identity()).double()
    maps = CAM("body", relu=False, upsample=False)(good, images, TARGETS)
    captum = LayerActivation(good, good.body).attribute(images)
    torch.testing.assert_close(maps, torch.einsum("bc,bchw->bhw", good.out.weight[TARGETS], captum).detach())
    for last in (torch.sin, torch.tanh):
        with pytest.raises(InputError, match="Mine has other layers there"):
            CAM("body")(Mine(last).double(), images, TARGETS)


def test_the_final_layer_may_be_called_by_its_name(images):
    net = exact("torchvision resnet")
    for name in ("network.layer4", "layer4"):
        torch.testing.assert_close(CAM(name)(net, images, TARGETS), CAM()(net, images, TARGETS))
        with pytest.raises(InputError, match=f"Gradient at layer '{name}' of ResNet gives one map for all images"):
            Gradient(layer=name)(net, images, TARGETS)


# Guided backpropagation ----------------------------------------------------------------------------------------------


class Functional(nn.Module):
    """ReLU as function, in place and not, a module that runs twice, and ReLU6."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Linear(6, 7)
        self.relu, self.relu6 = nn.ReLU(inplace=True), nn.ReLU6()

    def forward(self, images):
        x = torch.relu(self.a(images))
        x = self.relu6(F.relu(self.b(x), inplace=True) + self.relu(self.a(images)[:, :, 2:, 2:]))
        return self.c(self.relu(x - 0.1).mean((2, 3)))


class GuidedRelu(torch.autograd.Function):
    """The rule itself, for ReLU with a ceiling."""

    @staticmethod
    def forward(ctx, x, ceiling):
        ctx.save_for_backward((x > 0) & (x < ceiling))
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx, gradient):
        (inside,) = ctx.saved_tensors
        return gradient.clamp(min=0) * inside, None


def guided_twin(net, images):
    relu = lambda x, ceiling=torch.inf: GuidedRelu.apply(x, ceiling)  # noqa: E731
    x = relu(net.a(images))
    x = relu(relu(net.b(x)) + relu(net.a(images)[:, :, 2:, 2:]), 6.0)
    return net.c(relu(x - 0.1).mean((2, 3)))


def test_guided_backprop_follows_its_rule(images):
    torch.manual_seed(1)
    net = Functional().double()
    images.requires_grad_(True)
    (expected,) = torch.autograd.grad(guided_twin(net, images).gather(1, TARGETS[:, None]).sum(), images)
    torch.testing.assert_close(GuidedBackprop("sum")(net, images, TARGETS), expected.sum(1))
    torch.testing.assert_close(GuidedBackprop()(net, images, TARGETS), expected.abs().sum(1))
    assert not torch.allclose(Gradient("sum")(net, images, TARGETS), expected.sum(1))


@pytest.mark.parametrize("family", ["torchvision vgg", "small cnn", "cifar resnet"])
def test_guided_backprop_equals_captum(images, family):
    net = exact(family)
    for module in net.modules():  # captum's hooks do not allow activations in place
        if isinstance(module, nn.ReLU):
            module.inplace = False
    captum = CaptumGuidedBackprop(net)
    with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
        theirs = captum.attribute(images.clone().requires_grad_(True), TARGETS)
    torch.testing.assert_close(GuidedBackprop("sum")(exact(family), images, TARGETS), theirs.detach().sum(1))


def test_guided_backprop_changes_nothing_but_its_own_map(images):
    net = exact("torchvision vgg")
    before = Gradient()(net, images, TARGETS)
    GuidedBackprop()(net, images, TARGETS)
    torch.testing.assert_close(Gradient()(net, images, TARGETS), before)


@pytest.mark.parametrize("layer", ["input", "final", "features.1", "features.4"])
def test_guided_gradients_agree_with_and_without_the_graph(images, layer):
    net = exact("torchvision vgg")
    method = GuidedBackprop("sum", layer)
    torch.testing.assert_close(method(net, images, TARGETS, create_graph=True).detach(), method(net, images, TARGETS))


# Derivatives of maps -------------------------------------------------------------------------------------------------


class Curved(nn.Module):
    """Smooth but for two ReLUs, so that maps have derivatives of their own."""

    def __init__(self):
        super().__init__()
        self.below, self.above = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 3)
        self.last, self.out = nn.Tanh(), nn.Linear(3, 7)

    def forward(self, images):
        x = torch.nn.functional.softplus(self.below(images))
        x = F.relu(self.above(x)) * torch.sigmoid(self.above(x))
        return self.out(self.last(x).mean((2, 3)))


class Explained(nn.Module):
    """The map as a function of the weights too."""

    def __init__(self, method, net):
        super().__init__()
        self.method, self.net = method, net

    def forward(self, images, targets):
        return self.method(self.net, images, targets, create_graph=True)


DIFFERENTIABLE = [
    CAM("last", relu=False),
    Gradient("sum", "below", upsample=False),
    GuidedBackprop("sum"),
    GuidedBackprop("sum", "below"),
    InputXGradient("sum", "below"),
    IntegratedGradients(3, channels="sum", layer="below", baseline=0.1),
    GradCAM("below", relu=False),
    GradCAM("input", relu=False),
    GradCAMPlusPlus("below", relu=False),
    LayerCAM("below", relu=False),
]


@pytest.mark.slow
@pytest.mark.parametrize("method", DIFFERENTIABLE, ids=repr)
def test_second_derivatives_are_right(method):
    torch.manual_seed(2)
    net = Curved().double()
    images = torch.rand(2, 2, 7, 7, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([1, 4])
    assert torch.autograd.gradcheck(lambda z: method(net, z, targets, create_graph=True), (images,), atol=1e-6)

    def of_the_weights(weight):
        return torch.func.functional_call(
            Explained(method, net), {"net.below.weight": weight}, (images.detach(), targets)
        )

    weight = net.below.weight.detach().clone().requires_grad_(True)
    assert torch.autograd.gradcheck(of_the_weights, (weight,), atol=1e-6)


@pytest.mark.parametrize("family", ["torchvision vit", "timm vit", "torchvision swin", "timm swin"])
@pytest.mark.parametrize("method", [GradCAM(), InputXGradient(), InputXGradient("sum_abs", "final")], ids=repr)
def test_attention_has_a_second_derivative(family, method):
    """Fused attention kernels have none."""
    net = copy.deepcopy(networks.network(family))
    maps = method(net, networks.images(), TARGETS, create_graph=True)
    first = next(p for p in net.parameters() if p.ndim == 4)
    (gradient,) = torch.autograd.grad(maps.square().sum(), first)
    assert torch.isfinite(gradient).all()
    assert gradient.any()


# Good manners --------------------------------------------------------------------------------------------------------


FAMILY = [
    CAM(), GradCAM(), GradCAMPlusPlus(), LayerCAM(), GuidedBackprop(), InputXGradient(layer="final"),
    IntegratedGradients(2, layer="final"), IntegratedGradients(2, layer="stages.0"), Gradient(layer="stages.1"),
]  # fmt: skip


@pytest.mark.parametrize("method", FAMILY, ids=repr)
def test_nothing_leaks(method):
    net, images = CifarResNet(8, width=4).eval(), networks.images(2)[..., :16, :16]
    targets = TARGETS[:2]

    def count():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    method(net, images, targets)
    before = count()
    for _ in range(50):
        method(net, images, targets)
        method(net, images, targets, create_graph=True)
    assert count() <= before
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())


@pytest.mark.parametrize("method", FAMILY, ids=repr)
def test_the_network_is_left_as_it_was(method):
    net, images = CifarResNet(8, width=4).eval(), networks.images()[..., :16, :16]
    net.stem[0].weight.requires_grad_(False)
    net.classifier.weight.grad = torch.ones_like(net.classifier.weight)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    expected = method(net, images, TARGETS)
    net.requires_grad_(False)
    torch.testing.assert_close(method(net, images, TARGETS), expected)
    torch.testing.assert_close(method(net, images, TARGETS, create_graph=True).detach(), expected)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(net.classifier.weight.grad, torch.ones_like(net.classifier.weight))
    assert not any(p.requires_grad for p in net.parameters())


def test_only_the_head_is_differentiated():
    """No tensor of the trunk is kept for a backward pass."""
    net, images = networks.basic_resnet(), networks.images()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.shape) or tensor, lambda t: t):
        layer_gradient(net, "final", images, TARGETS)
    assert all(shape[-2:] in ((2, 2), (3, 512), (512, 7), (1, 1)) or len(shape) < 3 for shape in saved)
