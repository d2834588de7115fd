"""Radii as callers give them, and as results hold them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.settings import real_number


def budget_of(radius: float | Tensor | None) -> float | None:
    """The budget of a statement; ``None`` for the default of the kind.

    Args:
        radius: Radius that the caller asked for, or ``None``.

    Raises:
        InputError: If the radius is negative or not a finite number.
    """
    if radius is None:
        return None
    number = real_number("radius", radius.item() if isinstance(radius, Tensor) and radius.numel() == 1 else radius)
    if not 0 <= number < math.inf:
        raise InputError(f"radius must be a finite number of at least 0, got {radius}")
    return number or None


def checked_radii(radii: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Radii as an array.

    Args:
        radii: Radii that the caller asked for.

    Raises:
        InputError: If one is negative or no finite number.
    """
    try:
        numbers = np.asarray(radii, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"radii must be numbers, got {radii!r:.80}") from None
    if not bool(np.all((numbers >= 0) & np.isfinite(numbers))):
        raise InputError(f"radii must be finite numbers of at least 0, got {numbers.ravel().tolist()!r:.80}")
    return numbers


def as_stored(radii: Sequence[float] | Tensor) -> npt.NDArray[np.float32]:
    """Radii in the precision of those that results hold, to compare them.

    A stored radius that is larger than a rounded one is larger than the number itself, too: no other number of this
    precision lies between the two.

    Args:
        radii: Numbers; one that is too large becomes infinity.
    """
    with np.errstate(over="ignore"):
        return np.asarray(radii, np.float64).astype(np.float32)


def round_down(values: Any) -> Tensor:
    """Round float64 values down to float32: a stored radius must not exceed the proven radius.

    Args:
        values: Values of any shape.
    """
    exact = torch.as_tensor(values, dtype=torch.float64)
    single = exact.to(torch.float32)
    lower = torch.nextafter(single, torch.full_like(single, -torch.inf))
    return torch.where(single.double() > exact, lower, single)
