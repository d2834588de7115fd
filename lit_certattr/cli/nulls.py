"""Finds settings that are null although they need a value, which jsonargparse accepts in files."""

import importlib
import inspect
import typing
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any

from jsonargparse import ArgumentParser, Namespace


def first_null(parser: ArgumentParser, config: Namespace) -> str | None:
    """Name of the first setting that is null although its type excludes null; ``None`` if there is none.

    Args:
        parser: Parser with the types.
        config: The parsed configuration.
    """
    return next(_nulls(parser, config), None)


def _nulls(parser: ArgumentParser, config: Namespace) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action.choices, Mapping):  # subcommands
            name = config.get(action.dest)
            if name in action.choices and isinstance(config.get(name), Namespace):
                yield from _nulls(action.choices[name], config[name])
        elif hasattr(action, "_typehint") and action.dest in config:
            value = config[action.dest]
            missing = action.dest in getattr(parser, "required_args", ())  # jsonargparse names those itself
            if value is None and not missing and not _may_be_null(action._typehint):
                yield action.dest
            yield from _below(action.dest, value)


def _below(name: str, value: Any) -> Iterator[str]:
    """Nulls among the arguments of the classes that a setting names."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, list | tuple):
        for item in value:
            yield from _below(name, item)
    elif isinstance(value, Mapping):
        path, arguments = value.get("class_path"), value.get("init_args")
        arguments = vars(arguments) if isinstance(arguments, Namespace) else arguments
        if isinstance(path, str) and isinstance(arguments, Mapping):
            types = _types(path)
            for key, item in arguments.items():
                if item is None and not _may_be_null(types.get(key, Any)):
                    yield f"{name}.init_args.{key}"
                yield from _below(f"{name}.init_args.{key}", item)
        else:
            for key, item in value.items():
                yield from _below(f"{name}.{key}", item)


def _types(path: str) -> dict[str, Any]:
    """Types of the arguments of a class, without untyped arguments and those whose default is ``None``."""
    module, _, name = path.rpartition(".")
    try:
        built = getattr(importlib.import_module(module), name)
        types = typing.get_type_hints(built.__init__ if inspect.isclass(built) else built)
        arguments = inspect.signature(built).parameters
    except (ImportError, AttributeError, NameError, TypeError, ValueError):
        return {}
    return {key: kind for key, kind in types.items() if key in arguments and arguments[key].default is not None}


def _may_be_null(kind: Any) -> bool:
    """Whether a type includes ``None``.

    Example:
        >>> _may_be_null(int | None), _may_be_null(int), _may_be_null(Any)
        (True, False, True)
    """
    if typing.get_origin(kind) in (typing.Union, UnionType):
        return any(_may_be_null(one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is typing.Literal:
        return None in typing.get_args(kind)
    return kind in (None, NoneType, Any, object, inspect.Parameter.empty) or isinstance(kind, typing.TypeVar)
