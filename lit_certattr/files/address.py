"""Addresses where the path of a file is needed: nothing is ever downloaded."""

import re
from pathlib import Path

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")
"""With one slash, too: ``Path("https://a")`` is ``https:/a``. A single letter is a drive of Windows."""


def as_address(path: str | Path) -> str | None:
    """The address that stands where a path should; ``None`` for a path.

    Args:
        path: What the user gave, of which no file exists.

    Example:
        >>> as_address(Path("s3://bucket/cat.jpg"))
        's3://bucket/cat.jpg'
        >>> as_address("C:/cat.jpg")
    """
    found = _ADDRESS.match(str(path))
    return None if found is None else f"{found[1]}://{str(path)[found.end() :]}"
