"""One thing that an audit has found, in words."""

from typing import Any, NamedTuple


class Finding(NamedTuple):
    """One thing that is not as it must be.

    Attributes:
        place: Image and certificate, or the file.
        what: Which value, with level and pixel where it has them.
        stored: What the directory holds.
        derived: What follows from the counts, or from the other files; empty if there is no such value.
    """

    place: str
    what: str
    stored: str = ""
    derived: str = ""

    def __str__(self) -> str:
        line = f"{self.place}: {self.what}"
        return one_line(
            f"{line}: stored {self.stored}, derived {self.derived}" if self.stored or self.derived else line
        )


def position(index: tuple[int, ...]) -> str:
    """Place in a tensor, in the words of a reader."""
    if not index:
        return ""
    if len(index) == 3:
        return f" at level {index[0]}, pixel ({index[1]}, {index[2]})"
    return f" at pixel ({index[0]}, {index[1]})" if len(index) == 2 else f" at {', '.join(map(str, index))}"


def show(value: Any) -> str:
    """A value in one line of at most 60 letters, without characters that a terminal would obey."""
    text = one_line(str(value)[:1000])
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(text: str) -> str:
    """Text without line breaks and control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def name_list(names: Any) -> str:
    """Names in one line."""
    return ", ".join(map(str, names)) or "none"
