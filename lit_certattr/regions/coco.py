"""Annotations in the JSON format of COCO: boxes, polygons and run lengths, drawn at the size of the image."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_json
from lit_certattr.regions.nearest import centres
from lit_certattr.settings.extras import extra

MAX_JSON = 2**26
"""Largest size in bytes of a file of annotations; the instances of COCO's validation images have 20 MB."""
_MAX_SIDE = 2**20
_FAR = 2**40
_MAX_NUMBERS = 2**17
_DRAWN = 2**28  # regions x pixels of one image, as for all partitions

Masks = npt.NDArray[np.bool_]


class Annotated(NamedTuple):
    """The annotations of one image.

    Attributes:
        height: Height of the annotated image.
        width: Its width.
        annotations: One entry for each object.
    """

    height: int
    width: int
    annotations: Sequence[Mapping[str, Any]]


def annotations_of(file: Path, names: Sequence[str]) -> Annotated | None:
    """The entry of an image in a file of annotations.

    Args:
        file: The file; it is read once, as long as it stays the same.
        names: Names of the image, any of which may be its ``file_name``, with or without the extension.

    Returns:
        The entry; ``None`` if the file has none.

    Raises:
        InputError: If the file is no such JSON, or has several entries for the image.
    """
    try:
        status = file.stat()
        images, annotations = _read(file, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise InputError(f"annotations {file} cannot be read: {error.strerror}") from None
    found = {id(entry): entry for name in names for entry in images.get(name, ())}
    if len(found) > 1:
        raise InputError(f"annotations {file} have {len(found)} images named {names[0]}; keep one")
    if not found:
        return None
    entry = next(iter(found.values()))
    height, width = (_side(file, entry, side) for side in ("height", "width"))
    return Annotated(height, width, annotations.get(entry["id"], ()))


def draw(file: Path, annotated: Annotated, size: tuple[int, int]) -> tuple[Masks, list[int]]:
    """The objects of an image as masks: a pixel is inside if its centre is.

    Args:
        file: The file, for messages.
        annotated: The annotations of the image.
        size: Height and width of the masks; the annotated image is scaled to them.

    Returns:
        Masks ``[m, H, W]``, which may be empty, and the category id of each.

    Raises:
        InputError: If an annotation is no box, polygons or plain run lengths, or there are too many for the size.
    """
    if len(annotated.annotations) * size[0] * size[1] > _DRAWN:
        raise InputError(f"annotations {file}: {len(annotated.annotations)} objects in one image are too many")
    masks, numbers = np.zeros((len(annotated.annotations), *size), dtype=bool), []
    for mask, entry in zip(masks, annotated.annotations, strict=True):
        number = entry.get("category_id")
        if not isinstance(number, int) or isinstance(number, bool):
            raise InputError(f"{_name(file, entry)} has no category_id that is a whole number")
        numbers.append(number)
        outline = entry.get("segmentation")
        if isinstance(outline, Mapping):
            mask |= _run_lengths(file, entry, outline, annotated, size)
        elif outline:
            mask |= _polygons(file, entry, outline, annotated, size)
        else:
            mask |= _box(file, entry, annotated, size)
    return masks, numbers


@lru_cache(maxsize=2)
def _read(file: Path, changed: int, num_bytes: int) -> tuple[dict[str, list[Any]], dict[Any, list[Any]]]:
    """Images by each of their names, and annotations by the id of their image."""
    try:
        content = read_json(file, MAX_JSON)
    except ValueError as error:  # InputError is one
        if isinstance(error, InputError):
            raise
        raise InputError(f"annotations {file} are no JSON ({' '.join(str(error).split())})") from None
    parts = [content.get(key) if isinstance(content, Mapping) else None for key in ("images", "annotations")]
    if not all(isinstance(part, list) and all(isinstance(one, Mapping) for one in part) for part in parts):
        raise InputError(
            f"annotations {file} must be a JSON object with lists of objects named images and annotations, as in COCO"
        )
    images: dict[str, list[Any]] = {}
    annotations: dict[Any, list[Any]] = {}
    for entry in parts[0] or ():
        name, key = entry.get("file_name"), entry.get("id")
        if not isinstance(name, str) or not isinstance(key, int | str):
            raise InputError(f"annotations {file}: each entry of images needs a file_name and an id")
        stem, dot, _ = name.rpartition(".")
        for one in {name, stem} if dot and stem else {name}:
            images.setdefault(one, []).append(entry)
    for entry in parts[1] or ():
        if not isinstance(entry.get("image_id"), int | str):
            raise InputError(f"annotations {file}: each annotation needs an image_id")
        annotations.setdefault(entry["image_id"], []).append(entry)
    return images, annotations


def _side(file: Path, entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_SIDE:
        raise InputError(f"annotations {file}: {name} of image {entry['file_name']!r:.80} must lie in 1 to {_MAX_SIDE}")
    return value


def _name(file: Path, entry: Mapping[str, Any]) -> str:
    return f"annotations {file}: annotation {str(entry.get('id'))[:40]!r} of image {str(entry.get('image_id'))[:40]!r}"


def _numbers(file: Path, entry: Mapping[str, Any], values: Any, what: str) -> list[float]:
    """A list of numbers that is not too long."""
    if not isinstance(values, list) or len(values) > _MAX_NUMBERS:
        raise InputError(f"{_name(file, entry)}: {what} must be a list of at most {_MAX_NUMBERS} numbers")
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and -_FAR <= one <= _FAR for one in values):
        raise InputError(f"{_name(file, entry)}: {what} must hold numbers of at most {_FAR} only")
    return values


def _box(file: Path, entry: Mapping[str, Any], annotated: Annotated, size: tuple[int, int]) -> Masks:
    values = _numbers(file, entry, entry.get("bbox"), "bbox")
    if len(values) != 4 or min(values[2:]) <= 0:
        raise InputError(f"{_name(file, entry)}: bbox must be [left, top, width, height] with a positive size")
    left, top, width, height = values
    rows, columns = (
        (np.arange(new) + 0.5) * old / new for new, old in zip(size, (annotated.height, annotated.width), strict=True)
    )
    inside: Masks = ((rows >= top) & (rows < top + height))[:, None] & ((columns >= left) & (columns < left + width))
    return inside


def _polygons(file: Path, entry: Mapping[str, Any], outline: Any, annotated: Annotated, size: tuple[int, int]) -> Masks:
    with extra("regions", "a polygon of COCO"):
        from skimage.draw import polygon2mask  # here, because other runs need not wait for it

    if not isinstance(outline, list):
        raise InputError(f"{_name(file, entry)}: segmentation must be a list of polygons or run lengths")
    mask = np.zeros(size, dtype=bool)
    for corners in outline:
        values = _numbers(file, entry, corners, "a polygon")
        if len(values) < 6 or len(values) % 2:
            raise InputError(f"{_name(file, entry)}: a polygon must be [x1, y1, x2, y2, ...] with at least 3 corners")
        points = np.asarray(values, dtype=np.float64).reshape(-1, 2)[:, ::-1]
        # The centre of a pixel has whole numbers there, and halves in COCO.
        scaled = points * (np.asarray(size) / (annotated.height, annotated.width)) - 0.5
        mask |= polygon2mask(size, scaled)
    return mask


def _run_lengths(
    file: Path, entry: Mapping[str, Any], outline: Mapping[str, Any], annotated: Annotated, size: tuple[int, int]
) -> Masks:
    if isinstance(outline.get("counts"), str):
        raise InputError(
            f"{_name(file, entry)} has compressed run lengths, which are not read here: save plain counts, polygons, "
            "or the masks as PNG files"
        )
    counts = _numbers(file, entry, outline.get("counts"), "counts")
    height, width = annotated.height, annotated.width
    if outline.get("size") != [height, width]:
        raise InputError(f"{_name(file, entry)}: size must be that of its image, [{height}, {width}]")
    if not all(isinstance(one, int) and one >= 0 for one in counts) or sum(counts) != height * width:
        raise InputError(f"{_name(file, entry)}: counts must be whole numbers that add up to {height * width} pixels")
    ends = np.cumsum(np.asarray(counts, dtype=np.int64))  # of runs of 0, 1, 0, ... down the columns
    rows, columns = centres(height, size[0]), centres(width, size[1])
    inside: Masks = np.searchsorted(ends, columns[None] * height + rows[:, None], side="right") % 2 == 1
    return inside
