"""A map that others are compared with: rows of numbers, or a file of them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.numbers.top_k_inside import check_k
from lit_certattr.smoothing import top_k_mask, top_k_size

Rows = str | Path | Sequence[Sequence[float]]
"""A map as rows of numbers, or the path of a ``.npy`` file that holds them."""


def read_reference(reference: Rows) -> Tensor:
    """The reference map, float64 ``[H, W]``.

    Args:
        reference: Rows of numbers, or the path of a ``.npy`` file.

    Raises:
        InputError: If it is no map of finite numbers that are not all equal.
    """
    what = str(reference) if isinstance(reference, str | Path) else "reference"
    try:
        rows = np.load(what, allow_pickle=False) if isinstance(reference, str | Path) else reference
        values = np.asarray(rows, dtype=np.float64)
    except FileNotFoundError:
        raise InputError(f"{what}: no such file; give the path of a .npy file, or rows of numbers") from None
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InputError(f"{what}: not a map of numbers ({' '.join(str(error).split())})") from None
    if values.ndim != 2 or not np.isfinite(values).all() or values.min() == values.max():
        raise InputError(f"{what}: a reference must be rows of finite numbers that are not all equal")
    return torch.from_numpy(values)


def digest_of(reference: Tensor) -> str:
    """First characters of the SHA-256 of a map, which tell one reference from another.

    Args:
        reference: The map.
    """
    return hashlib.sha256(reference.numpy().tobytes()).hexdigest()[:12]


def top_set(reference: Tensor, top_k: float) -> Tensor:
    """The K largest pixels of the reference, bool ``[H, W]``.

    Args:
        reference: The map.
        top_k: K, a share of the pixels or a number of pixels.
    """
    return top_k_mask(reference[None], top_k_size(top_k, reference.numel()))[0]


def check_reference(reference: Tensor, top_k: float, map_shape: Sequence[int]) -> None:
    """Refuse a reference of another shape than the maps, or a K that leaves out no pixel.

    Args:
        reference: The map.
        top_k: K, a share of the pixels or a number of pixels.
        map_shape: Height and width of the maps.

    Raises:
        InputError: Naming both shapes, or K.
    """
    if tuple(reference.shape) != tuple(map_shape):
        raise InputError(
            f"the reference is a map of shape {tuple(reference.shape)}, the maps have {tuple(map_shape)}: give a "
            "reference of their size"
        )
    check_k(top_k, map_shape, reference.numel(), "the map")
