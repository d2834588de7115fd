"""Small changes to networks that others define."""

from torch import nn

from lit_certattr.errors import InputError


def keep_inputs(network: nn.Module) -> None:
    """Make activations write to new memory, so that attribution methods may hook what goes in.

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
    """Refuse a classifier without logits, which libraries build where the number of classes is 0.

    Raises:
        InputError: If the number is given and below 1.
    """
    if num_classes is not None and num_classes < 1:
        raise InputError(
            f"{name} with num_classes={num_classes} would give features, not logits: set num_classes to the number of "
            "classes, or leave it out"
        )


def replace_head(network: nn.Module, old_classes: int, num_classes: int) -> None:
    """Put a new, untrained layer in the place of the last linear or convolutional one.

    Args:
        network: Changed in place.
        old_classes: Outputs of its last layer now.
        num_classes: Outputs of the new one.

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
