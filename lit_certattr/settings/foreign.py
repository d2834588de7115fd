"""Settings that are made of what somebody outside this package wrote: what a record holds of them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import attrs
import numpy as np
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.settings.digest import digest, source_digest
from lit_certattr.settings.plain import dotted_path
from lit_certattr.settings.source import is_foreign, is_users


def foreign_identity(parts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What a record holds of settings that are made of classes and functions outside this package.

    Args:
        parts: Objects of settings, by what they are: ``{"attribution": ..., "noise": ...}``.

    Returns:
        ``{"sources": ..., "states": ...}``: a digest of the source of each such class and function by its dotted path,
        and a digest of each object that holds one, by its name in ``parts``. Empty where all is of this package.

    Raises:
        InputError: If an object holds something of which nobody can say what it is, or if one of this package was
            changed in a way that its settings do not say.

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> foreign_identity({"noise": GaussianNoise(0.25)})
        {}
    """
    sources: dict[str, str] = {}
    states: dict[str, str] = {}
    for name, part in parts.items():
        foreign = list(foreign_parts(part))
        for one in foreign:
            path, found = dotted_path(one), source_digest(one)
            if path in sources and sources[path] != found:  # two local classes of one name
                found = digest([sources[path], found], path)
            sources[path] = found
        if foreign:
            states[name] = digest(part, name)
        else:
            check_unchanged(part)
    return {"sources": sources, "states": states} if sources else {}


def check_unchanged(part: Any) -> None:
    """Refuse an object of this package whose attributes are not those that its settings give.

    Args:
        part: An object of settings, or a list or mapping of them.

    Raises:
        InputError: If somebody has set an attribute of it that is no setting, with the remedy.
    """
    for one in part if isinstance(part, list | tuple) else [part]:
        arguments = one.init_args()
        for below in arguments.values():
            if _is_settings(type(below)):
                check_unchanged(below)
        if digest(one, repr(one)) != digest(type(one)(**arguments), repr(one)):
            raise InputError(
                f"{one!r:.200} was changed after it was created, in a way that its settings do not say: create another "
                f"{type(one).__name__}, or write a subclass"
            )


def foreign_parts(value: Any) -> Iterator[type | Callable[..., Any]]:
    """Classes and functions outside this package that settings are made of, base classes included, each once.

    Args:
        value: An object of settings, or lists and mappings of them.

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> list(foreign_parts([GaussianNoise(0.25), {"a": 1}]))
        []
    """
    seen, below = set(), [value]
    while below:
        part = below.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, type):
            own = [base for base in part.__mro__ if is_foreign(base) and (_is_settings(base) or is_users(base))]
            yield from (base for base in own if id(base) == id(part) or id(base) not in seen)
            seen.update(map(id, own))
            if _is_settings(part):
                below += (member for base in part.__mro__ if not is_foreign(base) for member in _patches(base))
        elif isinstance(part, partial):
            yield partial
            below += [part.func, *part.args, *part.keywords.values()]
        elif isinstance(part, FunctionType | MethodType | BuiltinFunctionType):
            yield part
        elif isinstance(part, list | tuple | set | frozenset):
            below += part
        elif isinstance(part, Mapping):
            below += part.values()
        elif _is_settings(type(part)):
            below += [type(part), *part.init_args().values()]
        elif dataclasses.is_dataclass(part):
            below += [type(part), *(getattr(part, field.name) for field in dataclasses.fields(part))]
        elif attrs.has(type(part)):
            below += [type(part), *(getattr(part, field.name) for field in attrs.fields(type(part)))]
        elif is_foreign(type(part)) and not isinstance(part, Tensor | np.ndarray | np.generic):
            yield type(part)


def _patches(kind: type) -> list[FunctionType]:
    """Functions of a user that somebody has put in place of methods of a class of this package."""
    members = vars(kind).values()
    return [member for member in members if isinstance(member, FunctionType) and is_users(member)]


def _is_settings(kind: type) -> bool:
    return hasattr(kind, "settings_state")  # lit_certattr.settings.identity.Settings, which stands on this module
