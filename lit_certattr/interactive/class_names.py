"""The names of the classes of a call: one for each logit of the network."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.models.modes import frozen
from lit_certattr.preflight import logits_of


def names_of_classes(given: Any, model: nn.Module) -> list[str]:
    """The names that the caller gave, or else those that the network declares; empty without any.

    Args:
        given: A list, a tuple or an array of strings, empty or ``None``.
        model: The network, which may declare ``class_names``.

    Raises:
        InputError: If they are anything else, for example a dictionary.

    Example:
        >>> names_of_classes(("cat", "dog"), nn.Identity())
        ['cat', 'dog']
    """
    names = getattr(model, "class_names", None) if given is None or not np.size(given) else given
    listed = names.tolist() if isinstance(names, np.ndarray) else names
    if listed is None:
        return []
    if not isinstance(listed, list | tuple) or not all(isinstance(name, str) for name in listed):
        raise InputError(
            f"class_names must be a list of strings, one for each logit in their order, got {names!r:.80}: of a "
            "dictionary from numbers to names give [names[i] for i in range(len(names))]"
        )
    return list(listed)


def check_names(names: list[str], network: nn.Module, image: Tensor) -> None:
    """Refuse names that are more or fewer than the logits: they would be those of other classes.

    Args:
        names: The names; empty if unknown.
        network: The network.
        image: An image ``[1, C, H, W]``.

    Raises:
        InputError: If their number differs, or the network cannot take the image.
    """
    if not names:
        return
    with torch.inference_mode(False), torch.no_grad(), frozen(network):
        count = logits_of(network, image, "the first image").shape[1]
    if len(names) != count:
        raise InputError(f"class_names has {len(names)} names, but the network has {count} logits: give one for each")
