"""What is known of a network: which images it takes, and on which device."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal
from weakref import WeakSet

import attrs
import torch
from torch import Tensor, nn

from lit_certattr.errors import InputError
from lit_certattr.models import IMAGENET_MEAN, IMAGENET_STD, Denoised, Normalize

Normalisation = tuple[Sequence[float], Sequence[float]] | Literal["imagenet", False] | None
"""Mean and standard deviation of each channel; ``False`` says that there is none, ``None`` says nothing."""

_LIBRARIES = ("torchvision.models.", "timm.models.")
_log = logging.getLogger(__name__)
_warned: WeakSet[nn.Module] = WeakSet()


@attrs.frozen
class Statistics:
    """Mean and standard deviation of each channel.

    Attributes:
        mean: One number per channel.
        std: One positive number per channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def undone(self, pixels: Tensor) -> Tensor:
        """An image ``[C, H, W]`` before its normalisation.

        Raises:
            InputError: If the image has another number of channels.
        """
        if len(self.mean) not in (1, len(pixels)):
            raise InputError(f"normalisation has {len(self.mean)} channels, the images have {len(pixels)}")
        mean, std = (pixels.new_tensor(one).reshape(-1, 1, 1) for one in (self.mean, self.std))
        return pixels * std + mean


@attrs.frozen
class Expectations:
    """What a network takes.

    Attributes:
        channels: Channels of the images; ``None`` if unknown.
        size: Height and width of pictures; ``None`` if any size will do, or it is unknown.
        device: Device of its weights.
        dtype: Type of its weights.
    """

    channels: int | None
    size: int | None
    device: torch.device
    dtype: torch.dtype


def expectations(model: nn.Module) -> Expectations:
    """What a network takes: by ``input_size`` or ``image_size`` of a module, its first convolution, its weights.

    Args:
        model: The network.

    Example:
        >>> found = expectations(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()))
        >>> found.channels, found.size, found.dtype
        (3, None, torch.float32)
    """
    channels, size = next(filter(None, map(_declared, model.modules())), (None, None))
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    weight = next((one for one in model.parameters() if one.is_floating_point()), torch.zeros(()))
    channels = channels or (None if first is None else first.in_channels)
    return Expectations(channels, size, weight.device, weight.dtype)


def _declared(module: nn.Module) -> tuple[int | None, int | None] | None:
    """Channels and size that a module declares."""
    size: Any = getattr(module, "input_size", None)
    if isinstance(size, tuple) and len(size) == 3 and all(isinstance(one, int) for one in size):
        return size[0], size[1] if size[1] == size[2] else None
    side = getattr(module, "image_size", None)
    if isinstance(side, int) and not isinstance(side, bool):
        return None, side
    settings = getattr(module, "pretrained_cfg", None)
    if isinstance(settings, dict) and settings.get("fixed_input_size"):
        return _declared_by_timm(settings)
    return None


def _declared_by_timm(settings: dict[str, Any]) -> tuple[int | None, int | None]:
    channels, height, width = settings["input_size"]
    return channels, height if height == width else None


def statistics_of(normalisation: Normalisation) -> Statistics | None:
    """The mean and standard deviation that the caller gave, if any.

    Args:
        normalisation: What the caller gave.

    Raises:
        InputError: If it is no pair of sequences of numbers.

    Example:
        >>> statistics_of(([0.5], [0.25]))
        Statistics(mean=(0.5,), std=(0.25,))
    """
    if normalisation is None or normalisation is False:
        return None
    if normalisation == "imagenet":
        return Statistics(IMAGENET_MEAN, IMAGENET_STD)
    try:
        mean, std = (tuple(float(number) for number in numbers) for numbers in normalisation)
    except (TypeError, ValueError):
        raise InputError(
            "normalisation must be 'imagenet' or (mean, std), one number per channel each, e.g. "
            f"([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]), got {normalisation!r:.80}"
        ) from None
    return Statistics(mean, std)


def normalising(model: nn.Module, statistics: Statistics | None, expects: Expectations) -> nn.Module:
    """The network with the normalisation as its first layer; the network itself without one.

    Args:
        model: The network.
        statistics: Mean and standard deviation of each channel, or ``None``.
        expects: Device and type of the network.

    Raises:
        InputError: If the network is denoised: the normalisation then belongs behind the denoiser.
    """
    if statistics is None:
        return model
    if isinstance(model, Denoised):
        raise InputError(
            "normalisation belongs behind the denoiser: "
            "Denoised(denoiser, nn.Sequential(Normalize(mean, std), network)) with lit_certattr.models.Normalize"
        )
    first = Normalize(statistics.mean, statistics.std).to(expects.device, expects.dtype)
    return nn.Sequential(OrderedDict(normalize=first, network=model))


def warn_of_missing_normalisation(model: nn.Module) -> None:
    """Log one line, once for each network, if it comes bare from a library whose weights expect normalised images.

    Args:
        model: The network, for which no normalisation was given.
    """
    home = type(model).__module__
    if home.startswith(_LIBRARIES) and model not in _warned:
        _warned.add(model)
        _log.warning(
            "weights of %s expect normalised images, but %s gets images in [0, 1]: if yours do, give "
            "normalisation='imagenet' or (mean, std); normalisation=False says that they do not",
            home.partition(".")[0],
            type(model).__name__,
        )
