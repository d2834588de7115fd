"""Ids of images, made from their origin."""

import hashlib
import re
import unicodedata

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
