"""The last feature map of a network, and the part of the network that follows it."""

from collections.abc import Callable
from typing import Any, Literal

import attrs
from torch import Tensor, nn

from lit_certattr.errors import InputError

Head = Callable[[Tensor], Tensor]


@attrs.frozen(eq=False)
class FinalLayer:
    """The last feature map of a network, as defined by its architecture.

    Args:
        network: The network of a known family, without any module that wraps it.
        module: The module at which the feature map is found.
        head: The rest of the network, from the feature map to the logits; ``None`` if it is not known.
        place: Whether the map is the module's ``"output"``, its ``"input"``, or the result of the first ReLU
            that runs after it (``"relu"``, if that ReLU is a function and not a module).
        pooled: The linear layer, if the head is global average pooling followed by that layer alone; else ``None``.
        affine: Whether the head is affine in the feature map, so that its gradient is the same for all images.
        normalised: Whether the head normalises the features of each place first (layer normalisation), so that
            their mean and scale do not matter: over the channels, the gradient adds up to zero, and so does
            features times gradient, up to the epsilon of the normalisation. Proof: with f(a + t) = f(a) for all
            constants t and f(sa) = f(a) for all s > 0, differentiate at t = 0 and at s = 1.
    """

    network: nn.Module
    module: nn.Module
    head: Head | None
    place: Literal["output", "input", "relu"] = "output"
    pooled: nn.Linear | None = None
    affine: bool = False
    normalised: bool = False


def final_layer(model: nn.Module) -> FinalLayer:
    """The last feature map of a network, or of the one network of a known family inside it, without running it.

    Args:
        model: A ResNet, Wide-ResNet, VGG, DenseNet, EfficientNet, SqueezeNet, ViT or Swin transformer of
            torchvision or timm, a network of this package, or any module that holds exactly one of these.

    Raises:
        InputError: If the model holds no network of a known family, or several.

    Example:
        >>> from lit_certattr.models import CifarResNet
        >>> network = CifarResNet(depth=8)
        >>> final_layer(nn.Sequential(network)).module is network.stages
        True
    """
    found = final_layers(model)
    if len(found) == 1:
        return found[0]
    if found:
        name = type(model).__name__
        raise InputError(f"{name} holds {len(found)} networks, so layer='final' is ambiguous: name a layer")
    raise unknown_final_layer(model)


def unknown_final_layer(model: nn.Module, reason: str = "", example: str = "") -> InputError:
    """The error for a network whose last feature map is not known; it suggests a module.

    Args:
        model: The network.
        reason: Why it is not known.
        example: Name of a module to suggest; if empty, timm's last features, the last convolution or the last module.
    """
    names = [name for name, _ in model.named_modules() if name]
    features = [str(info["module"]) for info in getattr(model, "feature_info", None) or () if "module" in info]
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d) and name]
    known = [name for name in (example, *features[-1:], *convolutions[-1:], *names[-1:]) if name in names]
    layer = known[0] if known else "input"
    because = f" ({reason})" if reason else ""
    name = type(model).__name__
    return InputError(f"the final layer of {name} is not known{because}: name one of its modules, e.g. layer={layer!r}")


def final_layers(model: nn.Module) -> list[FinalLayer]:
    """The last feature maps of all networks of known families inside a module.

    Args:
        model: Any module.
    """
    found: list[FinalLayer] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        if module not in inside and (describe := _family(module)) is not None:
            found.append(describe(module))
            inside.update(module.modules())
    return found


def _family(module: nn.Module) -> Callable[[Any], FinalLayer] | None:
    """The function that describes a module; a subclass with another forward is not of the family."""
    kind = type(module)
    for ancestor in kind.__mro__:
        describe = _FAMILIES.get(f"{ancestor.__module__}.{ancestor.__qualname__}")
        steps = ("forward", "_forward_impl", "forward_features")
        if describe and all(getattr(kind, step, None) is getattr(ancestor, step, None) for step in steps):
            return describe
    return None


def _cifar_resnet(net: Any) -> FinalLayer:
    return FinalLayer(net, net.stages, lambda x: net.classifier(x.mean((2, 3))), pooled=net.classifier, affine=True)


def _small_cnn(net: Any) -> FinalLayer:
    return FinalLayer(net, net.features, lambda x: net.classifier(x.flatten(1)), affine=True)


def _resnet(net: Any) -> FinalLayer:
    return FinalLayer(net, net.layer4, lambda x: net.fc(net.avgpool(x).flatten(1)), pooled=net.fc, affine=True)


def _vgg(net: Any) -> FinalLayer:
    """The last ReLU before the last pooling."""
    return FinalLayer(net, net.features[-2], lambda x: net.classifier(net.avgpool(net.features[-1](x)).flatten(1)))


def _densenet(net: Any) -> FinalLayer:
    def head(x: Tensor) -> Tensor:
        return net.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]

    return FinalLayer(net, net.features, head, place="relu", pooled=net.classifier, affine=True)


def _efficientnet(net: Any) -> FinalLayer:
    linear = net.classifier[-1]
    return FinalLayer(
        net, net.features, lambda x: net.classifier(net.avgpool(x).flatten(1)), pooled=linear, affine=True
    )


def _squeezenet(net: Any) -> FinalLayer:
    return FinalLayer(net, net.features, lambda x: net.classifier(x).flatten(1))


def _vit(net: Any) -> FinalLayer:
    """The tokens that enter the last block; what leaves it reaches the logits through the class token alone."""
    block = net.encoder.layers[-1]
    head: Head = lambda x: net.heads(net.encoder.ln(block(x))[:, 0])  # noqa: E731
    return FinalLayer(net, block, head, place="input", normalised=isinstance(block.ln_1, nn.LayerNorm))


def _swin(net: Any) -> FinalLayer:
    return FinalLayer(net, net.permute, lambda x: net.head(net.avgpool(x).flatten(1)), pooled=net.head, affine=True)


def _timm_pooled(net: Any, module: nn.Module) -> FinalLayer:
    """A timm network whose head is pooling and one linear layer, unless it was built otherwise."""
    pooling = getattr(net.head, "global_pool", None) if hasattr(net, "head") else net.global_pool
    linear = net.get_classifier()
    # Dropout is the identity in eval mode; any other pooling than the average is left alone.
    pooled = linear if isinstance(linear, nn.Linear) and getattr(pooling, "pool_type", "") == "avg" else None
    return FinalLayer(net, module, net.forward_head, pooled=pooled, affine=pooled is not None)


def _timm_vgg(net: Any) -> FinalLayer:
    return FinalLayer(net, net.features[-2], lambda x: net.forward_head(net.features[-1](x)))


def _timm_vit(net: Any) -> FinalLayer:
    block = net.blocks[-1]
    # Past the attention, patches reach the logits where all tokens are pooled, and in other kinds of blocks.
    plain = type(block).__name__ == "Block" and isinstance(block.norm1, nn.LayerNorm) and net.global_pool == "token"
    return FinalLayer(net, block, lambda x: net.forward_head(net.norm(block(x))), place="input", normalised=plain)


# By name, so that neither library has to be imported.
_FAMILIES: dict[str, Callable[[Any], FinalLayer]] = {
    "lit_certattr.models.cifar_resnet.CifarResNet": _cifar_resnet,
    "lit_certattr.models.small_cnn.SmallCNN": _small_cnn,
    "torchvision.models.resnet.ResNet": _resnet,
    "torchvision.models.vgg.VGG": _vgg,
    "torchvision.models.densenet.DenseNet": _densenet,
    "torchvision.models.efficientnet.EfficientNet": _efficientnet,
    "torchvision.models.squeezenet.SqueezeNet": _squeezenet,
    "torchvision.models.vision_transformer.VisionTransformer": _vit,
    "torchvision.models.swin_transformer.SwinTransformer": _swin,
    "timm.models.resnet.ResNet": lambda net: _timm_pooled(net, net.layer4),
    "timm.models.vgg.VGG": _timm_vgg,
    "timm.models.densenet.DenseNet": lambda net: _timm_pooled(net, net.features),
    "timm.models.efficientnet.EfficientNet": lambda net: _timm_pooled(net, net.bn2),
    "timm.models.vision_transformer.VisionTransformer": _timm_vit,
    "timm.models.swin_transformer.SwinTransformer": lambda net: _timm_pooled(net, net.norm),
}
