"""Random patches of images of any size, for training without labels."""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from lit_certattr.data.folders import existing_folder, image_contents
from lit_certattr.data.ids import safe_id
from lit_certattr.data.image_header import MAX_PIXELS
from lit_certattr.data.images import ImageFiles, read_picture, to_pixels
from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import NO_LABEL, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.settings import real_number, several, whole_number


class ImagePatches(ImageDataModule):
    """Patches of all images in a folder, at random places and scales: data for a denoiser, without labels.

    The folder may have any structure, and the images any size. A tenth of them is held out for validation: those whose
    paths below the root have the smallest hashes, so the choice stays the same, and adding images changes few. Of
    these, the central square is used, scaled to ``val_size``. Training patches are cut from the images as if these were
    scaled so that their short side is a random number of pixels in ``short_side``, and half of them are mirrored.

    All random numbers come from torch's generator, so a training that is resumed repeats them.

    Args:
        root: The folder; sub-folders are read too.
        size: Height and width of a patch in pixels.
        val_size: Height and width of the validation images; ``None``: as the patches. Set it to the size of the images
            of the network that judges the denoiser.
        short_side: Smallest and largest short side in pixels. Images that are smaller than this are enlarged only if
            they are smaller than a patch.
        channels: 3 for RGB, 1 for grayscale; images of the other kind are converted.
        patches_per_image: Patches of each training image per epoch.
        batch_size: Patches per batch, at least 1.
        num_workers: Processes that read images; 0 reads in the main process.
        cache_mb: Memory for decoded images in megabytes, of each process. New workers start in every epoch, and
            begin with an empty cache.
        white_level: The number that becomes 1.0 in images with more than 8 bits per sample; ``None`` for the largest of
            the file's type. All images are rounded to 8 bits.
        max_pixels: Largest width x height of a file in pixels, as protection against decompression bombs.

    Raises:
        InputError: If the folder is missing, cannot be read or has fewer than two images, or a number is out of range;
            on access, if a file is damaged or too large.

    Example:
        >>> import tempfile
        >>> root = tempfile.mkdtemp()
        >>> for name in ("a.png", "b.png"):
        ...     Image.new("RGB", (60, 40)).save(f"{root}/{name}")
        >>> data = ImagePatches(root, size=16, patches_per_image=10)
        >>> data.setup("fit")
        >>> len(data.train_set), data.train_set[0].image.shape, len(data.val_set)
        (10, torch.Size([3, 16, 16]), 1)
    """

    def __init__(
        self,
        root: str,
        size: int = 80,
        val_size: int | None = None,
        short_side: tuple[int, int] = (192, 448),
        channels: Literal[1, 3] = 3,
        patches_per_image: int = 32,
        batch_size: int = 16,
        num_workers: int = 0,
        cache_mb: float = 1024,
        white_level: float | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__(batch_size, num_workers)
        whole_number("size", size, least=1)
        self.val_size = size if val_size is None else whole_number("val_size", val_size, least=1)
        sides = [whole_number("short_side", side, least=1) for side in several("short_side", short_side, "[192, 448]")]
        if len(sides) != 2 or sides[0] > sides[1]:
            raise InputError(f"short_side must be two numbers, the smaller first, e.g. [192, 448], got {short_side}")
        if max(size, self.val_size, sides[1]) ** 2 > max(max_pixels, MAX_PIXELS):
            raise InputError(f"size, val_size or short_side makes images of more than {MAX_PIXELS} pixels; lower it")
        if channels not in (1, 3):
            raise InputError(f"channels must be 1 or 3, got {channels}")
        if not 0 <= real_number("cache_mb", cache_mb) < math.inf:
            raise InputError(f"cache_mb must be a number of megabytes, 0 or more, got {cache_mb}")
        if white_level is not None and not 0 < real_number("white_level", white_level) < math.inf:
            raise InputError(f"white_level must be a number above 0, or null, got {white_level}")
        whole_number("max_pixels", max_pixels, least=1)
        self.short_side = (sides[0], sides[1])
        self.patches_per_image = whole_number("patches_per_image", patches_per_image, least=1)
        self.cache_mb, self.white_level, self.max_pixels = cache_mb, white_level, max_pixels
        self.num_classes, self.class_names = 0, []
        self.image_shape = (channels, size, size)
        self.root = existing_folder(root)
        paths = image_contents(self.root).images
        if len(paths) < 2:
            raise InputError(f"image folder {root} holds one image; training and validation need at least two")
        by_hash = sorted(paths, key=lambda path: hashlib.sha256(safe_id(path.as_posix()).encode()).digest())
        held_out = set(by_hash[: -(-len(paths) // 10)])
        self._train = [path for path in paths if path not in held_out]
        self._val = [path for path in paths if path in held_out]

    def setup(self, stage: str) -> None:
        """Make the two sets; files are decoded when they are first used."""
        if self.train_set is not None:
            return  # the images in memory stay
        channels, size, _ = self.image_shape
        pictures = _Pictures(
            [self.root / path for path in self._train],
            channels,
            max(size, self.short_side[1]),
            self.white_level,
            self.max_pixels,
            self.cache_mb * 1e6,
        )
        ids = [f"{safe_id(path.as_posix())}-{k}" for path in self._train for k in range(self.patches_per_image)]
        patches = _Patches(pictures, size, self.short_side, self.patches_per_image)
        self.train_set = SampleSet(patches, [NO_LABEL] * len(ids), ids)
        paths = [self.root / path for path in self._val]
        squares = ImageFiles(paths, self.val_size, channels, 1.0, self.white_level, self.max_pixels)
        self.val_set = SampleSet(squares, [NO_LABEL] * len(paths), [safe_id(path.as_posix()) for path in self._val])


class _Pictures:
    """Decoded images, at most as large as they are needed; the most recently used stay in memory."""

    def __init__(
        self,
        paths: Sequence[Path],
        channels: int,
        short_side: int,
        white_level: float | None,
        max_pixels: int,
        max_bytes: float,
    ) -> None:
        self.paths, self.channels, self.short_side = paths, channels, short_side
        self.white_level, self.max_pixels, self.max_bytes = white_level, max_pixels, max_bytes
        self._kept: OrderedDict[int, Image.Image] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, index: int) -> Image.Image:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        picture = read_picture(self.paths[index], self.channels, self.white_level, self.max_pixels)
        factor = self.short_side / min(picture.size)
        if factor < 1:
            width, height = (max(self.short_side, round(factor * side)) for side in picture.size)
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        self._kept[index] = picture
        self._bytes += _num_bytes(picture)
        while self._bytes > self.max_bytes and self._kept:
            self._bytes -= _num_bytes(self._kept.popitem(last=False)[1])
        return picture


def _num_bytes(picture: Image.Image) -> int:
    return picture.width * picture.height * (1 if picture.mode == "L" else 4)  # Pillow keeps RGB in four bytes


class _Patches:
    """Random patches: ``patches_per_image`` of the first image, then of the second, ..."""

    def __init__(self, pictures: _Pictures, size: int, short_side: tuple[int, int], patches_per_image: int) -> None:
        self.pictures, self.size, self.short_side = pictures, size, short_side
        self.patches_per_image = patches_per_image

    def __getitem__(self, index: int) -> Tensor:
        return random_patch(self.pictures[index // self.patches_per_image], self.size, self.short_side).float() / 255


def random_patch(picture: Image.Image, size: int, short_side: tuple[int, int]) -> Tensor:
    """A square patch at a random place and scale, mirrored or not.

    Args:
        picture: Grayscale or RGB image.
        size: Height and width of the patch in pixels.
        short_side: Range of the short side to which the picture is scaled; it is enlarged only if it is smaller than
            the patch.

    Returns:
        uint8 ``[C, size, size]``.
    """
    scale, x, y, mirrored = torch.rand(4, dtype=torch.float64).tolist()
    short = min(picture.size)
    low, high = (max(size, min(side, short)) for side in short_side)
    side = size * short / (low + scale * (high - low))  # of the patch, in pixels of the picture
    left, top = x * (picture.width - side), y * (picture.height - side)
    right, bottom = min(left + side, picture.width), min(top + side, picture.height)
    patch = to_pixels(picture.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom)))
    return patch.flip(2) if mirrored < 0.5 else patch
