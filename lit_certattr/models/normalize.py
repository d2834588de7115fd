"""Normalisation as a layer, so that every perturbation is measured in pixel space."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_certattr.errors import InputError


class Normalize(nn.Module):
    """Subtract the mean of each channel and divide by its standard deviation.

    It is the first layer of every network in this package: images stay in [0, 1] outside, so a noise level or a radius
    is an l2 length in pixel space and means the same for every network.

    Args:
        mean: One number per channel, for images in [0, 1].
        std: One positive number per channel.

    Raises:
        InputError: If the lengths differ, or a standard deviation is not positive.

    Example:
        >>> layer = Normalize(mean=[0.5], std=[0.25])
        >>> layer(torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3)).flatten()
        tensor([-2.,  0.,  2.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or len(mean) == 0:
            raise InputError(f"mean and std need one number per channel each, got {len(mean)} and {len(std)}")
        if not all(s > 0 for s in std):
            raise InputError(f"std must be positive, got {list(std)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images ``[B, C, H, W]`` in [0, 1]; the shape stays."""
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """Show the constants when the network is printed."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


class Normalized(nn.Module):
    """A network for normalised images, with the normalisation as its first layer: it takes images in [0, 1].

    For a network of your own whose images were normalised by a transform: take ``Normalize`` out of the transforms, and
    give its numbers here.

    Args:
        network: Network from normalised images to logits.
        mean: One number per channel, for images in [0, 1].
        std: One positive number per channel.

    Raises:
        InputError: If the lengths differ, or a standard deviation is not positive.

    Example:
        >>> network = Normalized(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), [0.5, 0.5, 0.5], [0.25, 0.25, 0.25])
        >>> network(torch.rand(1, 3, 2, 2)).shape
        torch.Size([1, 5])
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.network = network
        for fact in ("input_size", "num_classes"):  # that data are compared with
            if hasattr(network, fact):
                setattr(self, fact, getattr(network, fact))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, num_classes]`` of images ``[B, C, H, W]`` in [0, 1]."""
        return self.network(self.normalize(images))  # type: ignore[no-any-return]


def channel_statistics(
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    default: tuple[Sequence[float], Sequence[float]],
    channels: int,
) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of each channel: the user's, else the default.

    Args:
        mean: The user's means, or ``None``.
        std: The user's standard deviations, or ``None``.
        default: Means and standard deviations that replace ``None``.
        channels: Number of channels of the images.

    Raises:
        InputError: If ``mean`` or ``std`` has neither 1 nor ``channels`` numbers.

    Example:
        >>> channel_statistics(None, [0.5], ([0.1, 0.2], [1.0, 1.0]), channels=2)
        ([0.1, 0.2], [0.5, 0.5])
    """
    chosen = [own if given is None else given for given, own in zip((mean, std), default, strict=True)]
    for name, values in zip(("mean", "std"), chosen, strict=True):
        if len(values) not in (1, channels):
            raise InputError(f"{name} needs 1 or {channels} numbers, one for each channel, got {len(values)}")
    if len(chosen[0]) != len(chosen[1]):
        chosen = [list(values) * (channels // len(values)) for values in chosen]
    return chosen[0], chosen[1]
