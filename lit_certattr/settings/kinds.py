"""Settings of the wrong kind: one line that names them, wherever a user may hand them over."""

from numbers import Integral, Real
from typing import Any

from lit_certattr.errors import InputError


def whole_number(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """A setting that must be an integer.

    Args:
        name: What the message calls it.
        value: What the user gave.
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
    """A setting that must be a number; not whether it is finite or in a range.

    Args:
        name: What the message calls it.
        value: What the user gave.

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
    """A setting that must be a list.

    Args:
        name: What the message calls it.
        values: What the user gave.
        example: A list as it should be.

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
    """Refuse a setting that is no object of a class, but the class itself, say, or its name.

    Args:
        name: What the message calls it.
        value: What the user gave.
        kind: The class.
        example: How to create one.

    Raises:
        InputError: If it is something else.
    """
    if not isinstance(value, kind):
        got = f"the class {value.__name__}" if isinstance(value, type) else f"{value!r:.80}"
        raise InputError(f"{name} must be {_article(kind)} {kind.__name__}, e.g. {example}, got {got}")


def _article(kind: type) -> str:
    return "an" if kind.__name__[0] in "AEIOU" else "a"
