"""Suggestions for a name that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error message: similar names, or some of the known ones.

    Args:
        name: What the user wrote.
        known: Names that exist.

    Example:
        >>> suggestion("resnet81", ["resnet18", "vgg16"])
        'did you mean resnet18?'
    """
    known = list(known)
    close = get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(known)[:5])}, ..."
