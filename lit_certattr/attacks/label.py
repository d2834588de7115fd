"""Points that keep the label of the clean image."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def same_label(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Tells which points the network predicts as it predicts the clean images.

    Args:
        model: Network to logits, in eval mode.
        images: Clean images ``[B, C, H, W]``.

    Example:
        >>> accept = same_label(nn.Flatten(), torch.tensor([[[[0.2, 0.9]]], [[[0.7, 0.1]]]]))
        >>> accept(torch.tensor([[[[0.3, 0.9]]], [[[0.1, 0.2]]]]))
        tensor([ True, False])
    """
    with torch.no_grad():
        labels = model(images).argmax(1)
    return lambda points: model(points).argmax(1) == labels
