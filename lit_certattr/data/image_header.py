"""Opening an image file safely, and reading from its header how numbers are stored in it."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, NamedTuple

import tifffile
from PIL import Image, UnidentifiedImageError

from lit_certattr.data.sample import ImageError
from lit_certattr.errors import InputError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, whatever the file extension. Other formats of Pillow run programs (EPS: Ghostscript)."""

MAX_PIXELS = 178_956_970
"""Largest width x height that is decoded by default: Pillow's limit."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3}
"""Samples that each photometric interpretation of TIFF needs; any others are alpha or unnamed bands."""


class Header(NamedTuple):
    """What the header of a file says about its numbers.

    Attributes:
        kind: Type of the numbers; ``bytes`` stands for all images with at most 8 bits per sample.
        full: The number that means white by default: the largest of the type, the maxval of PGM and PPM, 1 for floats;
            ``None`` if there is no such convention (signed integers).
        declared: The largest number as declared by the metadata, or ``None``.
        codec: The decoder for images with more than 8 bits.
        pages: Whether the file holds more images than the first.
        bands: Number of channels of a PNG file, including alpha.
        dropped: Whether there is an alpha channel or another band that is lost in a grayscale or RGB image.
        inverted: Whether 0 is white.
        compressed: Whether a TIFF file is compressed.
        interleaved: Whether the channels of a TIFF pixel are stored next to each other.
        orientation: EXIF orientation, 1 to 8, of a TIFF image with more than 8 bits.
    """

    kind: Literal["bytes", "unsigned", "signed", "float"] = "bytes"
    full: float | None = 255
    declared: float | None = None
    codec: Literal["pillow", "png", "netpbm", "tiff"] = "pillow"
    pages: bool = False
    bands: int = 1
    dropped: bool = False
    inverted: bool = False
    compressed: bool = False
    interleaved: bool = True
    orientation: int = 1


class OpenFile(NamedTuple):
    """An image file whose header has been read.

    Attributes:
        path: Path of the file.
        stream: The open file.
        header: How its numbers are stored.
        picture: Pillow's image, not yet decoded; ``None`` for TIFF files with more than 8 bits.
    """

    path: Path
    stream: IO[bytes]
    header: Header
    picture: Image.Image | None


@contextmanager
def open_image(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[OpenFile]:
    """Open an image file; every error inside the ``with`` block becomes one line that names the file.

    Args:
        path: The file.
        max_pixels: Largest width x height in pixels.

    Raises:
        ImageError: If the file is no regular file, cannot be read or decoded, or has more than ``max_pixels`` pixels.
    """
    if path.exists() and not path.is_file():
        raise ImageError(f"image {path} is not a regular file; remove it")
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # _check_size says how to raise the limit
    try:
        with path.open("rb") as stream:
            if stream.read(4) in _TIFF:
                header = _tiff_header(path, stream, max_pixels)
                if header.kind != "bytes":
                    yield OpenFile(path, stream, header, None)
                    return
            else:
                header = None
            stream.seek(0)
            with Image.open(stream, formats=FORMATS) as picture:
                _check_size(path, *picture.size, max_pixels)
                yield OpenFile(path, stream, header or _header(picture, stream), picture)
    except InputError:
        raise
    except PermissionError as error:
        raise ImageError(f"image {path} cannot be read ({error.strerror}); change its permissions") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"image {path} cannot be read (it holds none of {', '.join(FORMATS)}); repair or remove the file"
        ) from error
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ImageError(f"image {path} cannot be read ({reason}); repair or remove the file") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f"image {path} has {width} x {height} pixels, more than the limit of {max_pixels} that protects against "
            f"decompression bombs; set max_pixels to at least {width * height} if you trust the file"
        )


def _header(picture: Image.Image, stream: IO[bytes]) -> Header:
    """The header of everything but TIFF."""
    header = Header(
        pages=bool(getattr(picture, "is_animated", False)),
        dropped=picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info,
    )
    if picture.format == "PNG":
        stream.seek(24)
        depth, colour = stream.read(2)
        if depth == 16:
            header = header._replace(
                kind="unsigned",
                full=65535,
                declared=_significant_bits(stream),
                codec="png",
                bands={0: 1, 2: 3, 4: 2, 6: 4}.get(colour, 1),
            )
    elif picture.format == "PPM" and picture.mode not in ("1", "F"):
        maxval = netpbm_maxval(picture)
        if maxval != 255:
            declared = None if maxval == 65535 else maxval  # a program that knows no better writes 65535
            header = header._replace(kind="unsigned", full=maxval, declared=declared, codec="netpbm")
    elif picture.mode == "F":
        header = header._replace(kind="float", full=1)
    elif picture.mode.startswith("I"):
        header = header._replace(kind="signed", full=None)
    return header


def netpbm_maxval(picture: Image.Image) -> int:
    """The number that means white in a PGM or PPM file that Pillow has opened.

    Args:
        picture: The image.
    """
    arguments = picture.tile[0][3]  # type: ignore[attr-defined]
    if isinstance(arguments, str):
        return 65535 if arguments.startswith("I;16") else 255
    return int(arguments[-1])


def _significant_bits(stream: IO[bytes]) -> float | None:
    """Largest number of as many bits as PNG's sBIT chunk declares."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"sBIT" and 1 <= length <= 4:
            bits = max(stream.read(length))
            return float(2**bits - 1) if 0 < bits < 16 else None
        stream.seek(length + 4, 1)
    return None


@contextmanager
def open_tiff(stream: IO[bytes]) -> Iterator[tuple[tifffile.TiffFile, tifffile.TiffPage]]:
    """A TIFF file and its first page; tifffile's log is disabled, since its errors become exceptions.

    Args:
        stream: The open file; read from its beginning.

    Raises:
        ValueError: If the file has no page.
    """
    log = logging.getLogger("tifffile")
    silent, log.disabled = log.disabled, True
    stream.seek(0)
    try:
        with tifffile.TiffFile(stream) as file:
            try:
                page = file.pages.first
            except (IndexError, KeyError):
                raise ValueError("file is truncated or damaged") from None
            yield file, page
    finally:
        log.disabled = silent


def _tiff_header(path: Path, stream: IO[bytes], max_pixels: int) -> Header:
    with open_tiff(stream) as (file, page):
        samples, photometric = page.samplesperpixel, int(page.photometric)
        _check_size(path, page.imagewidth, page.imagelength, max_pixels)
        if page.imagedepth > 1 or (samples > 2 and photometric in (0, 1)):
            what = f"{samples} bands that are no colours" if samples > 2 else f"{page.imagedepth} layers of a volume"
            raise ImageError(f"image {path} holds {what}; convert it to grayscale or RGB")
        header = Header(
            pages=len(file.pages) > 1,
            dropped=samples > _COLOURS.get(photometric, samples),
        )
        bits = page.bitspersample
        if page.dtype is None or (bits <= 8 and page.dtype.kind in "ub"):
            return header
        if page.dtype.kind not in "uif" or photometric not in (0, 1, 2):
            name = getattr(page.photometric, "name", photometric)
            raise ImageError(
                f"image {path} holds {bits}-bit {name} samples of type {page.dtype}, which are not read; convert it to "
                "grayscale or RGB"
            )
        orientation = page.tags.valueof(274, 1)
        kinds: dict[str, tuple[Literal["unsigned", "signed", "float"], float | None]] = {
            "u": ("unsigned", float(2**bits - 1)),
            "i": ("signed", None),
            "f": ("float", 1.0),
        }
        kind, full = kinds[page.dtype.kind]
        return header._replace(
            kind=kind,
            full=full,
            declared=_declared_by_tiff(page),
            codec="tiff",
            inverted=photometric == 0,
            compressed=page.compression != 1,
            interleaved=page.planarconfig != 2,
            orientation=orientation if isinstance(orientation, int) else 1,
        )


def _declared_by_tiff(page: tifffile.TiffPage) -> float | None:
    """Largest number by the tags MaxSampleValue and SMaxSampleValue, or by OME's SignificantBits."""
    for tag in (281, 341):
        value = page.tags.valueof(tag)
        if value is not None:
            return float(max(value) if isinstance(value, tuple) else value)
    found = re.search(r'SignificantBits="(\d{1,2})"', page.description)
    return float(2 ** int(found[1]) - 1) if found else None
