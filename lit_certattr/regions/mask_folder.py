"""Masks that the user has made: one file per image, or one file of annotations for all."""

from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import torch
from PIL import ImageOps
from torch import Tensor
from typing_extensions import override

from lit_certattr.data.image_header import MAX_PIXELS, open_image
from lit_certattr.data.images import IMAGE_SUFFIXES
from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import check_file
from lit_certattr.partitions import Regions, check_partition
from lit_certattr.regions.coco import annotations_of, draw
from lit_certattr.regions.nearest import nearest

_SUFFIXES = (".png", ".npy", ".json")
_FOR_ALL = "instances*.json"
"""Name of the file with the annotations of all images; COCO calls its own ``instances_val2017.json``."""
_INTEGER_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes of Pillow whose numbers are labels; a palette is an integer mask in colours."""
_MAX_BYTES = MAX_PIXELS
"""Largest size in bytes of a mask file."""


class MaskFolder(Regions):
    """Regions from mask files: organs, segments, boxes; one file per image, or one file of annotations for all.

    The mask of the image with id ``cat__001.jpg`` (the path ``cat/001.jpg`` below the root of its folder) is the file
    ``cat/001.png``, or ``cat__001.png``, or either with the extension of the image kept (``cat/001.jpg.png``), or the
    same with ``.npy`` or ``.json``. If the path holds blanks or other alphabets, the id ends in a hash: name the mask
    by the id.

    A PNG file (grayscale, palette, 1 to 16 bits) or a NumPy array ``[H, W]`` holds one whole number per pixel: each
    number above 0 that occurs is a region, in rising order, and 0 is no region unless ``background`` is set. A NumPy
    array of booleans ``[m, H, W]`` holds m regions, which may overlap.

    A JSON file holds annotations as those of COCO: ``images`` (``id``, ``file_name``, ``height``, ``width``) and
    ``annotations`` (``image_id``, ``category_id``, and ``segmentation`` or ``bbox``). Each annotation is a region, and
    they may overlap: polygons, run lengths (plain ones; the compressed ones of pycocotools are refused), or else the
    box. Instead of a file for each image, one file ``instances*.json`` in the folder may hold all of them, found by
    ``file_name``, with or without its extension.

    Masks of another size are scaled to that of the image by nearest neighbour. They must have its aspect ratio, up to
    less than one pixel of the coarser of the two where both sides are scaled, and exactly where one side is the same:
    what cuts images to squares does not cut masks.

    Args:
        path: The folder.
        background: Whether the pixels with number 0 (for boolean masks: those in no region) are a region too: the
            first one (for boolean masks: the last one).

    Raises:
        InputError: If a setting is of another kind; when called, if there is no such folder, no mask for an image or
            more than one, or if the file is damaged, too large, holds no labels, has another aspect ratio, or holds an
            empty region.
    """

    def __init__(self, path: str, background: bool = False) -> None:
        if not isinstance(path, str | Path):
            raise InputError(f"path of the masks must be the path of a folder, got {path!r:.80}")
        if not isinstance(background, bool):
            raise InputError(f"background must be true or false, got {background!r:.80}")
        self.path, self.background = path, background

    @override
    def in_words(self) -> str:
        return f"the mask files in {self.path}"

    @override
    def __call__(self, image: Tensor, image_id: str) -> Tensor:
        return self.numbered(image, image_id)[0]

    @override
    def numbered(self, image: Tensor, image_id: str) -> tuple[Tensor, list[int]]:
        """The regions with their numbers: those in the file, category ids, or for boolean masks their positions."""
        file, names = self._file(image_id)
        height, width = image.shape[-2:]
        if file.suffix == ".json":
            return self._annotated(file, names, (height, width))
        return mask_of(file, (height, width), self.background)

    def _annotated(self, file: Path, names: list[str], size: tuple[int, int]) -> tuple[Tensor, list[int]]:
        """The regions of an image from a file of annotations."""
        annotated = annotations_of(file, names)
        if annotated is None:
            raise InputError(f"annotations {file} have no image named {names[0]}: add it, or a mask of its own")
        _check_ratio(file, (annotated.height, annotated.width), size)
        masks, numbers = draw(file, annotated, size)
        positions = np.arange(len(masks))
        _check_kept(file, np.ones(len(masks), bool), np.asarray(masks.any(axis=(1, 2))), positions, size)
        partition = _with_rest(torch.from_numpy(masks), self.background)
        rest = [max(numbers, default=0) + 1] * (len(partition) - len(masks))
        return check_partition(partition, size, f"image {names[0]} in {file}"), numbers + rest

    def _file(self, image_id: str) -> tuple[Path, list[str]]:
        """The one mask of an image, and the names of the image, the likeliest first."""
        root, stems = Path(self.path).expanduser(), []
        if not root.is_dir():
            reason = (
                "it is a file, not a folder" if root.exists() else f"there is no such folder, seen from {Path.cwd()}"
            )
            raise InputError(f"mask folder {self.path}: {reason}")
        for name in (image_id.replace("__", "/"), image_id):
            stem, dot, suffix = name.rpartition(".")
            stems += [*([stem] if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else []), name]
        stems = list(dict.fromkeys(stems))
        names = [f"{each}{ending}" for each in stems for ending in _SUFFIXES]
        if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in names):
            raise InputError(f"the id of image {image_id} leads out of the mask folder; rename the image")
        try:
            found = [root / name for name in names if (root / name).exists()]
            shared = sorted(root.glob(_FOR_ALL))
        except (OSError, ValueError) as error:  # a name that is too long, no permission, a zero byte
            raise InputError(f"the mask of image {image_id} cannot be looked up in {root}: {error}") from None
        if not found and len(shared) > 1:
            raise InputError(
                f"{root} has several files of annotations: {shared[0].name} and {shared[1].name}; keep one"
            )
        found = found or shared
        if not found:
            raise InputError(f"image {image_id} has no mask in {root}: add one as {names[0]} or {names[1]}")
        if len(found) > 1:
            raise InputError(f"image {image_id} has several masks: {found[0]} and {found[1]}; remove all but one")
        return found[0], stems


def mask_of(file: Path, size: tuple[int, int], background: bool) -> tuple[Tensor, list[int]]:
    """The regions in one mask file, scaled to an image, with their numbers in the file.

    Args:
        file: A PNG file or a NumPy array, as :class:`MaskFolder` reads them.
        size: Height and width of the image.
        background: Whether pixels with number 0, or in no mask, are a region too.

    Raises:
        InputError: If the file is missing, damaged or no mask, has another aspect ratio, or holds an empty region.
    """
    array = _array(file) if file.suffix == ".npy" else _picture(file)
    _check_ratio(file, array.shape[-2:], size)
    scaled = nearest(array, *size)
    if array.dtype == np.bool_ and array.ndim == 3:
        before, after = (np.asarray(one.reshape(len(one), -1).any(axis=1)) for one in (array, scaled))
        _check_kept(file, before, after, np.arange(len(array)), size)
        partition = _with_rest(torch.from_numpy(scaled), background)
        numbers = np.arange(len(partition))
    else:
        numbers = np.unique(array)
        _check_kept(file, np.ones(len(numbers), bool), np.isin(numbers, scaled), numbers, size)
        if not background:
            numbers = numbers[numbers > 0]
        found = np.searchsorted(numbers, scaled).clip(max=max(0, len(numbers) - 1))
        known = numbers[found] == scaled if len(numbers) else np.zeros(scaled.shape, bool)
        partition = torch.from_numpy(np.where(known, found, -1).astype(np.int64))
    return check_partition(partition, size, f"mask {file}"), numbers.tolist()


def _with_rest(masks: Tensor, background: bool) -> Tensor:
    """The masks, and the pixels in none of them where these are a region too."""
    rest = ~masks.any(0)
    return torch.cat([masks, rest[None]]) if background and bool(rest.any()) else masks


def _array(file: Path) -> npt.NDArray[np.generic]:
    """The array of a NumPy file; nothing in it is run, and no more is read than the file has."""
    check_file(file, _MAX_BYTES)
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # a damaged header raises whatever it leads to
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"mask {file} cannot be read ({reason}); save it with numpy.save") from None
    if (array.dtype.kind, array.ndim) not in {("i", 2), ("u", 2), ("b", 2), ("b", 3)}:
        got = f"{array.dtype} {list(array.shape)}"
        raise InputError(f"mask {file} must hold integers [H, W] or booleans [m, H, W], got {got}")
    if not array.size:
        raise InputError(f"mask {file} is empty, {list(array.shape)}: give it at least one pixel")
    copy = np.array(array, dtype=np.bool_ if array.ndim == 3 else None)
    return copy if copy.ndim == 3 else _whole_numbers(file, copy)


def _picture(file: Path) -> npt.NDArray[np.generic]:
    check_file(file, _MAX_BYTES)
    with open_image(file) as opened:
        if opened.picture is None or opened.picture.mode not in _INTEGER_MODES or opened.picture.format != "PNG":
            kind = "TIFF" if opened.picture is None else f"{opened.picture.format} in mode {opened.picture.mode}"
            raise InputError(f"mask {file} must be a PNG file with one whole number per pixel, got {kind}")
        return _whole_numbers(file, np.asarray(ImageOps.exif_transpose(opened.picture)))


def _whole_numbers(file: Path, array: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Labels as int64; none is negative or too large for it."""
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= 2**63:
        raise InputError(f"mask {file} must hold whole numbers of at least 0, got {low if low < 0 else high}")
    return array.astype(np.int64)


def _check_ratio(file: Path, of_mask: tuple[int, ...], of_image: tuple[int, int]) -> None:
    """Refuse a mask whose sides are not those of the image times one factor, up to the rounding of a scaled side."""
    (height, width), (rows, columns) = of_mask, of_image
    # Scaled to one common side, the other differs by less than one pixel of the coarser grid. Where a side is the same
    # nothing was scaled, so nothing was rounded.
    same = (height == rows) != (width == columns)
    if same or abs(height * columns - width * rows) >= max(height, width, rows, columns):
        raise InputError(
            f"mask {file} has {height} x {width} pixels, another aspect ratio than its image as the network sees it "
            f"({rows} x {columns}): cut the mask as the image was cut"
        )


def _check_kept(
    file: Path,
    before: npt.NDArray[np.bool_],
    after: npt.NDArray[np.bool_],
    numbers: npt.NDArray[np.generic],
    size: tuple[int, int],
) -> None:
    """Refuse a mask with an empty region, or with one too small for the size of the image."""
    if not before.all():
        raise InputError(f"region {numbers[int(before.argmin())]} of mask {file} is empty: remove it")
    if not after.all():
        raise InputError(
            f"region {numbers[int(after.argmin())]} of mask {file} has no pixel left at {size[0]} x {size[1]}: enlarge "
            "or remove it, or use larger images"
        )
