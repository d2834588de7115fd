"""Reading pictures of any size and kind as tensors of one size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lit_certattr.data.sample import ImageError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Files with these endings (in any case) count as images."""


def centre_square(picture: Image.Image, size: int, crop: float = 1.0) -> Image.Image:
    """The central square of a picture, scaled to ``size`` by antialiased bicubic interpolation.

    Args:
        picture: Of any size.
        size: Height and width of the result in pixels.
        crop: Side of the square as a share of the short side; 0.875 is the usual ImageNet preparation
            (256 down to 224).
    """
    width, height = picture.size
    side = min(width, height) * crop
    left, top = (width - side) / 2, (height - side) / 2
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def to_pixels(picture: Image.Image) -> Tensor:
    """uint8 ``[C, H, W]`` of a grayscale or RGB picture."""
    return torch.from_numpy(np.array(picture, dtype=np.uint8)).reshape(*picture.size[::-1], -1).permute(2, 0, 1)


def read_picture(path: Path, channels: int) -> Image.Image:
    """Decode an image file completely, upright, as grayscale (1 channel) or RGB (3).

    16-bit images are reduced to 8 bits; transparency is dropped; of an animation the first frame counts.

    Raises:
        ImageError: If the file cannot be decoded, is cut short, or has 32-bit pixels.
    """
    try:
        with Image.open(path) as opened:
            picture: Image.Image = ImageOps.exif_transpose(opened)
            picture.load()
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ImageError(f"image {path} cannot be read ({reason}); repair or remove the file") from error
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture).astype(np.uint16) // 257).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ImageError(f"image {path} has 32-bit pixels, whose range is unknown; convert it to 8 or 16 bits")
    elif "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB" if channels == 3 else "L")


class ImageFiles:
    """Image files, read when they are asked for.

    Args:
        paths: One file an image.
        size: Height and width in pixels that they are brought to by :func:`centre_square`.
        channels: 1 (grayscale) or 3 (RGB).
        crop: See :func:`centre_square`.
    """

    def __init__(self, paths: Sequence[Path], size: int, channels: int = 3, crop: float = 1.0) -> None:
        self.paths = paths
        self.size = size
        self.channels = channels
        self.crop = crop

    def __getitem__(self, index: int) -> Tensor:
        picture = read_picture(self.paths[index], self.channels)
        return to_pixels(centre_square(picture, self.size, self.crop)).float() / 255
