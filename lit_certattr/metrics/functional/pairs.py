"""What all functions of a clean and a perturbed map share: their checks, and the parts of a number."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.smoothing.sparsify import flatten_maps
from lit_certattr.statistics import exact_share

Part = Literal["score", "chance", "adjusted"]


def checked_pair(clean: Tensor, perturbed: Tensor) -> Tensor:
    """Both maps ``[..., H, W]`` as one tensor ``[2, B, H, W]``, at least float32.

    Raises:
        InputError: If their shapes differ, they have no pixel, or a value is NaN or infinite.
    """
    pair = checked_maps(clean, perturbed)
    wider = torch.promote_types(pair[0].dtype, pair[1].dtype)
    return torch.stack([maps.to(wider) for maps in pair])


def checked_maps(clean: Tensor, perturbed: Tensor) -> list[Tensor]:
    """Both maps as ``[B, H, W]``, at least float32; not copied if they are. Raises as :func:`checked_pair`."""
    if clean.shape != perturbed.shape:
        raise InputError(f"clean {list(clean.shape)} and perturbed {list(perturbed.shape)} must have the same shape")
    pair = {"clean": clean, "perturbed": perturbed}
    return [checked_rows(maps, name).unflatten(1, maps.shape[-2:]) for name, maps in pair.items()]


def checked_rows(maps: Tensor, name: str = "maps") -> Tensor:
    """Maps ``[..., H, W]`` as rows ``[B, H * W]``, at least float32.

    Raises:
        InputError: If they have no pixel, or a value is NaN or infinite.
    """
    if maps.ndim < 2 or 0 in maps.shape[-2:]:
        raise InputError(f"{name} must be [..., H, W] with at least one pixel, got {list(maps.shape)}")
    rows = flatten_maps(maps)
    # The sum is a cheap witness. Where it overflows, look at each value.
    if not bool(rows.sum().isfinite()) and not bool(rows.isfinite().all()):
        first = int((~rows.isfinite()).any(1).nonzero()[0])
        raise InputError(f"{name}: map {first} has a value that is NaN or infinite")
    return rows


def set_size(k: float, num_pixels: int) -> int:
    """Number of pixels that ``k`` stands for: a share in (0, 1) (rounded down), or a count of up to all pixels.

    Example:
        >>> set_size(0.25, 16), set_size(16, 16)
        (4, 16)
    """
    check_k(k)
    size = exact_share(k, num_pixels) if k < 1 else int(k)
    if not 1 <= size <= num_pixels:
        raise InputError(f"k={k} selects {size} pixels of {num_pixels}; it must select 1 to {num_pixels}")
    return size


def check_k(k: float) -> float:
    """``k``, if it is a share or a count; 1.0 could be meant as either and is refused."""
    whole = not isinstance(k, bool) and math.isfinite(k) and k >= 1 and int(k) == k
    if not (0 < k < 1 or whole) or (isinstance(k, float) and k == 1):
        raise InputError(f"k must be a share in (0, 1) or a whole number of pixels, got {k!r}")
    return k


def check_part(part: str, parts: Sequence[str] = get_args(Part)) -> None:
    """Refuse a part that a number does not have."""
    if part not in parts:
        raise InputError(f"part must be one of {', '.join(parts)}, got {part!r}")


def part_of(score: Tensor, chance: Tensor, part: Part) -> Tensor:
    """The score, its chance level, or ``(score - chance) / (1 - chance)``: 1 is perfect, 0 chance, NaN if chance is 1.

    Example:
        >>> part_of(torch.tensor(0.75), torch.tensor(0.5), "adjusted")
        tensor(0.5000)
    """
    check_part(part)
    if part == "adjusted":
        return torch.where(chance < 1, (score - chance) / (1 - chance), torch.nan)
    return score if part == "score" else chance
