"""Checks of the type of a setting; a wrong one is reported in one line that names it."""

import unicodedata
from numbers import Integral, Real
from typing import Any

from lit_certattr.errors import InputError


def whole_number(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Check that a setting is an integer, and return it.

    Args:
        name: Name of the setting in messages.
        value: Value that the user set.
        least: Smallest number that is accepted.
        most: Largest number that is accepted.

    Raises:
        InputError: If it is no integer, or out of range.

    Example:
        >>> whole_number("seed", 3)
        3
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} must be a whole number, got {value!r:.80}")
    number = int(value)
    if (least is not None and number < least) or (most is not None and number > most):
        bound = f"be at least {least}" if most is None else f"be at most {most}" if least is None else None
        raise InputError(f"{name} must {bound or f'lie in {least} to {most}'}, got {value}")
    return number


def real_number(name: str, value: Any) -> float:
    """Check that a setting is a number, and return it as a float; it may be infinite or NaN.

    Args:
        name: Name of the setting in messages.
        value: Value that the user set.

    Raises:
        InputError: If it is not a number.

    Example:
        >>> real_number("tau", 1)
        1.0
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name} must be a number, got {value!r:.80}")
    return float(value)


def several(name: str, values: Any, example: str) -> tuple[Any, ...]:
    """Check that a setting is a list, and return it as a tuple.

    Args:
        name: Name of the setting in messages.
        values: Value that the user set.
        example: Example of a correct list.

    Raises:
        InputError: If it is something else, a string or a single value.

    Example:
        >>> several("top_k", [0.5, 0.25], "[0.25]")
        (0.5, 0.25)
    """
    try:
        listed = None if isinstance(values, str | bytes) else tuple(values)
    except TypeError:
        listed = None
    if listed is None:
        raise InputError(f"{name} must be a list, e.g. {example}, got {values!r:.80}")
    return listed


def instance(name: str, value: Any, kind: type, example: str) -> None:
    """Check that a setting is an object of a class, not the class itself or its name.

    Args:
        name: Name of the setting in messages.
        value: Value that the user set.
        kind: The class.
        example: How to create one.

    Raises:
        InputError: If it is something else.
    """
    if not isinstance(value, kind):
        got = f"the class {value.__name__}" if isinstance(value, type) else f"{value!r:.80}"
        raise InputError(f"{name} must be {_article(kind)} {kind.__name__}, e.g. {example}, got {got}")


def is_line(text: object) -> bool:
    r"""Whether something is one line of text, which can stand in a sentence, a table and a file.

    Args:
        text: What the user gave.

    Example:
        >>> is_line("left half"), is_line("two\rlines"), is_line(" ")
        (True, False, False)
    """
    return isinstance(text, str) and bool(text.strip()) and not any(_breaks(one) for one in text)


def _breaks(character: str) -> bool:
    """Whether a character ends a line, moves the cursor, or cannot be written."""
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}


def _article(kind: type) -> str:
    return "an" if kind.__name__[0] in "AEIOU" else "a"
