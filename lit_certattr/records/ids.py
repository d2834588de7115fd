"""Ids of images, which name their files."""

import re
from collections.abc import Iterable

from lit_certattr.errors import InputError

SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_RESERVED = ("summary", "sandwich")


def check_ids(ids: Iterable[str]) -> None:
    """Refuse ids that cannot name the files of an image, before any work is done.

    Args:
        ids: Ids of images.

    Raises:
        InputError: If an id cannot be a file name; the message names the first one.
    """
    for image_id in ids:
        if not SAFE_ID.fullmatch(image_id):
            raise InputError(
                f"image id {image_id!r} cannot name a file: at most 200 letters, digits and ._-, no leading dot"
            )
        if image_id in _RESERVED:
            raise InputError(f"image id {image_id!r} cannot name a file: this name is reserved for a figure")
