"""Tensors that go from the CPU to a device without making it wait."""

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

COPIES_AT_ONCE = {"cuda"}
"""Types of devices that copy pageable memory to a buffer of their own before the call returns."""
_COPIES: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""Copies of constant tensors by device and type; they go when the tensor on the CPU goes."""


def values_are_free(tensor: Tensor) -> bool:
    """Whether Python can read values without waiting: on an accelerator, reading one would block until it is idle.

    Args:
        tensor: Any tensor.
    """
    return tensor.device.type == "cpu"


def onto(values: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Values on the device of another tensor; a copy from the CPU does not wait for what the device has still to do.

    CUDA has read pageable memory when the call returns, so the tensor on the CPU may change or go at once. Other
    accelerators do not promise this: they wait.

    Args:
        values: Any tensor.
        like: Any tensor on the device.
        dtype: Type of the copy; ``None`` for that of the values.

    Example:
        >>> onto(torch.ones(2), torch.zeros(3, dtype=torch.float64), torch.float64)
        tensor([1., 1.], dtype=torch.float64)
    """
    at_once = values.device.type == "cpu" and like.device.type in COPIES_AT_ONCE
    return values.to(like.device, values.dtype if dtype is None else dtype, non_blocking=at_once)


def constant(values: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Values that never change, on the device of another tensor; the copy is made once, and lives as long as they do.

    Args:
        values: A tensor on the CPU that nobody writes to.
        like: Any tensor on the device.
        dtype: Type of the copy; ``None`` for that of the values.

    Returns:
        The copy, which must not be written to; the tensor itself if its device and its type are the wanted ones.

    Example:
        >>> values = torch.ones(2)
        >>> constant(values, torch.zeros(3)) is values
        True
        >>> constant(values, values, torch.float64) is constant(values, values, torch.float64)
        True
    """
    dtype = values.dtype if dtype is None else dtype
    if values.device == like.device and values.dtype == dtype:
        return values
    copies: dict[tuple[torch.device, torch.dtype], Tensor] = _COPIES.setdefault(values, {})
    if (like.device, dtype) not in copies:
        with torch.inference_mode(False):  # later calls may differentiate
            copies[like.device, dtype] = onto(values, like, dtype)
    return copies[like.device, dtype]
