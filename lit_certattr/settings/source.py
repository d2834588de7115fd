"""The origin of classes and functions, and their source."""

import hashlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from lit_certattr.settings.imports import imported_by
from lit_certattr.settings.places import is_installed_file

PACKAGE = "lit_certattr"
_FUNCTIONS = (FunctionType, staticmethod, classmethod, property)


def is_foreign(named: Any) -> bool:
    """Whether a class or a function is of another package than this one and Python itself.

    Args:
        named: The class or the function.

    Example:
        >>> import pytest
        >>> is_foreign(is_foreign), is_foreign(dict), is_foreign(pytest.fixture)
        (False, False, True)
    """
    root = _root(named)
    return root not in (PACKAGE, "builtins") and root not in sys.stdlib_module_names


def is_users(named: Any) -> bool:
    """Whether the source of a class or a function counts: not that of this package, of Python, or of what is installed.

    Args:
        named: The class or the function.
    """
    return is_foreign(named) and not _is_installed(sys.modules.get(named.__module__ or ""))


@lru_cache(maxsize=256)
def source_of(named: Any) -> bytes:
    """The source of a class or a function; nothing where there is none, as for code that was typed in.

    Args:
        named: The class or the function.
    """
    code = named.__code__ if isinstance(named, FunctionType) else named  # a decorated function is not what it wraps
    try:
        return inspect.getsource(code).encode()
    except (OSError, TypeError, SyntaxError, IndexError):
        return b""


def compiled(code: CodeType) -> bytes:
    """Digest of compiled code, wherever it stands.

    Args:
        code: That of a function.
    """
    constants = [compiled(item) if isinstance(item, CodeType) else _constant(item) for item in code.co_consts]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount, code.co_flags)
    return hashlib.sha256(repr((code.co_code, names, constants)).encode()).digest()


def _constant(value: Any) -> bytes:
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value).encode()


def content_of(cell: Any) -> Any:
    """What a variable holds that a function closes over.

    Args:
        cell: One of ``function.__closure__``.
    """
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def members_of(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class defines, by name, without the bookkeeping of Python.

    Args:
        kind: The class.
    """
    for name, member in sorted(vars(kind).items()):
        if isinstance(member, _FUNCTIONS) or not (name.startswith("__") or name == "_abc_impl"):
            yield name, member


def globals_of(function: FunctionType) -> Iterator[Any]:
    """Names in the code of a function, and what its module, and modules of the user that it names, hold under them.

    Args:
        function: A function in Python.
    """
    names = sorted(set(_names(function.__code__)))
    space, seen = function.__globals__, set[str]()
    for name in names:
        if name not in space:
            continue
        value = space[name]
        yield name
        if not isinstance(value, ModuleType):
            yield value
        else:
            yield from _held(value, names, seen)
    for module in imported_by(function.__code__, function.__globals__.get("__package__")):
        yield from _held(module, names, seen)


def _held(module: ModuleType, names: Sequence[str], seen: set[str]) -> Iterator[Any]:
    """What a module of the user, and what is below it, hold under some names."""
    if module.__name__ in seen or module.__name__.partition(".")[0] == PACKAGE or _is_installed(module):
        return
    seen.add(module.__name__)
    for name in names:
        value = vars(module).get(name)
        if isinstance(value, ModuleType):
            yield from _held(value, names, seen)
        elif name in vars(module):
            yield value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _root(named: Any) -> str:
    unknown = "" if isinstance(named, FunctionType) else "builtins"  # the module of a function that exec has made
    return (getattr(named, "__module__", None) or unknown).partition(".")[0]


def _is_installed(module: ModuleType | None) -> bool:
    """Whether a module is a built-in one or lies where Python and packages are installed."""
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__.partition(".")[0] in sys.builtin_module_names
    return is_installed_file(file)
