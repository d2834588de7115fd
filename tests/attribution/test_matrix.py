"""Every method on every network family: it works, or it says in one line why not.

A method is one line in ``METHODS``, and where it refuses a family one line in ``REFUSALS``.
"""

import copy
from pathlib import Path

import networks
import pytest
import torch

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
    MoreauGrad,
    Occlusion,
    ProbabilityGradient,
    ScoreCAM,
    SmoothGrad,
)
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise

METHODS = {
    "Gradient": Gradient(),
    "Gradient at final": Gradient(layer="final"),
    "GuidedBackprop": GuidedBackprop(),
    "GuidedBackprop at final": GuidedBackprop(layer="final"),
    "InputXGradient": InputXGradient(),
    "InputXGradient at final": InputXGradient(layer="final"),
    "InputXGradient at final, sum_abs": InputXGradient("sum_abs", layer="final"),
    "IntegratedGradients": IntegratedGradients(steps=2),
    "IntegratedGradients at final": IntegratedGradients(steps=3, layer="final"),
    "CAM": CAM(relu=False),
    "GradCAM": GradCAM(relu=False),
    "GradCAM at input": GradCAM(layer="input", relu=False),
    "GradCAMPlusPlus": GradCAMPlusPlus(relu=False),
    "LayerCAM": LayerCAM(relu=False),
    "ScoreCAM": ScoreCAM(relu=False),
    "AblationCAM": AblationCAM(relu=False),
    "Occlusion": Occlusion(window=32, stride=32),
    "Occlusion at final": Occlusion(window=1, stride=1, fill=0.0, layer="final"),
    "RISE": RISE(num_masks=8, cells=3),
    "LIME": LIME(segments=2, num_samples=12, score="logit"),
    "LRP": LRP(),
    "MoreauGrad": MoreauGrad(steps=2, average=1, num_samples=2, step_size=1e-4),
    "ProbabilityGradient": ProbabilityGradient(temperature=3.0),
    "SmoothGrad": SmoothGrad(Gradient(), GaussianNoise(0.1), draws=2),
}

AFFINE = (
    "torchvision resnet",
    "torchvision wide resnet",
    "torchvision densenet",
    "torchvision efficientnet",
    "torchvision swin",
    "timm resnet",
    "timm wide resnet",
    "timm densenet",
    "timm efficientnet",
    "timm efficientnet lite",
    "timm swin",
    "cifar resnet",
    "small cnn",
)
"""Nothing but pooling or flattening and a linear layer behind the final feature map."""

WITHOUT_RELU = (
    "torchvision efficientnet",
    "torchvision vit",
    "torchvision swin",
    "timm efficientnet",
    "timm vit",
    "timm vit with registers",
    "timm swin",
)
VITS = ("torchvision vit", "timm vit", "timm vit with registers")
NOT_POOLED = (
    "torchvision vgg",
    "torchvision squeezenet",
    "torchvision vit",
    "timm vgg",
    "timm vit",
    "timm vit with registers",
    "small cnn",
)

REFUSALS = {
    "Gradient at final": dict.fromkeys(AFFINE, "gives one map for all images"),
    "GuidedBackprop": dict.fromkeys(WITHOUT_RELU, "needs a ReLU above layer 'input'"),
    "GuidedBackprop at final": dict.fromkeys(WITHOUT_RELU, "needs a ReLU above layer 'final'")
    | dict.fromkeys(AFFINE, "gives one map for all images"),
    "InputXGradient at final": dict.fromkeys(VITS, "adds up to zero over the channels.*use channels='sum_abs'"),
    "IntegratedGradients at final": dict.fromkeys(VITS, "adds up to zero over the channels"),
    "LRP": dict.fromkeys(("torchvision densenet", "timm densenet"), "no rule for the batch normalisations that do not")
    | dict.fromkeys(("torchvision vit", "timm vit", "timm vit with registers"), "no rule for a constant that is added")
    | dict.fromkeys(("torchvision swin", "timm swin"), "no rule for torch.nn.functional.layer_norm"),
    "CAM": dict.fromkeys(NOT_POOLED, "needs global average pooling and one linear layer"),
}

WAITING = {"SmoothGrad"}
"""Methods that draw numbers on the CPU, or read one from the device."""

WITHOUT_GRAPH: set[str] = set()
"""Methods that cannot keep a graph for training."""

TARGETS = torch.tensor([1, 2])


MANY_CHANNELS = ("wide resnet", "efficientnet lite", "torchvision resnet", "squeezenet")
"""Final layers of 512 channels and more, for each of which Score-CAM evaluates the network, in graphs of many GiB."""


def is_heavy(name, family):
    return name == "ScoreCAM" and any(word in family for word in MANY_CHANNELS)


def pairs(refused):
    return [
        pytest.param(
            name,
            family,
            id=f"{name} / {family}".replace(" ", "_"),
            marks=[pytest.mark.slow] if is_heavy(name, family) else [],
        )
        for name in METHODS
        for family in networks.FAMILIES
        if (family in REFUSALS.get(name, {})) is refused
    ]


def same_but_for_kinks(first, second):
    """Equal to rounding, but for a ReLU or two that lie at their kink to the last bit, where rounding decides.

    Which do depends on the processor. In these small networks one of them moves a map by .3 to 1 % of its length, in
    plain PyTorch as here; a map that depends on the other image moves by a multiple of that (last test of this file).
    """
    return float(torch.linalg.vector_norm(first - second)) <= 0.03 * float(torch.linalg.vector_norm(second))


@pytest.mark.parametrize(("name", "family"), pairs(refused=False))
def test_works(name, family):
    """A map the size of the image, of each image alone, with or without gradient modes, and nothing left behind."""
    method, net, images = METHODS[name], networks.network(family), networks.images(2)
    maps = method(net, images, TARGETS)
    assert maps.shape == (2, 64, 64)
    assert not maps.requires_grad
    size = maps.abs().amax((1, 2))
    assert torch.isfinite(maps).all()
    assert (maps.flatten(1).std(1) > 1e-3 * size).all()  # no constant map, and none of zeros
    with torch.inference_mode():
        alone = method(net, images[1:] * 1, TARGETS[1:] + 0)
    assert same_but_for_kinks(alone[0], maps[1])
    if name not in WITHOUT_GRAPH and not is_heavy(name, family):
        graph = method(net, images, TARGETS, create_graph=True)
        assert same_but_for_kinks(graph.detach(), maps)
        loss = (graph / size[:, None, None]).square().sum()
        slopes = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, materialize_grads=True)
        assert all(torch.isfinite(slope).all() for slope in slopes)
        assert any(slope.any() for slope in slopes)
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


@pytest.mark.parametrize(("name", "family"), pairs(refused=True))
def test_refuses(name, family):
    with pytest.raises(InputError, match=REFUSALS[name][family]) as caught:
        METHODS[name](networks.network(family), networks.images(2), TARGETS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["torchvision resnet", "torchvision densenet", "timm vgg", "timm vit"])
@pytest.mark.parametrize("name", [name for name in METHODS if name not in WAITING])
def test_values_stay_on_the_device(name, family):
    """Tensors without values: whoever asks for one, or makes a tensor on another device, fails."""
    if family not in REFUSALS.get(name, {}):
        net = copy.deepcopy(networks.network(family)).to("meta")
        maps = METHODS[name](net, networks.images(2).to("meta"), TARGETS.to("meta"))
        assert maps.shape == (2, 64, 64)
        assert maps.is_meta


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("family", ["torchvision resnet", "torchvision densenet", "timm vgg", "timm vit"])
@pytest.mark.parametrize("name", [name for name in METHODS if name not in WAITING])
def test_devices_agree(name, family):
    if family not in REFUSALS.get(name, {}):
        net, images = networks.network(family), networks.images(2)
        here = METHODS[name](net, images, TARGETS)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 moves activations across kinks
            there = METHODS[name](copy.deepcopy(net).cuda(), images.cuda(), TARGETS.cuda()).cpu()
        size = here.abs().amax((1, 2))[:, None, None]
        torch.testing.assert_close(there / size, here / size, rtol=0, atol=2e-2)


COLUMNS = {
    "ResNet": ("torchvision resnet", "timm resnet"),
    "Wide-ResNet": ("torchvision wide resnet", "timm wide resnet"),
    "VGG": ("torchvision vgg", "timm vgg"),
    "DenseNet": ("torchvision densenet", "timm densenet"),
    "EfficientNet": ("torchvision efficientnet", "timm efficientnet"),
    "EfficientNet-Lite": ("timm efficientnet lite",),
    "SqueezeNet": ("torchvision squeezenet",),
    "ViT": ("torchvision vit", "timm vit", "timm vit with registers"),
    "Swin": ("torchvision swin", "timm swin"),
    "CifarResNet": ("cifar resnet",),
    "SmallCNN": ("small cnn",),
}


def test_the_table_of_the_documentation_is_this_matrix():
    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
    lines = text[text.index("## What works where") :].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert head == ["method", *COLUMNS]
    assert sorted(family for families in COLUMNS.values() for family in families) == sorted(networks.FAMILIES)
    assert [row[0].replace("`", "") for row in rows] == list(METHODS)
    for name, *cells in rows:
        refused = REFUSALS.get(name.replace("`", ""), {})
        for cell, families in zip(cells, COLUMNS.values(), strict=True):
            assert {family in refused for family in families} == {cell != "✓"}, (name, families)


def test_a_map_that_depends_on_the_other_image_is_told_from_kinks():
    """Batch normalisation with the statistics of the batch, which the images of these tests share almost entirely."""
    net, images = copy.deepcopy(networks.network("torchvision resnet")), networks.images(2)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = module.running_var = None
    maps = METHODS["Gradient"](net, images, TARGETS)
    alone = METHODS["Gradient"](net, images[1:], TARGETS[1:])
    assert not same_but_for_kinks(alone[0], maps[1])
