"""A digest of what an object is: its class, its state, and the source of all code that is not of a known package."""

import dataclasses
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import _lru_cache_wrapper, cached_property, lru_cache
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any, NoReturn

import attrs
import numpy as np
import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.settings.plain import dotted_path

PACKAGE = "lit_certattr"
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented))
_NAMED = (BuiltinFunctionType, WrapperDescriptorType, GetSetDescriptorType, MemberDescriptorType, np.ufunc)
_FUNCTIONS = (FunctionType, staticmethod, classmethod, property)


def is_foreign(named: Any) -> bool:
    """Whether a class or a function is of another package than this one and Python itself.

    Args:
        named: The class or the function.

    Example:
        >>> is_foreign(InputError), is_foreign(dict), is_foreign(Tensor)
        (False, False, True)
    """
    root = _root(named)
    return root not in (PACKAGE, "builtins") and root not in sys.stdlib_module_names


def digest(value: Any, what: str) -> str:
    """SHA-256 of what a value is: equal for equal values, in every process.

    Of an object it is its class and its attributes; of a tensor its type, shape and bytes. Code that no installed
    package holds counts with its source: a class with its methods and its bases outside this package, a function with
    its defaults, with the variables that it closes over, and with the functions, classes and constants of its module
    that it names. Where there is no source, as for code that was typed in, the compiled code takes its place.

    What follows from the rest is left out: values of ``functools.cached_property``, and what an object does not pickle.

    Args:
        value: Any object.
        what: What the message calls it, e.g. ``"attribution Mine"``.

    Raises:
        InputError: If it holds something of which nobody can say what it is, such as a lock or an open file.

    Example:
        >>> digest([1, "a"], "the list") == digest([1, "a"], "the list") != digest((1, "a"), "the tuple")
        True
    """
    try:
        return _Digest(what).of(value).hex()
    except RecursionError:
        raise InputError(f"{what} is nested too deeply to be told from another") from None


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
            sources[path] = found if sources.get(path, found) == found else _join(sources[path], found.encode()).hex()
        if foreign:
            states[name] = digest(part, name)
        else:
            check_unchanged(part)
    return {"sources": sources, "states": states} if sources else {}


def source_digest(named: Any) -> str:
    """SHA-256 of the source of a class or a function; the bases of a class have digests of their own.

    Args:
        named: The class or the function.
    """
    walk = _Digest(named.__qualname__)
    return (walk.class_alone(named) if isinstance(named, type) else walk.of(named)).hex()


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
        elif isinstance(part, FunctionType | MethodType):
            if is_users(part) or "<" in part.__qualname__:
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
        elif is_users(type(part)):
            below.append(type(part))


def is_users(named: Any) -> bool:
    """Whether the source of a class or a function counts: not that of this package, of Python, or of what is installed.

    Args:
        named: The class or the function.
    """
    return is_foreign(named) and not _is_installed(sys.modules.get(named.__module__ or ""))


def _is_settings(kind: type) -> bool:
    return hasattr(kind, "settings_state")  # lit_certattr.settings.identity.Settings, which stands on this module


class _Digest:
    """Walks through an object; what it has seen is taken up once, so that circles end."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.place: list[str] = []
        self.depth = 0
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
            return self._untold(value) if value.is_meta else _of_tensor(value)
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            if array.dtype.hasobject:
                return _join("array", self.of(array.tolist()))
            return _join("array", f"{array.dtype.str} {array.shape}".encode(), array.tobytes())
        if isinstance(value, torch.Generator):
            return _join("generator", str(value.device).encode(), _of_tensor(value.get_state()))
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
        if _is_settings(type(value)):
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

    def _untold(self, value: Any) -> NoReturn:
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
        parts = [_join("member", name.encode(), self._of_global(member)) for name, member in _members(kind)]
        return _join("source", dotted_path(kind).encode(), _source(kind), *parts)

    def _of_function(self, function: FunctionType) -> bytes:
        local = "<" in function.__qualname__
        users = is_users(function)
        parts = [dotted_path(function).encode()]
        if users or local:
            cells = [_content(cell) for cell in function.__closure__ or ()]
            parts += map(self.of, (function.__defaults__, function.__kwdefaults__, cells))
        if users:
            source = _source(function)
            if not source or "<lambda>" in function.__qualname__:  # two of them may stand in one line
                parts.append(_code(function.__code__))
            parts.append(source)
            parts += [self._of_global(value) for value in _named_globals(function)]
        return _join("function", *parts)

    def _of_global(self, value: Any) -> bytes:
        """A constant of a module or a class; of what cannot be told apart, only its class."""
        try:
            return self.of(value)
        except InputError:
            return _join("opaque", dotted_path(type(value)).encode())


def without_cached(value: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Attributes of an object without those that ``functools.cached_property`` has put there.

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


def _of_tensor(tensor: Tensor) -> bytes:
    dense = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    flat = dense.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return _join("tensor", f"{tensor.dtype} {tuple(tensor.shape)}".encode(), flat.view(torch.uint8).numpy().tobytes())


def _root(named: Any) -> str:
    return (getattr(named, "__module__", None) or "builtins").partition(".")[0]


def _is_installed(module: ModuleType | None) -> bool:
    """Whether a module is a built-in one or lies where Python and packages are installed."""
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__.partition(".")[0] in sys.builtin_module_names
    return any(Path(file).resolve().is_relative_to(place) for place in _INSTALLED)


@lru_cache(maxsize=256)
def _source(named: Any) -> bytes:
    """The source of a class or a function; nothing where there is none."""
    try:
        return inspect.getsource(named).encode()
    except (OSError, TypeError, SyntaxError, IndexError):
        return b""


def _code(code: CodeType) -> bytes:
    """Compiled code, but for where it stands."""
    constants = [_code(item) if isinstance(item, CodeType) else _constant(item) for item in code.co_consts]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount, code.co_flags)
    return _join("code", code.co_code, repr(names).encode(), *constants)


def _constant(value: Any) -> bytes:
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value).encode()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class defines, without the bookkeeping of Python."""
    for name, member in sorted(vars(kind).items()):
        if isinstance(member, _FUNCTIONS) or not (name.startswith("__") or name == "_abc_impl"):
            yield name, member


def _named_globals(function: FunctionType) -> Iterator[Any]:
    """Values of the module that a function names, and of modules of the user that it names."""
    names = sorted(set(_names(function.__code__)))
    space = function.__globals__
    for name in names:
        if name not in space:
            continue
        value = space[name]
        yield name
        if not isinstance(value, ModuleType):
            yield value
        elif value.__name__.partition(".")[0] != PACKAGE and not _is_installed(value):
            yield from (vars(value)[below] for below in names if below in vars(value))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
