"""Reading images of any size and format as tensors of one size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lit_certattr.data.image_header import MAX_PIXELS, OpenFile, open_image
from lit_certattr.data.image_numbers import planes, scaled, stored_numbers
from lit_certattr.data.sample import ImageError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Extensions, in any letter case, of files that are images."""


JPEG_SUFFIXES = frozenset({".jpeg", ".jpg"})
"""Extensions of files with 8 bits, one page and no alpha, whose headers need not be read in advance."""


def centre_square(picture: Image.Image, size: int, crop: float = 1.0) -> Image.Image:
    """The central square of a picture, scaled to ``size`` by antialiased bicubic interpolation.

    Args:
        picture: Image of any size.
        size: Height and width of the result in pixels.
        crop: Side of the square as a share of the short side; 0.875 is the usual ImageNet preparation
            (256 down to 224).
    """
    width, height = picture.size
    side = min(width, height) * crop
    left, top = (width - side) / 2, (height - side) / 2
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def to_pixels(picture: Image.Image) -> Tensor:
    """uint8 ``[C, H, W]`` of a grayscale or RGB picture.

    Args:
        picture: Grayscale or RGB image.
    """
    return torch.from_numpy(np.array(picture, dtype=np.uint8)).reshape(*picture.size[::-1], -1).permute(2, 0, 1)


def eight_bits(stored: Image.Image, channels: int) -> Image.Image:
    """A picture of at most 8 bits per sample, upright, as grayscale (1 channel) or RGB (3), without alpha.

    Args:
        stored: The picture, as Pillow opens it.
        channels: 1 (grayscale) or 3 (RGB).
    """
    picture: Image.Image = ImageOps.exif_transpose(stored)
    picture.load()
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    elif picture.mode in ("RGBa", "La", "LAB"):  # what Pillow converts in two steps only
        picture = picture.convert({"RGBa": "RGBA", "La": "LA", "LAB": "RGB"}[picture.mode])
    return picture.convert("RGB" if channels == 3 else "L")


def read_image(
    path: Path,
    size: int,
    channels: int = 3,
    crop: float = 1.0,
    white_level: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Tensor:
    """Decode an image file completely and scale its centre to one size.

    Images of at most 8 bits are resized as bytes; others, and all images with a ``white_level`` below 255, as float32.
    Transparency is dropped; of an animation or a file with several pages, the first is used.

    Args:
        path: The file.
        size: Height and width of the result.
        channels: 1 (grayscale) or 3 (RGB).
        crop: See :func:`centre_square`.
        white_level: The number that becomes 1.0; ``None`` for the largest of the file's type. A number of 255 or more
            does not affect images of 8 bits.
        max_pixels: Largest width x height of a file in pixels.

    Returns:
        float32 ``[C, size, size]`` in [0, 1].

    Raises:
        ImageError: If the file cannot be decoded, is truncated or too large, or its numbers do not fit the white level.
    """
    with open_image(path, max_pixels) as file:
        _check_suffix(path, file)
        if _is_in_bytes(file, white_level):
            return to_pixels(centre_square(_in_bytes(file, channels), size, crop)).float() / 255
        upright = _float_planes(file, channels, white_level)
    squares = [np.asarray(centre_square(plane, size, crop)) for plane in upright]
    return torch.from_numpy(np.stack(squares)).clamp(0, 1)  # the bicubic kernel overshoots at edges


def read_picture(
    path: Path, channels: int = 3, white_level: float | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode an image file completely, in its own size, as 8 bits per channel.

    Args:
        path: The file.
        channels: 1 (grayscale) or 3 (RGB).
        white_level: See :func:`read_image`; numbers of more than 8 bits are rounded to 8.
        max_pixels: Largest width x height of a file in pixels.

    Raises:
        ImageError: As :func:`read_image`.
    """
    with open_image(path, max_pixels) as file:
        if _is_in_bytes(file, white_level):
            return _in_bytes(file, channels)
        upright = _float_planes(file, channels, white_level)
    bands = [Image.fromarray(np.rint(np.asarray(plane) * 255).astype(np.uint8)) for plane in upright]
    return Image.merge("RGB", bands) if channels == 3 else bands[0]


def read_whole_image(path: Path, channels: int | None = None, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Decode an image file completely, in its own size.

    Args:
        path: The file.
        channels: 1 (grayscale) or 3 (RGB); ``None`` for what the file holds.
        max_pixels: Largest width x height of a file in pixels.

    Returns:
        float32 ``[C, H, W]`` in [0, 1].

    Raises:
        ImageError: As :func:`read_image`.
    """
    with open_image(path, max_pixels) as file:
        if _is_in_bytes(file, None):
            return to_pixels(_in_bytes(file, channels)).float() / 255
        upright = _float_planes(file, channels, None)
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in upright]))


def read_unscaled(
    path: Path, channels: int = 3, white_level: float | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image | Tensor:
    """Decode an image file completely, in its own size, as torchvision's transforms expect it.

    Args:
        path: The file.
        channels: 1 (grayscale) or 3 (RGB).
        white_level: See :func:`read_image`.
        max_pixels: Largest width x height of a file in pixels.

    Returns:
        A picture of 8 bits; of a file with more bits, float32 ``[C, H, W]`` in [0, 1].

    Raises:
        ImageError: As :func:`read_image`.
    """
    with open_image(path, max_pixels) as file:
        _check_suffix(path, file)
        if _is_in_bytes(file, white_level):
            return _in_bytes(file, channels)
        upright = _float_planes(file, channels, white_level)
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in upright]))


def own_channels(picture: Image.Image) -> int:
    """1 for a picture without colours, else 3.

    Args:
        picture: The picture.

    Example:
        >>> own_channels(Image.new("LA", (2, 2))), own_channels(Image.new("P", (2, 2)))
        (1, 3)
    """
    return 1 if picture.mode in ("1", "L", "LA", "La", "F") or picture.mode.startswith("I") else 3


def _in_bytes(file: OpenFile, channels: int | None) -> Image.Image:
    assert file.picture is not None
    return eight_bits(file.picture, channels or own_channels(file.picture))


def _check_suffix(path: Path, file: OpenFile) -> None:
    """Refuse a file of more than 8 bits whose header nobody has read, because of its name."""
    if file.header.kind != "bytes" and path.suffix.lower() in JPEG_SUFFIXES:
        raise ImageError(f"image {path} is no JPEG file and has more than 8 bits; rename it as its format requires")


def _is_in_bytes(file: OpenFile, white_level: float | None) -> bool:
    return file.header.kind == "bytes" and (white_level is None or white_level >= 255)


def _float_planes(file: OpenFile, channels: int | None, white_level: float | None) -> list[Image.Image]:
    """The channels of an open file in [0, 1]."""
    if file.header.kind == "bytes":
        picture = _in_bytes(file, channels)
        array, orientation = np.asarray(picture).reshape(*picture.size[::-1], -1), 1
    else:
        array, orientation = stored_numbers(file)
    return planes(scaled(array, file, white_level), channels or array.shape[2], orientation)


class ImageFiles:
    """Image files, read by :func:`read_image` on access.

    Args:
        paths: One file per image.
        size: Height and width in pixels.
        channels: 1 (grayscale) or 3 (RGB).
        crop: See :func:`centre_square`.
        white_level: See :func:`read_image`.
        max_pixels: Largest width x height of a file.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        channels: int = 3,
        crop: float = 1.0,
        white_level: float | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.paths = paths
        self.size = size
        self.channels = channels
        self.crop = crop
        self.white_level = white_level
        self.max_pixels = max_pixels

    def __getitem__(self, index: int) -> Tensor:
        return read_image(self.paths[index], self.size, self.channels, self.crop, self.white_level, self.max_pixels)
