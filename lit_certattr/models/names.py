"""Suggestions for a name that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN = 5


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error message: similar names, or some of the known ones.

    Args:
        name: What the user wrote.
        known: Names that exist.

    Example:
        >>> suggestion("resnet81", ["resnet18", "vgg16"])
        'did you mean resnet18?'
        >>> suggestion("cat", ["vertical", "horizontal"])
        'the known names are horizontal and vertical'
    """
    known = sorted(known)
    close = get_close_matches(name, known, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if len(known) < 2:
        return f"the only known name is {known[0]}" if known else "there are no names to choose from"
    shown = known if len(known) <= _SHOWN else [*known[:_SHOWN], f"{len(known) - _SHOWN} more"]
    return f"the known names are {', '.join(shown[:-1])} and {shown[-1]}"
