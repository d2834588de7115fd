"""Values that a setting may hold: a record can store them, and a constructor accepts them again."""

import dataclasses
import inspect
import sys
from collections.abc import Mapping
from enum import Enum
from functools import singledispatch
from io import IOBase
from pathlib import PurePath
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from lit_certattr.errors import InputError


@singledispatch
def plain(value: Any, what: str) -> Any:
    """A setting as text, numbers, lists and mappings of such, as JSON and YAML can hold them.

    An object of settings becomes ``{"class_path": ..., "init_args": {...}}``, a class or a function of a module its
    dotted path, an array a list.

    Args:
        value: The setting.
        what: Name of the setting in messages, e.g. ``"Mine: factor"``.

    Returns:
        ``None``, a bool, a number, a string, or lists and dictionaries of these.

    Raises:
        InputError: If a record cannot store the value; the message names the remedy.

    Example:
        >>> plain((1, np.float64(0.5), {"layer": "final"}), "Mine: levels")
        [1, 0.5, {'layer': 'final'}]
    """
    if isinstance(value, Enum):
        return plain(value.value, what)
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufU":
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath | torch.dtype | torch.device):
        return str(value)
    if isinstance(value, list | tuple | range):
        return [plain(item, what) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item, what) for item in value), key=repr)
    if isinstance(value, Mapping):
        return {_key(key, what): plain(item, what) for key, item in value.items()}
    if isinstance(value, type):
        return dotted_path(value)
    if (fields := fields_of(value)) is not None:
        arguments = {name: plain(getattr(value, attribute), what) for name, attribute in fields.items()}
        return {"class_path": dotted_path(type(value)), "init_args": arguments}
    if inspect.isroutine(value) and is_importable(value):
        return dotted_path(value)
    raise InputError(f"{what} {_refusal(value)}")


def is_plain(value: Any) -> bool:
    """Whether :func:`plain` accepts a value.

    Args:
        value: The setting.

    Example:
        >>> is_plain([1, "a"]), is_plain(lambda: 1)
        (True, False)
    """
    try:
        plain(value, "")
    except InputError:
        return False
    return True


def copied(value: Any) -> Any:
    """A copy of the value: its lists, mappings and arrays are not shared with anybody.

    Args:
        value: A setting.

    Example:
        >>> levels = [0.5, [0.25]]
        >>> kept = copied(levels)
        >>> levels[1].append(0.1)
        >>> kept
        [0.5, [0.25]]
    """
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(copied(item) for item in value)
    if type(value) is dict:
        return {key: copied(item) for key, item in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value


def dotted_path(named: Any) -> str:
    """Module and name of a class or a function.

    Args:
        named: The class or the function.

    Example:
        >>> dotted_path(InputError)
        'lit_certattr.errors.InputError'
    """
    module = getattr(named, "__module__", None) or "builtins"
    return f"{module}.{named.__qualname__}"


def is_importable(named: Any) -> bool:
    """Whether a class or a function is what its module holds under its name; a lambda is not.

    Args:
        named: The class or the function.
    """
    found: Any = sys.modules.get(getattr(named, "__module__", None) or "builtins")
    for part in named.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is named


def _key(key: Any, what: str) -> str | int | float | bool:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str | int | float | bool):
        return key
    raise InputError(f"{what} has the key {key!r:.80}: use text or numbers as keys")


def fields_of(value: Any) -> dict[str, str] | None:
    """Constructor arguments of an object of a dataclass or of an attrs class, with their attributes; else ``None``.

    Args:
        value: Any object.
    """
    if dataclasses.is_dataclass(value):
        return {field.name: field.name for field in dataclasses.fields(value) if field.init}
    if attrs.has(type(value)):
        return {str(field.alias): field.name for field in attrs.fields(type(value)) if field.init}
    return None


def _refusal(value: Any) -> str:
    """What is wrong with a value, and the remedy."""
    if isinstance(value, Tensor):
        return (
            f"is a tensor of shape {tuple(value.shape)}, which no record can hold: "
            "give a list of numbers, or the path of a file that __init__ loads"
        )
    if isinstance(value, IOBase) or (hasattr(value, "read") and hasattr(value, "close")):
        return "is an open file, which no record can hold: give its path, and open it in __init__"
    if callable(value):
        return (
            f"is {value!r:.80}, a callable that no record can name: "
            "give a function that is defined with def at the top of a module"
        )
    kind = type(value).__qualname__
    return (
        f"is an object of the class {kind}, of which no record can say what it is: give plain values, "
        f"or make {kind} a dataclass or a subclass of lit_certattr.settings.Settings"
    )
