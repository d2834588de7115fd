"""The widest floating-point type of a device."""

import torch
from torch import Tensor

WITHOUT_FLOAT64 = {"mps"}
"""Types of devices that have no float64."""


def has_float64(device: torch.device) -> bool:
    """Whether a device has float64.

    Args:
        device: The device.
    """
    return device.type not in WITHOUT_FLOAT64


def exact_dtype(device: torch.device) -> torch.dtype:
    """float64, or float32 on a device that has no float64.

    Args:
        device: The device.

    Example:
        >>> exact_dtype(torch.device("cpu")), exact_dtype(torch.device("mps"))
        (torch.float64, torch.float32)
    """
    return torch.float64 if has_float64(device) else torch.float32


def wide(values: Tensor) -> Tensor:
    """Values in the widest floating-point type of their device.

    Args:
        values: Any tensor of real numbers.
    """
    return values.to(exact_dtype(values.device))
