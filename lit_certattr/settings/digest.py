"""A digest of what an object is: its class, its state, and the source of all code that is not of a known package."""

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper, cached_property
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.settings.plain import dotted_path
from lit_certattr.settings.source import compiled, content_of, globals_of, is_foreign, is_users, members_of, source_of

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented))
_NAMED = (BuiltinFunctionType, WrapperDescriptorType, GetSetDescriptorType, MemberDescriptorType, np.ufunc)


def digest(value: Any, what: str) -> str:
    """SHA-256 of a value: equal for equal values, in every process.

    For an object it covers its class and its attributes; for a tensor its type, shape and bytes. Code outside installed
    packages is covered with its source: a class with its methods and its bases outside this package, a function with
    its defaults, with the variables that it closes over, and with the functions, classes and constants of its module
    that it names. Without a source, as for code typed at a prompt, the compiled code is used.

    Values that follow from the rest are left out: those of ``functools.cached_property``, and those that an object does
    not pickle.

    Args:
        value: Any object.
        what: Name of the value in messages, e.g. ``"attribution Mine"``.

    Raises:
        InputError: If it holds an object whose content cannot be determined, such as a lock or an open file.

    Example:
        >>> digest([1, "a"], "the list") == digest([1, "a"], "the list") != digest((1, "a"), "the tuple")
        True
    """
    with _deep_enough(what):
        return _Digest(what).of(value).hex()


def source_digest(named: Any) -> str:
    """SHA-256 of the source of a class or a function; the bases of a class have digests of their own.

    Args:
        named: The class or the function.

    Raises:
        InputError: If functions name one another in too long a chain.
    """
    walk = _Digest(named.__qualname__)
    alone = isinstance(named, type) and is_foreign(named)
    with _deep_enough(named.__qualname__):
        return (walk.class_alone(named) if alone else walk.of(named)).hex()


@contextmanager
def _deep_enough(what: str) -> Iterator[None]:
    """Within the block, what is nested too deeply is refused in one line."""
    try:
        yield
    except RecursionError:
        raise InputError(f"{what} is nested too deeply to be told from another") from None


class _Digest:
    """Walks through an object and visits every part once, so that circular references end."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.place: list[str] = []
        self.depth = 0
        self.lenient = 0
        self.known: dict[int, tuple[Any, bytes]] = {}  # the objects are kept, so that no id is used twice

    def of(self, value: Any) -> bytes:
        if type(value) in _PLAIN:
            return _join(type(value).__name__, repr(value).encode())
        if id(value) in self.known:
            return self.known[id(value)][1]
        self.known[id(value)] = (value, _join("around", str(self.depth).encode()))  # for a circle back to it
        self.depth += 1
        try:
            found = self._of(value)
        except BaseException:
            del self.known[id(value)]
            raise
        finally:
            self.depth -= 1
        self.known[id(value)] = (value, found)
        return found

    def _of(self, value: Any) -> bytes:
        kind = type(value)
        if kind in (list, tuple):
            return _join(kind.__name__, *map(self.of, value))
        if kind is dict:
            pairs = [_join("item", self.of(key), self._at(key, item)) for key, item in value.items()]
            return _join("dict", *sorted(pairs))
        if kind in (set, frozenset):
            return _join("set", *sorted(map(self.of, value)))
        if isinstance(value, Tensor):
            return self._of_tensor(value)
        if kind is np.ndarray or isinstance(value, np.generic):  # a subclass, such as a masked one, holds more
            array = np.asarray(value)
            if array.dtype.hasobject:
                return _join("array", self.of(array.tolist()))
            return _join("array", f"{array.dtype} {array.dtype.str} {array.shape}".encode(), array.tobytes())
        if isinstance(value, torch.Generator):
            return _join("generator", str(value.device).encode(), self._of_tensor(value.get_state()))
        if isinstance(value, ModuleType):
            return _join("module", value.__name__.encode())
        if isinstance(value, type):
            return self._of_class(value)
        if isinstance(value, FunctionType):
            return self._of_function(value)
        if isinstance(value, MethodType):
            return _join("method", self.of(value.__func__), self.of(value.__self__))
        if isinstance(value, staticmethod | classmethod):
            return _join(kind.__name__, self.of(value.__func__))
        if isinstance(value, property):
            return _join("property", *map(self.of, (value.fget, value.fset, value.fdel)))
        if isinstance(value, cached_property):
            return _join("property", self.of(value.func))
        if isinstance(value, _lru_cache_wrapper):
            return _join("cache", self.of(value.__wrapped__))
        if isinstance(value, _NAMED):
            return _join("named", str(getattr(value, "__qualname__", value)).encode())
        return self._of_object(value)

    def _of_object(self, value: Any) -> bytes:
        """By what ``pickle`` would be given, one step at a time."""
        if hasattr(type(value), "settings_state"):  # lit_certattr.settings.identity.Settings, which stands on this
            return _join("settings", *map(self.of, (type(value), value.init_args(), value.settings_state())))
        try:
            parts = value.__reduce_ex__(4)
        except Exception:  # locks, files, generators, whatever a __reduce__ of the user's raises
            return self._untold(value)
        if isinstance(parts, str):
            return _join("named", f"{type(value).__module__}.{parts}".encode())
        function, arguments, *rest = (*parts, None, None, None)[:5]
        state, items, pairs = rest
        if isinstance(state, dict):
            state = without_cached(value, state)
        listed = None if items is None else list(items)
        mapped = None if pairs is None else dict(pairs)
        return _join("object", *map(self.of, (type(value), function, arguments, state, listed, mapped)))

    def _of_tensor(self, tensor: Tensor) -> bytes:
        try:
            dense = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
            flat = dense.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
            values = flat.as_subclass(Tensor).numpy().tobytes()
        except (RuntimeError, NotImplementedError, TypeError):  # without values, quantised, nested
            return self._untold(tensor)
        more = self.of(vars(tensor)) if type(tensor) is not Tensor and vars(tensor) else b""
        return _join("tensor", f"{tensor.dtype} {tuple(tensor.shape)}".encode(), values, more)

    def _untold(self, value: Any) -> bytes:
        if self.lenient:
            return _join("opaque", dotted_path(type(value)).encode())
        place = self.place[0] if self.place else "it"
        raise InputError(
            f"{self.what}: {place} is or holds an object of class {type(value).__name__}, which nothing tells from "
            "another: make it where it is used, or in a functools.cached_property"
        ) from None

    def _at(self, key: Any, item: Any) -> bytes:
        self.place.append(str(key)[:80])
        try:
            return self.of(item)
        finally:
            self.place.pop()

    def _of_class(self, kind: type) -> bytes:
        if not is_users(kind):
            return _join("class", dotted_path(kind).encode())
        own = [base for base in kind.__mro__ if is_users(base)]
        return _join("class", dotted_path(kind).encode(), *map(self.class_alone, own))

    def class_alone(self, kind: type) -> bytes:
        """The source of a class, and what its methods and attributes hold beside it."""
        self.known.setdefault(id(kind), (kind, _join("class", dotted_path(kind).encode())))
        parts = [_join("member", name.encode(), self._of_global(member)) for name, member in members_of(kind)]
        return _join("source", dotted_path(kind).encode(), source_of(kind), *parts)

    def _of_function(self, function: FunctionType) -> bytes:
        local = "<" in function.__qualname__
        users = is_users(function)
        parts = [dotted_path(function).encode()]
        if users or local:
            cells = [content_of(cell) for cell in function.__closure__ or ()]
            parts += map(self.of, (function.__defaults__, function.__kwdefaults__, cells, vars(function)))
        if users:
            source = source_of(function)
            if not source or "<lambda>" in function.__qualname__:  # two of them may stand in one line
                parts.append(compiled(function.__code__))
            parts.append(source)
            parts += [self._of_global(value) for value in globals_of(function)]
        return _join("function", *parts)

    def _of_global(self, value: Any) -> bytes:
        """A constant of a module or a member of a class; of what cannot be told apart, its class counts alone."""
        self.lenient += 1
        try:
            return self.of(value)
        finally:
            self.lenient -= 1


def without_cached(value: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Attributes of an object without the values stored by ``functools.cached_property``.

    Args:
        value: The object.
        state: Its attributes.
    """
    members = ((name, inspect.getattr_static(type(value), str(name), None)) for name in state)
    return {name: state[name] for name, member in members if not isinstance(member, cached_property)}


def _join(kind: str, *parts: bytes) -> bytes:
    state = hashlib.sha256(kind.encode())
    for part in parts:
        state.update(b"%d:" % len(part) + part)
    return state.digest()
