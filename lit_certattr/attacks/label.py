"""The check of the network that an attack needs, and of points that keep the label."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lit_certattr.attacks.denoiser import check_denoiser_graph
from lit_certattr.attribution.base import as_logits
from lit_certattr.models import Denoised
from lit_certattr.preflight.network import call_network, check_logits, logits_of


def check_classifier(model: nn.Module, images: Tensor) -> None:
    """Refuse a network that cannot be attacked.

    Args:
        model: Network, in eval mode.
        images: Clean images ``[B, C, H, W]``.

    Raises:
        InputError: If the network fails, changes its input, or returns anything but two or more finite logits. A tensor
            with other dimensions is accepted: the attribution method uses it or refuses it. Also if a denoiser has no
            gradient, or a wrong one.
    """
    with torch.no_grad():
        output = call_network(model, images)
        if not isinstance(output, Tensor) or output.ndim == 2:
            check_logits(output, model, len(images))
    if isinstance(model, Denoised):
        check_denoiser_graph(model, images)


def same_label(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that tells which points get the same prediction as their clean images.

    Args:
        model: Network to logits, in eval mode.
        images: Clean images ``[B, C, H, W]``.

    Raises:
        InputError: If the network changes its input or returns anything but two or more finite logits.

    Example:
        >>> accept = same_label(nn.Flatten(), torch.tensor([[[[0.2, 0.9]]], [[[0.7, 0.1]]]]))
        >>> accept(torch.tensor([[[[0.3, 0.9]]], [[[0.1, 0.2]]]]))
        tensor([ True, False])
    """
    with torch.no_grad():
        labels = logits_of(model, images).argmax(1)
    return lambda points: as_logits(model(points)).argmax(1) == labels
