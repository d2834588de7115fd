"""Images as users have them in memory, or as files: float tensors ``[C, H, W]`` from each."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lit_certattr.data.image_numbers import planes
from lit_certattr.data.images import (
    centre_square,
    eight_bits,
    own_channels,
    read_image,
    read_whole_image,
    to_pixels,
)
from lit_certattr.data.sample import ImageError
from lit_certattr.files.address import as_address
from lit_certattr.files.home import at_home

_CHANNELS = (1, 3, 4)
"""Numbers that are taken for channels: grayscale, RGB, RGB with alpha."""
_FULL = {"b": 1, "u1": 255, "u2": 65535}
"""The number that means white, by the type of an array."""


def as_pixels(image: Any, name: str, channels: int | None = None, size: int | None = None) -> Tensor:
    """An image of any kind as a float tensor.

    - A path or a PIL picture becomes RGB or grayscale, upright, without alpha, as the folders of the command line.
    - A NumPy array is ``[H, W]``, ``[H, W, C]`` or, if only this fits, ``[C, H, W]``; integers of 8 and 16 bits are
      divided by 255 and 65,535, alpha is dropped, and gray is repeated where three channels are needed.
    - A tensor is ``[H, W]`` or ``[C, H, W]``; bytes are divided by 255.

    Floats are taken as they are; their range is not checked.

    Args:
        image: The image.
        name: Name of the image in messages.
        channels: Channels that the network takes; ``None`` if unknown.
        size: Height and width of the result: the central square of the image, scaled by antialiased bicubic
            interpolation; ``None`` for the size that the image has. The same bytes give the same result as a file, a
            picture, an array and a tensor: bytes are scaled as bytes, all other numbers as float32.

    Returns:
        Float ``[C, H, W]``.

    Raises:
        ImageError: If it is of another kind or type, or its axes cannot be told apart; the message names the remedy.

    Example:
        >>> as_pixels(Image.new("RGB", (40, 30)), "black", size=20).shape
        torch.Size([3, 20, 20])
        >>> as_pixels(np.full((2, 2, 3), 51, np.uint8), "dark").unique()
        tensor([0.2000])
    """
    picture_channels = channels if channels in (1, 3) else None
    if isinstance(image, str | Path):
        path = _existing(image)
        if size is None:
            return read_whole_image(path, picture_channels)
        wanted = picture_channels or len(read_whole_image(path))
        return read_image(path, size, wanted)
    if isinstance(image, Image.Image):
        return _of_picture(image, name, picture_channels or own_channels(image), size)
    pixels = _of_tensor(image, name, channels) if isinstance(image, Tensor) else _of_array(image, name, channels)
    if size is None or pixels.shape[1:] == (size, size):
        return pixels
    return _squares(pixels, size, in_bytes=str(image.dtype).removeprefix("torch.") == "uint8")


def _existing(image: str | Path) -> Path:
    path = at_home(image)
    if path.is_dir():
        raise ImageError(
            f"image {path} is a folder: give a list of files, sorted(Path({str(path)!r}).glob('*.jpg')), or certify "
            f"all of it with lit-certattr certify run --config certify/folder.yaml --images {path}"
        )
    if not path.exists():
        if (address := as_address(image)) is not None:
            raise ImageError(f"image {address} is an address: download it, and give the path of the file")
        raise ImageError(f"image {path}: no such file; from {Path.cwd()}, a relative path starts there")
    return path


def _of_picture(picture: Image.Image, name: str, channels: int, size: int | None) -> Tensor:
    if picture.mode == "I":
        raise ImageError(f"image {name}: the white of a PIL picture of mode I is unknown: give np.asarray(it) / white")
    if picture.mode == "F" or picture.mode.startswith("I;"):
        array = np.asarray(picture).astype(np.float32) / (1 if picture.mode == "F" else 65535)
        upright = planes(array[..., None], channels, picture.getexif().get(0x0112, 1))
        pixels = torch.from_numpy(np.stack([np.asarray(plane) for plane in upright]))
        return pixels if size is None else _squares(pixels, size)
    upright_picture = eight_bits(picture, channels)
    return to_pixels(upright_picture if size is None else centre_square(upright_picture, size)).float() / 255


def _squares(pixels: Tensor, size: int, in_bytes: bool = False) -> Tensor:
    """The central square, scaled plane by plane; rounded to bytes if the image was given in bytes."""
    given = (255 * pixels).round().to(torch.uint8) if in_bytes else pixels.float()
    squares = [np.asarray(centre_square(Image.fromarray(plane.numpy()), size)) for plane in given.cpu()]
    scaled = torch.from_numpy(np.stack(squares))
    if in_bytes:
        return scaled.float() / 255
    return scaled.clamp(float(pixels.min()), float(pixels.max()))  # the bicubic kernel overshoots at edges


def _of_tensor(image: Tensor, name: str, channels: int | None) -> Tensor:
    if image.layout != torch.strided or image.is_quantized:
        ordinary = "dequantize" if image.is_quantized else "to_dense"
        raise ImageError(f"image {name} must be an ordinary tensor: use image.{ordinary}()")
    pixels = image.detach().as_subclass(Tensor)
    if pixels.dtype in (torch.uint8, torch.bool):
        pixels = pixels.float() / (255 if pixels.dtype == torch.uint8 else 1)
    if not pixels.is_floating_point():
        raise ImageError(f"image {name} is {pixels.dtype}: use image.float() divided by the largest possible value")
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or not pixels.numel():
        raise ImageError(f"image {name} must be a tensor [C, H, W], got shape {list(pixels.shape)}")
    first, last = pixels.shape[0], pixels.shape[2]
    if last in _CHANNELS and first not in (*_CHANNELS, channels):
        raise ImageError(
            f"image {name} must be a tensor [C, H, W], got {list(pixels.shape)}: if the images are [H, W, C], use "
            "permute(2, 0, 1) on each"
        )
    return pixels


def _of_array(image: Any, name: str, channels: int | None) -> Tensor:
    if not isinstance(image, np.ndarray):
        inside = ": give images of it, e.g. next(iter(loader))[0]" if isinstance(image, Dataset | DataLoader) else ""
        raise ImageError(
            f"image {name} must be a path, a PIL picture, a NumPy array or a tensor, got {type(image).__name__}{inside}"
        )
    kind = image.dtype.kind if image.dtype.kind in "bf" else image.dtype.str[1:]
    if kind != "f" and kind not in _FULL:
        raise ImageError(f"image {name} is {image.dtype}: divide it by its largest possible value, image / white")
    wide = kind == "f" and image.dtype.itemsize > 4
    values: NDArray = image.astype(np.float64 if wide else np.float32)
    values /= _FULL.get(kind, 1)
    planes_first = _channels_first(values, name, channels)
    if len(planes_first) == 4 and channels != 4:
        planes_first = planes_first[:3]
    if len(planes_first) == 1 and channels == 3:
        planes_first = planes_first.repeat(3, axis=0)
    return torch.from_numpy(np.ascontiguousarray(planes_first))


def _channels_first(values: NDArray, name: str, channels: int | None) -> NDArray:
    """``[C, H, W]`` of an array; where both ends could be the channels, the last one is."""
    if values.ndim == 2:
        return values[None]
    if values.ndim == 3 and values.size:
        if values.shape[2] in (*_CHANNELS, channels):
            return np.moveaxis(values, 2, 0)
        if values.shape[0] in (*_CHANNELS, channels):
            return values
    raise ImageError(f"image {name} must be an array [H, W, C], [C, H, W] or [H, W], got shape {list(values.shape)}")
