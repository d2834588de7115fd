"""A finding of an audit, and its text."""

from typing import Any, NamedTuple

from lit_certattr.errors import single_line


class Finding(NamedTuple):
    """One inconsistency.

    Attributes:
        place: Image and certificate, or file.
        what: The value, with level and pixel if it has them.
        stored: The value in the directory.
        derived: The value that follows from the counts or from other files; empty if there is none.
    """

    place: str
    what: str
    stored: str = ""
    derived: str = ""

    def __str__(self) -> str:
        line = f"{self.place}: {self.what}"
        return single_line(
            f"{line}: stored {self.stored}, derived {self.derived}" if self.stored or self.derived else line
        )


def position(index: tuple[int, ...]) -> str:
    """Position in a tensor, in words.

    Args:
        index: Index: level, row and column; row and column; or any other.
    """
    if not index:
        return ""
    if len(index) == 3:
        return f" at level {index[0]}, pixel ({index[1]}, {index[2]})"
    return f" at pixel ({index[0]}, {index[1]})" if len(index) == 2 else f" at {', '.join(map(str, index))}"


def show(value: Any) -> str:
    """A value in one line of at most 60 characters, without control characters.

    Args:
        value: Any value.
    """
    text = single_line(str(value)[:1000])
    return text if len(text) <= 60 else f"{text[:57]}..."


def name_list(names: Any) -> str:
    """Names in one line, or ``none``.

    Args:
        names: The names.
    """
    return ", ".join(map(str, names)) or "none"
