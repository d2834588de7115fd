"""Small changes to networks that others define."""

from torch import nn

from lit_certattr.errors import InputError


def keep_inputs(network: nn.Module) -> None:
    """Make activations write to new memory, so that hooks of attribution methods see their inputs unchanged.

    Args:
        network: Changed in place.

    Example:
        >>> network = nn.Sequential(nn.ReLU(inplace=True))
        >>> keep_inputs(network)
        >>> network[0].inplace
        False
    """
    for module in network.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]


def check_num_classes(name: str, num_classes: int | None) -> None:
    """Refuse a number of classes below 1: libraries then build a network without logits.

    Args:
        name: Name of the classifier, for the message.
        num_classes: Number of logits; ``None`` if it is not set.

    Raises:
        InputError: If the number is given and below 1.
    """
    if num_classes is not None and num_classes < 1:
        raise InputError(
            f"{name} with num_classes={num_classes} would give features, not logits: set num_classes to the number of "
            "classes, or leave it out"
        )


def replace_head(network: nn.Module, old_classes: int, num_classes: int) -> None:
    """Replace the last linear or convolutional layer by a new, untrained one.

    Args:
        network: Changed in place.
        old_classes: Number of outputs of the layer that is replaced.
        num_classes: Number of outputs of the new layer.

    Raises:
        ValueError: If no layer has ``old_classes`` outputs.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1000))
        >>> replace_head(network, 1000, 3)
        >>> network[1]
        Linear(in_features=8, out_features=3, bias=True)
    """
    for name, layer in reversed(list(network.named_modules())):
        parent = network.get_submodule(name.rpartition(".")[0])
        bias = getattr(layer, "bias", None) is not None
        if isinstance(layer, nn.Linear) and layer.out_features == old_classes:
            new: nn.Module = nn.Linear(layer.in_features, num_classes, bias=bias)
        elif isinstance(layer, nn.Conv2d) and layer.out_channels == old_classes:
            kernel = (layer.kernel_size[0], layer.kernel_size[1])
            new = nn.Conv2d(layer.in_channels, num_classes, kernel, bias=bias)
        else:
            continue
        setattr(parent, name.rpartition(".")[2], new)
        return
    raise ValueError(f"{type(network).__name__} has no layer with {old_classes} outputs")
