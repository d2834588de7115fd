"""Decoding images without loss: 16-bit and 32-bit integers and floats."""

import re
import sys
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lit_certattr.data.image_header import FORMATS, OpenFile, netpbm_maxval, open_tiff
from lit_certattr.data.sample import ImageError

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray (ITU-R BT.601), as in Pillow's conversion of 8-bit images."""


def stored_numbers(file: OpenFile) -> tuple[NDArray, int]:
    """The numbers of an image with more than 8 bits, as they are stored.

    Args:
        file: An image with more than 8 bits per sample.

    Returns:
        ``[H, W, 1]`` or ``[H, W, 3]`` of the file's type, without alpha and further bands; and the EXIF
        orientation, 1 to 8.

    Raises:
        ImageError: If the file's compression is not supported. Any other exception means that the file is damaged.
    """
    array, orientation = _decoded(file)
    array = array.reshape(*array.shape[:2], -1)
    return array[..., : 3 if array.shape[2] >= 3 else 1], orientation


def _decoded(file: OpenFile) -> tuple[NDArray, int]:
    match file.header.codec:
        case "png":
            assert file.picture is not None
            array = _two_bytes(file) if file.header.bands > 1 else np.asarray(file.picture)
            return array, file.picture.getexif().get(0x0112, 1)
        case "netpbm":
            return _netpbm(file), 1
        case "tiff":
            by_pillow = _tiff_by_pillow(file) if file.header.compressed else None
            return (_tiff(file), file.header.orientation) if by_pillow is None else (by_pillow, 1)
        case _:
            return np.asarray(file.picture), 1


def number(value: float) -> str:
    """A number with all its digits, as short as possible.

    Args:
        value: Any float.

    Example:
        >>> number(4294967295.0), number(0.1)
        ('4294967295', '0.1')
    """
    return np.format_float_positional(value, trim="-")


def scaled(array: NDArray, file: OpenFile, white_level: float | None) -> NDArray:
    """Scale numbers to [0, 1].

    Args:
        array: The numbers, any shape.
        file: The file that holds them.
        white_level: The number that becomes 1; ``None`` for the full range of the type.

    Returns:
        float32 of the same shape.

    Raises:
        ImageError: If a number is not finite, negative or above white, or white is unknown.
    """
    path, header = file.path, file.header
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"image {path} has values that are not finite; repair or remove the file")
    if low < 0:
        raise ImageError(f"image {path} has negative values, down to {number(low)}; add an offset so that black is 0")
    white = header.full if white_level is None else white_level
    if white is None:
        raise ImageError(
            f"image {path} has signed integers (up to {number(high)}), whose white is unknown; set white_level to the "
            "number that means white, or to 'auto'"
        )
    if high > white:
        if white_level is None and header.kind == "float":
            raise ImageError(
                f"image {path} has floating-point values up to {number(high)}, outside [0, 1]; set white_level to the "
                "number that means white, or to 'auto'"
            )
        remedy = "repair or remove the file" if white_level is None else "set white_level higher"
        raise ImageError(f"image {path} has values up to {number(high)}, above white ({number(white)}); {remedy}")
    if header.full is not None and header.kind == "unsigned" and white > header.full:
        raise ImageError(
            f"white_level {number(white)} is above {number(header.full)}, the largest number that image {path} can "
            "hold; lower it"
        )
    result: NDArray = (array.astype(np.float64) / white).astype(np.float32)
    return 1 - result if header.inverted else result


def planes(values: NDArray, channels: int, orientation: int) -> list[Image.Image]:
    """Float images of Pillow, one per channel, upright, as grayscale (1 channel) or RGB (3).

    Args:
        values: float32 ``[H, W, 1 or 3]``.
        channels: 1 or 3.
        orientation: EXIF orientation, 1 to 8.
    """
    if channels == 1 and values.shape[2] == 3:
        values = (values.astype(np.float64) @ np.asarray(_LUMA)).astype(np.float32)[..., None]
    upright = []
    for channel in np.moveaxis(values, 2, 0):
        plane = Image.fromarray(np.ascontiguousarray(channel))
        plane.getexif()[0x0112] = orientation
        upright.append(ImageOps.exif_transpose(plane))
    return upright * channels if len(upright) == 1 else upright


def _netpbm(file: OpenFile) -> NDArray:
    """Pillow reads the header; its decoders would scale to 8 or 16 bits."""
    assert file.picture is not None
    codec, _, offset, _ = file.picture.tile[0]  # type: ignore[attr-defined]
    width, height = file.picture.size
    count = width * height * (3 if file.picture.mode == "RGB" else 1)
    file.stream.seek(offset)
    if codec == "ppm_plain":
        words = re.sub(rb"#[^\r\n]*", b"", file.stream.read()).split()[:count]
        numbers = np.array(words).astype(np.int64)
    else:
        kind = np.dtype(">u2" if netpbm_maxval(file.picture) > 255 else "u1")
        data = file.stream.read(count * kind.itemsize)
        numbers = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)
    if len(numbers) < count:
        raise ValueError("file is truncated")
    return numbers.reshape(height, width, -1)


def _two_bytes(file: OpenFile) -> NDArray:
    """16-bit numbers of an image with several channels, of which Pillow keeps the high bytes.

    Reading the two bytes of each number in the other order makes Pillow keep the low bytes.
    """
    high, low = (_one_byte(file, swapped) for swapped in (False, True))
    result: NDArray = high.astype(np.uint16) * 256 + low
    return result


def _one_byte(file: OpenFile, swapped: bool) -> NDArray:
    file.stream.seek(0)
    with Image.open(file.stream, formats=FORMATS) as picture:
        if picture.tile[0].args == "LA;16B":  # has no other order; its four bytes per pixel pass for 8-bit RGBA
            picture._mode = "RGBA"
            picture.tile = [tile._replace(args="RGBA") for tile in picture.tile]
            return np.asarray(picture)[..., int(swapped) :: 2]
        if swapped:
            picture.tile = [tile._replace(args=_swapped(tile.args)) for tile in picture.tile]
        return np.asarray(picture)


def _swapped(arguments: Any) -> Any:
    """Arguments of a decoder of Pillow with the other byte order in the raw mode, e.g. ``RGB;16B``."""
    if isinstance(arguments, tuple):
        return (_swapped(arguments[0]), *arguments[1:])
    little = arguments[-1] == "L" or (arguments[-1] == "N" and sys.byteorder == "little")
    return f"{arguments[:-1]}{'B' if little else 'L'}"


def _tiff_by_pillow(file: OpenFile) -> NDArray | None:
    """A compressed TIFF image, turned upright, or None where Pillow does not know the type.

    It knows more compressions than tifffile without imagecodecs, and never unpacks more than the image needs.
    """
    file.stream.seek(0)
    with suppress(UnidentifiedImageError), Image.open(file.stream, formats=FORMATS) as picture:
        if picture.mode.startswith(("I", "F")):
            array = np.asarray(picture)
            return array.view(np.uint32) if array.dtype == np.int32 and file.header.kind == "unsigned" else array
        if file.header.interleaved and ";16" in str(picture.tile[0].args):
            return _two_bytes(file)
    return None


def _tiff(file: OpenFile) -> NDArray:
    """All types of TIFF, as stored."""
    file.stream.seek(0, 2)
    size = file.stream.tell()
    with open_tiff(file.stream) as (_, page):
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if not ends or max(ends) > size or min(page.databytecounts) < 1:
            raise ValueError("file is truncated")
        try:
            array: NDArray = page.asarray()
        except (ValueError, NotImplementedError) as error:
            if "imagecodecs" not in str(error) and isinstance(error, ValueError):
                raise
            raise ImageError(
                f"image {file.path} is compressed in a way that needs another package: pip install imagecodecs, or "
                "save it without compression"
            ) from error
        array = np.moveaxis(array, 0, -1) if page.axes.startswith("S") else array
        if array.shape[:2] != (page.imagelength, page.imagewidth):
            raise ValueError(f"unexpected order of axes, {page.axes}")
        return array
