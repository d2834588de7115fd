"""Small random networks of every family, for tests that run a method on all of them.

Raw networks keep what their libraries give them (activations that work in place); wrapped ones normalise first.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import timm
import torch
from timm.models.resnet import Bottleneck as TimmBottleneck
from timm.models.resnet import ResNet as TimmResNet
from timm.models.vgg import VGG as TimmVGG
from torch import Tensor, nn
from torchvision.models import DenseNet, EfficientNet, ResNet, SwinTransformer, VisionTransformer
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vgg import VGG, make_layers

from lit_certattr.models import CifarResNet, Normalize, SmallCNN, TimmClassifier, TorchvisionClassifier

CLASSES = 7


class _Narrow(Bottleneck):
    """A bottleneck that ends with as many channels as it has inside; ScoreCAM passes each channel through the net."""

    expansion = 1


class _TimmNarrow(TimmBottleneck):
    """The same of timm."""

    expansion = 1


def _tv_vgg() -> nn.Module:
    net: nn.Module
    with torch.device("meta"):  # 120 million weights that are replaced below
        net = VGG(nn.Identity(), num_classes=CLASSES, init_weights=False)
    net.features = make_layers([8, "M", 16, "M", 16, "M"])
    net.classifier = nn.Sequential(nn.Linear(16 * 49, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, CLASSES))
    return net


def _squeezenet() -> nn.Module:
    net = TorchvisionClassifier("squeezenet1_1", num_classes=CLASSES)
    nn.init.ones_(net.network.classifier[1].bias)  # a ReLU follows: without it some logits are 0 for all images
    return net


def _tv_efficientnet() -> nn.Module:
    """The first, the middle and the last kind of block of EfficientNet-B0."""
    blocks = [(1, 3, 1, 32, 16), (6, 3, 2, 16, 24), (6, 5, 2, 24, 40), (6, 5, 2, 40, 64), (6, 3, 2, 64, 80)]
    net: nn.Module = EfficientNet(
        [MBConvConfig(*block, 1) for block in blocks], 0.2, num_classes=CLASSES, last_channel=256
    )
    return net


def _tv_vit(**options: Any) -> nn.Module:
    net = VisionTransformer(64, 16, 2, 2, 32, 64, num_classes=CLASSES, **options)
    nn.init.normal_(net.heads[-1].weight)  # torchvision starts it at zero
    module: nn.Module = net
    return module


def _timm_vit(name: str = "vit_tiny_patch16_224", **options: Any) -> nn.Module:
    net: nn.Module = timm.create_model(name, num_classes=CLASSES, img_size=64, depth=2, **options)
    return net


_BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "torchvision resnet": lambda: TorchvisionClassifier("resnet18", num_classes=CLASSES),
    # Bottlenecks whose width is not the usual one, like those of Wide-ResNets, but narrower: tests run often.
    "torchvision wide resnet": lambda: ResNet(_Narrow, [1, 1, 1, 1], num_classes=CLASSES, width_per_group=24),
    "torchvision vgg": _tv_vgg,
    "torchvision densenet": lambda: DenseNet(8, (2, 2, 2, 2), 16, num_classes=CLASSES),
    "torchvision efficientnet": _tv_efficientnet,
    "torchvision squeezenet": _squeezenet,
    "torchvision vit": _tv_vit,
    "torchvision swin": lambda: SwinTransformer([4, 4], 12, [2, 2], [2, 2], [7, 7], num_classes=CLASSES),
    "timm resnet": lambda: TimmClassifier("test_resnet", num_classes=CLASSES),
    # timm says that it wants a block; it wants the class of one.
    "timm wide resnet": lambda: TimmResNet(
        _TimmNarrow,  # type: ignore[arg-type]
        (1, 1, 1, 1),
        num_classes=CLASSES,
        base_width=24,
    ),
    "timm vgg": lambda: TimmVGG([8, "M", 16, "M", 16, "M"], num_classes=CLASSES, mlp_ratio=0.1),
    "timm densenet": lambda: timm.create_model(
        "densenet121", num_classes=CLASSES, growth_rate=8, block_config=(2, 2, 2, 2)
    ),
    "timm efficientnet": lambda: TimmClassifier("test_efficientnet", num_classes=CLASSES),
    "timm efficientnet lite": lambda: TimmClassifier("tf_efficientnet_lite0", num_classes=CLASSES),
    "timm vit": lambda: nn.Sequential(Normalize([0.5] * 3, [0.5] * 3), _timm_vit()),
    "timm vit with registers": lambda: _timm_vit(
        "vit_small_patch14_reg4_dinov2", patch_size=16, embed_dim=96, num_heads=3
    ),
    "timm swin": lambda: timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=CLASSES,
        img_size=64,
        embed_dim=12,
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 2, 2),
    ),
    "cifar resnet": lambda: CifarResNet(8, num_classes=CLASSES),
    "small cnn": lambda: SmallCNN(in_channels=3, num_classes=CLASSES, image_size=64),
}

FAMILIES = tuple(_BUILDERS)
"""Names of all families; :func:`network` builds one."""


@cache
def network(family: str) -> nn.Module:
    """A network for images ``[B, 3, 64, 64]``, in eval mode, the same at every call: leave it as it is."""
    torch.manual_seed(sum(map(ord, family)))
    return standardised(_BUILDERS[family]()).eval()


def standardised(net: nn.Module) -> nn.Module:
    """Batch statistics of random images, without which signals of random weights fade with depth."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(images(8, seed=1))
    return net


def images(count: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def basic_resnet() -> nn.Module:
    """A small raw ResNet, new at every call."""
    return standardised(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)).eval()
