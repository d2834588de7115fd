"""The number that means white in images with more than 8 bits per sample."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from lit_certattr.data.image_header import MAX_PIXELS, Header, open_image
from lit_certattr.data.image_numbers import number, stored_numbers
from lit_certattr.data.images import JPEG_SUFFIXES
from lit_certattr.data.sample import ImageError
from lit_certattr.errors import InputError

WhiteLevel = float | Literal["auto", "full"]

_LOOKED_AT = 64
"""Images whose numbers are read to find out how much of the range is used."""


def read_headers(paths: Sequence[Path], max_pixels: int = MAX_PIXELS) -> dict[Path, Header]:
    """The headers of all files that can hold more than 8 bits, several pages or alpha: all but JPEG.

    Args:
        paths: The files.
        max_pixels: Largest width x height of a file in pixels.

    Returns:
        Headers by path; a file that cannot be opened is left out, and reported when its image is accessed.
    """
    headers = {}
    for path in paths:
        if path.suffix.lower() not in JPEG_SUFFIXES:
            try:
                with open_image(path, max_pixels) as file:
                    headers[path] = file.header
            except ImageError:
                continue
    return headers


def warn_of_losses(headers: dict[Path, Header], root: Path) -> None:
    """Warn once, with numbers, of contents that are not used: later pages, and alpha or further bands.

    Args:
        headers: Headers by path.
        root: The folder of the images.
    """
    for name, what in (
        ("pages", "of {} with several pages or frames only the first is used"),
        ("dropped", "alpha or further bands are dropped from {}"),
    ):
        found = [path for path, header in headers.items() if getattr(header, name)]
        if found:
            files = f"{len(found)} file{'s' * (len(found) > 1)} (the first is {found[0].relative_to(root)})"
            rank_zero_warn(f"image folder {root}: {what.format(files)}")


def resolve_white_level(
    white_level: WhiteLevel, headers: dict[Path, Header], root: Path, max_pixels: int = MAX_PIXELS
) -> float | None:
    """One white level for all images with more than 8 bits per sample.

    Args:
        white_level: A number; ``auto``: the number that the metadata of the files declare, else the largest number in
            them; ``full``: the largest number of each file's type.
        headers: Headers of the images by path.
        root: The folder of the images, for messages.
        max_pixels: Largest width x height of a file in pixels.

    Returns:
        The number that means white, or ``None`` for the largest of each file's type.

    Raises:
        InputError: If ``auto`` finds images of different types, metadata that disagree, or images of zeros only.
    """
    deep: defaultdict[str, list[Path]] = defaultdict(list)
    for path, header in headers.items():
        if header.kind != "bytes":
            deep[header.kind].append(path)
    if white_level == "auto":
        if len(deep) > 1:
            first, second = (paths[0].relative_to(root) for paths in list(deep.values())[:2])
            raise InputError(
                f"white_level 'auto' needs images of one kind, but {root} holds {' and '.join(sorted(deep))} numbers "
                f"({first}, {second}); separate them, or set white_level to a number"
            )
        return next((_automatic(paths, headers, root, max_pixels) for paths in deep.values()), None)
    given = None if white_level == "full" else white_level
    for paths in deep.values():
        _warn_of_unused_range(paths, headers, given, root, max_pixels)
    return given


def _automatic(paths: list[Path], headers: dict[Path, Header], root: Path, max_pixels: int) -> float:
    largest = {path: _largest(path, max_pixels) for path in paths}
    maximum = max(largest.values())
    declared: dict[float, Path] = {}
    # By the standard of PNG, numbers of fewer bits are scaled to 16, but many programs store them as they are.
    stretched = any(
        headers[path].codec == "png" and largest[path] > (headers[path].declared or largest[path]) for path in paths
    )
    for path in paths:
        value = headers[path].declared
        if value is not None:
            declared.setdefault(65535 if stretched and headers[path].codec == "png" else value, path)
    if len(declared) > 1:
        (one, first), (two, second) = list(declared.items())[:2]
        raise InputError(
            f"white_level 'auto': the metadata of the images in {root} disagree: white is {number(one)} in "
            f"{first.relative_to(root)} and {number(two)} in {second.relative_to(root)}; set white_level to a number"
        )
    if declared:
        return next(iter(declared))
    if not maximum > 0:
        raise InputError(f"white_level 'auto': all numbers in the images of {root} are 0; set white_level to a number")
    rank_zero_warn(
        f"image folder {root}: no metadata declare white, so the largest number in its images is white: set "
        f"white_level to {number(maximum)} to keep it when the folder changes, and for other folders"
    )
    return maximum


def _warn_of_unused_range(
    paths: list[Path], headers: dict[Path, Header], given: float | None, root: Path, max_pixels: int
) -> None:
    """Say so where less than a quarter of the range is used: 12 bits in a file of 16 look black."""
    step = -(-len(paths) // _LOOKED_AT)
    share, largest, white = 0.0, 0.0, 0.0
    looked_at = paths[::step]
    for path in looked_at:
        full = headers[path].full if given is None else given
        try:
            value = _largest(path, max_pixels)
        except ImageError:  # named when its image is asked for
            continue
        if full is None or not np.isfinite(value):
            return
        if value / full >= share:
            share, largest, white = value / full, value, full
    if white > 0 and share < 0.25:
        rank_zero_warn(
            f"image folder {root}: the largest number in {len(looked_at)} of its {len(paths)} images with more than 8 "
            f"bits is {number(largest)}, but white is {number(white)}: they use {100 * share:.1f} % of the range; set "
            "white_level to the number that means white, or to 'auto'"
        )


def _largest(path: Path, max_pixels: int) -> float:
    with open_image(path, max_pixels) as file:
        return float(stored_numbers(file)[0].max())
