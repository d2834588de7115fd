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

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, of the same shape.

    Raises:
        InputError: If their shapes differ, they have no pixel, or a value is NaN or infinite.
    """
    pair = checked_maps(clean, perturbed)
    wider = torch.promote_types(pair[0].dtype, pair[1].dtype)
    return torch.stack([maps.to(wider) for maps in pair])


def checked_maps(clean: Tensor, perturbed: Tensor) -> list[Tensor]:
    """Both maps as ``[B, H, W]``, in at least float32; maps that are so already are not copied.

    Args:
        clean: Maps of the clean images ``[..., H, W]``.
        perturbed: Maps of the perturbed images, of the same shape.

    Raises:
        InputError: If their shapes differ, they have no pixel, or a value is NaN or infinite.
    """
    if clean.shape != perturbed.shape:
        raise InputError(f"clean {list(clean.shape)} and perturbed {list(perturbed.shape)} must have the same shape")
    pair = {"clean": clean, "perturbed": perturbed}
    return [checked_rows(maps, name).unflatten(1, maps.shape[-2:]) for name, maps in pair.items()]


def checked_rows(maps: Tensor, name: str = "maps") -> Tensor:
    """Maps ``[..., H, W]`` as rows ``[B, H * W]``, at least float32.

    Args:
        maps: Maps ``[..., H, W]``.
        name: Name of the maps in the message.

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
    """Number of pixels that ``k`` selects.

    Args:
        k: Share of the pixels in (0, 1), rounded down, or number of pixels.
        num_pixels: Number of pixels of the map.

    Raises:
        InputError: If ``k`` is neither, or selects no pixel or more than there are.

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
    """Check ``k`` and return it; 1.0 is refused, since it could mean all pixels or one.

    Args:
        k: Share of the pixels in (0, 1), or number of pixels.

    Raises:
        InputError: If it is neither.
    """
    whole = not isinstance(k, bool) and math.isfinite(k) and k >= 1 and int(k) == k
    if not (0 < k < 1 or whole) or (isinstance(k, float) and k == 1):
        raise InputError(f"k must be a share in (0, 1) or a whole number of pixels, got {k!r}")
    return k


def check_part(part: str, parts: Sequence[str] = get_args(Part)) -> None:
    """Refuse an unknown part of a score.

    Args:
        part: Name of the part.
        parts: Names that exist.

    Raises:
        InputError: If there is no such part.
    """
    if part not in parts:
        raise InputError(f"part must be one of {', '.join(parts)}, got {part!r}")


def part_of(score: Tensor, chance: Tensor, part: Part) -> Tensor:
    """The score, its chance level, or ``(score - chance) / (1 - chance)``: 1 is perfect, 0 chance, NaN if chance is 1.

    Args:
        score: Scores, any shape.
        chance: Their chance levels, of the same shape.
        part: ``"score"``, ``"chance"`` or ``"adjusted"``.

    Example:
        >>> part_of(torch.tensor(0.75), torch.tensor(0.5), "adjusted")
        tensor(0.5000)
    """
    check_part(part)
    if part == "adjusted":
        return torch.where(chance < 1, (score - chance) / (1 - chance), torch.nan)
    return score if part == "score" else chance
