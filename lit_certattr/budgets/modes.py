"""The images in whose direction a nuisance changes an image: brightness, colour, illumination, the user's own."""

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import kind_of

MAX_MODES = 256
"""Most modes of one law; each costs a pass over the noisy images."""
_MAX_FILE = 2**30


class Group(NamedTuple):
    """Modes that share a strength.

    Attributes:
        name: What they change, e.g. ``"brightness"``.
        tau: Standard deviation of the amount of each.
        fields: Gives the modes ``[m, C, H, W]``, float64, for the shape ``(C, H, W)`` of an image.
        several: Whether there may be several, so that a bound is about the root of the sum of squares of their amounts.
    """

    name: str
    tau: float
    fields: Callable[[Sequence[int]], Tensor]
    several: bool = False


class Modes(NamedTuple):
    """The modes of an image of some shape.

    Attributes:
        names: Name of the group of each mode.
        tau: Standard deviations ``[m]``, float64.
        fields: The modes ``[m, C, H, W]``, float64.
    """

    names: tuple[str, ...]
    tau: Tensor
    fields: Tensor


@lru_cache(maxsize=4)
def stack(groups: tuple[Group, ...], shape: tuple[int, ...]) -> Modes:
    """The modes of several groups for one shape; the last few are kept, since all images of a run share them.

    Args:
        groups: The groups.
        shape: Shape ``(C, H, W)`` of an image.

    Raises:
        InputError: If a group has no modes of this shape.
    """
    found = [(group, group.fields(shape)) for group in groups]
    names = tuple(group.name for group, fields in found for _ in fields)
    tau = torch.tensor([group.tau for group, fields in found for _ in fields], dtype=torch.float64)
    if len(names) > MAX_MODES:
        raise InputError(f"{len(names)} modes are more than the {MAX_MODES} that are allowed")
    return Modes(names, tau, torch.cat([fields for _, fields in found]))


def uniform(shape: Sequence[int]) -> Tensor:
    """One mode: the same value at all pixels of all channels.

    Args:
        shape: Shape ``(C, H, W)`` of an image.
    """
    return torch.ones(1, *shape, dtype=torch.float64)


def each_channel(shape: Sequence[int]) -> Tensor:
    """One mode for each channel: the same value at all its pixels.

    Args:
        shape: Shape ``(C, H, W)`` of an image.
    """
    channels, height, width = shape
    return torch.eye(channels, dtype=torch.float64)[:, :, None, None].expand(-1, -1, height, width).contiguous()


def low_frequencies(shape: Sequence[int], order: int) -> Tensor:
    """Smooth fields, the same in all channels, with values in [-1, 1]: cosines of low frequency without the constant.

    Order 1 gives a ramp from left to right and one from top to bottom; order 2 adds fields that differ between the
    middle and the border, as vignetting does.

    Args:
        shape: Shape ``(C, H, W)`` of an image.
        order: Largest sum of the two frequencies, in half waves across the image; at least 1.

    Example:
        >>> low_frequencies((3, 8, 8), order=2).shape
        torch.Size([5, 3, 8, 8])
    """
    channels, height, width = shape
    y = torch.pi * (torch.arange(height, dtype=torch.float64) + 0.5) / height
    x = torch.pi * (torch.arange(width, dtype=torch.float64) + 0.5) / width
    fields = [
        torch.cos(rows * y)[:, None] * torch.cos(columns * x)[None]
        for total in range(1, order + 1)
        for rows in range(min(total, height - 1) + 1)
        if (columns := total - rows) < width
    ]
    return torch.stack(fields)[:, None].expand(-1, channels, -1, -1).contiguous() if fields else uniform(shape)[:0]


def vignette(shape: Sequence[int]) -> Tensor:
    """One mode: 0 in the middle of the image, growing with the square of the distance to 1 in the corners.

    Args:
        shape: Shape ``(C, H, W)`` of an image.
    """
    channels, height, width = shape
    y = (torch.arange(height, dtype=torch.float64) + 0.5) / height - 0.5
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5
    square = y.square()[:, None] + x.square()[None]
    return (square / square.max().clamp_min(1e-12))[None, None].expand(1, channels, -1, -1).contiguous()


def file_digest(path: str) -> str:
    """SHA-256 of a file of modes.

    Args:
        path: The file.

    Raises:
        InputError: If it cannot be read.
    """
    return hashlib.sha256(_bytes_of(path)).hexdigest()


def _bytes_of(path: str) -> bytes:
    place = Path(path)
    try:
        status = place.stat()
        if (kind := kind_of(status.st_mode)) is not None:
            raise InputError(f"modes: {path} is {kind}, not a .npy file")
        if status.st_size > _MAX_FILE:
            raise InputError(f"modes: {path} has {status.st_size} bytes, more than the {_MAX_FILE} that are allowed")
        return place.read_bytes()
    except OSError as error:
        raise InputError(f"modes: {path} cannot be read: {error.strerror}") from None


def from_file(shape: Sequence[int], path: str, sha256: str) -> Tensor:
    """The modes of a NumPy file.

    Args:
        shape: Shape ``(C, H, W)`` of an image.
        path: A ``.npy`` file with an array ``[m, C, H, W]``, or ``[m, H, W]`` for modes that are the same in all
            channels.
        sha256: Digest of its content.

    Raises:
        InputError: If the file has changed, is no such array, or has modes of another size, of zeros, or with values
            that are not finite.
    """
    content = _bytes_of(path)
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(f"modes: {path} has changed: its SHA-256 is {found[:16]}..., not {sha256[:16]}...")
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"modes: {path} is no .npy file of numbers ({reason}); write it with numpy.save") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim not in (3, 4):
        raise InputError(f"modes: {path} must hold an array [m, C, H, W] or [m, H, W] of numbers")
    fields = torch.from_numpy(values.astype(np.float64))
    fields = fields[:, None].expand(-1, shape[0], -1, -1) if fields.ndim == 3 else fields
    if tuple(fields.shape[1:]) != tuple(shape):
        given = " x ".join(map(str, values.shape[1:]))
        raise InputError(f"modes: those of {path} have the size {given}, the image has {' x '.join(map(str, shape))}")
    for number, field in enumerate(fields):
        largest = float(field.abs().max())
        if not math.isfinite(largest):
            raise InputError(f"modes: mode {number} of {path} has values that are NaN or infinite")
        if largest == 0:
            raise InputError(f"modes: mode {number} of {path} is zero everywhere")
    return fields.contiguous()
