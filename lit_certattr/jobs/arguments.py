"""The arguments of a job, compared with its annotations before it begins: from Python nothing else has read them."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np
from torch import Tensor

from lit_certattr.errors import InputError, single_line

_Given = ParamSpec("_Given")
_Returned = TypeVar("_Returned")

_OWN = frozenset({"data", "network", "checkpoint"})
"""Arguments that a job checks itself, with a remedy for each usual mistake."""
_FILES = frozenset({"class_indices"})
"""Arguments whose text is the path of a file, so that a Path will do."""
_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Path: "a path",
    NoneType: "None",
}
_SEVERAL: Mapping[Any, str] = {str: "texts", int: "whole numbers", float: "numbers", str | Path: "paths"}


def checked(job: Callable[_Given, _Returned]) -> Callable[_Given, _Returned]:
    """Let a job refuse arguments of other kinds than its annotations say, in one line that names the argument.

    A ``Literal`` alone is left to the job, which lists its choices.

    Args:
        job: A function whose annotations are made of classes, ``None``, ``Literal``, ``Callable``, ``|`` and lists.

    Example:
        >>> @checked
        ... def job(output: str | Path, ids: list[str] | None = None) -> None: ...
        >>> job(3)
        Traceback (most recent call last):
        ...
        lit_certattr.errors.InputError: output must be a path, got 3
        >>> job("runs/mine", ids="cat")
        Traceback (most recent call last):
        ...
        lit_certattr.errors.InputError: ids must be a list of texts or None, got 'cat'
    """
    signature = inspect.signature(job)
    kinds = {
        name: parameter.annotation | Path if name in _FILES else parameter.annotation
        for name, parameter in signature.parameters.items()
        if name not in _OWN
    }

    @wraps(job)
    def with_checks(*args: _Given.args, **kwargs: _Given.kwargs) -> _Returned:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in kinds and get_origin(kinds[name]) is not Literal and not _fits(value, kinds[name]):
                got = f"the class {value.__name__}" if isinstance(value, type) else f"{value!r:.80}"
                raise InputError(f"{name} must be {_words(kinds[name])}, got {single_line(got)}")
            if isinstance(value, str) and not value.strip() and Path in get_args(kinds.get(name)):
                raise InputError(f"{name}: {value!r} is no name for a directory or a file; . is the present directory")
        return job(*args, **kwargs)

    return with_checks


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is what an annotation says; numbers may be those of NumPy, and lists any collection."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin is Callable:
        return callable(value)
    if origin in (list, Sequence):
        listed = isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping | Tensor)
        return listed and all(_fits(item, inner[0]) for item in value)
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, bool | np.bool_ if kind is bool else kind)


def _words(kind: Any) -> str:
    """What an annotation asks for, in words."""
    origin, inner = get_origin(kind), list(get_args(kind))
    if origin in (Union, UnionType):
        if str in inner and Path in inner:  # text is a path then
            inner.remove(str)
        inner.sort(key=lambda one: one is NoneType)
        return " or ".join(_words(one) for one in inner)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is Callable:
        return "a function"
    if origin in (list, Sequence):
        return f"a list of {_SEVERAL.get(inner[0]) or f'{inner[0].__name__}s'}"
    return _WORDS.get(kind) or f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
