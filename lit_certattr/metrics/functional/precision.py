"""The widest floating-point type of a device."""

from torch import Tensor


def wide(values: Tensor) -> Tensor:
    """Values as float64, or as float32 on devices that have no float64.

    Args:
        values: Any tensor of real numbers.
    """
    return values.float() if values.device.type == "mps" else values.double()
