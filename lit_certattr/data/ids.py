"""Ids of images, made from their origin."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PurePath

from lit_certattr.errors import InputError

_LONGEST = 120


def safe_id(origin: str) -> str:
    """A file name that stands for one origin and depends on nothing else.

    ``/`` becomes ``__``. If two origins could give the same name (blanks, other alphabets, hidden or very long
    names), a part of a hash of the origin is added, so that different origins get different ids.

    Args:
        origin: Where the image comes from; for files, the path below the root of the data set, with ``/``.

    Returns:
        At most 120 letters, digits and ``._-``, no leading dot.

    Example:
        >>> safe_id("test/cat/001.png")
        'test__cat__001.png'
        >>> safe_id("my cat.png")
        'my_cat.png-1a1dad87'
    """
    origin = unicodedata.normalize("NFC", origin)  # macOS and Linux spell accents in different bytes
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", origin.replace("/", "__"))
    if plain.replace("__", "/") == origin and len(plain) <= _LONGEST and not plain.startswith("."):
        return plain
    digest = hashlib.sha256(origin.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{plain.lstrip('.')[: _LONGEST - 9]}-{digest}"


def known_id(given: str, known: Sequence[str]) -> str:
    """The id that a user means: the id itself, that of a path, or the only one that differs by the ending of a file.

    Args:
        given: What the user wrote: an id, or the path of an image below the root of its data set.
        known: Ids of all images.

    Raises:
        InputError: If there is no such image, or several images could be meant.

    Example:
        >>> known_id("cat", ["cat.jpg", "dog.jpg"])
        'cat.jpg'
    """
    exact = [one for one in (given, safe_id(given)) if one in known]
    if exact:
        return exact[0]
    meant = [one for one in known if given in (PurePath(one).stem, one) or PurePath(given).stem == one]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise InputError(f"the id {given!r} could mean {' or '.join(meant)}: write the whole id")
    close = get_close_matches(given, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"the first are {', '.join(known[:3]) or 'none'}"
    raise InputError(f"there is no image {given!r}; {hint}")
