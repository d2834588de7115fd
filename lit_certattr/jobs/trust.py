"""What a configuration that somebody else may have written is allowed to build.

A configuration names classes, and to build one is to run its code, with arguments that may name more: a function to
call, a file of further settings. So an untrusted one is not given to the parser of the command line, which resolves
all of these. :func:`build` takes classes of known packages, of known kinds, with plain values and such objects as
arguments; a text stays a text.
"""

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from torch import nn

from lit_certattr.attribution import Attribution
from lit_certattr.audit.foreign import TRUSTED
from lit_certattr.certificates import Certificate
from lit_certattr.certification import StoppingRule
from lit_certattr.data import ImageDataModule
from lit_certattr.errors import InputError
from lit_certattr.settings.moved import current_path
from lit_certattr.smoothing import Noise

_KINDS = (nn.Module, Attribution, Noise, Certificate, StoppingRule, ImageDataModule)


def build(spec: Any, place: str, packages: Sequence[str] = TRUSTED) -> Any:
    """The object that plain values describe, without importing anything foreign.

    Args:
        spec: A mapping with ``class_path`` and ``init_args``, or lists and mappings of such, or plain values.
        place: Where it stands, for complaints.
        packages: Packages whose classes may be built.

    Raises:
        InputError: If a class is foreign, is no network, method, noise, certificate, rule or data set, or refuses its
            arguments.

    Example:
        >>> build({"class_path": "lit_certattr.smoothing.GaussianNoise", "init_args": {"sigma": 0.25}}, "noise")
        GaussianNoise(sigma=0.25)
    """
    if isinstance(spec, list):
        return [build(item, place, packages) for item in spec]
    if not isinstance(spec, Mapping):
        return spec
    if "class_path" not in spec:
        return {key: build(value, f"{place}.{key}", packages) for key, value in spec.items()}
    kind = trusted_class(str(spec["class_path"]), place, packages)
    arguments = {**(spec.get("init_args") or {}), **(spec.get("dict_kwargs") or {})}
    return call(kind, {key: build(value, f"{place}.{key}", packages) for key, value in arguments.items()}, place)


def call(kind: type, arguments: Mapping[str, Any], place: str) -> Any:
    """An object of a class, with lists as tuples where it asks for tuples.

    Raises:
        InputError: If the class refuses its arguments.
    """
    try:
        hints = get_type_hints(inspect.getattr_static(kind, "__init__"))
        ready = {
            key: tuple(value) if isinstance(value, list) and _is_tuple(hints.get(key)) else value
            for key, value in arguments.items()
        }
        return kind(**ready)
    except InputError:
        raise
    except Exception as error:  # whatever hostile arguments provoke
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(f"{place}: {kind.__name__} refuses its arguments ({reason})") from error


def _is_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(get_origin(part) is tuple for part in get_args(hint))


def trusted_class(path: str, place: str, packages: Sequence[str] = TRUSTED) -> type:
    """The class of this name, if it is of a package whose classes may be built.

    Args:
        path: Dotted path of the class.
        place: Where it stands, for complaints.
        packages: These packages.

    Raises:
        InputError: If it is not, naming ``--trust`` and ``--import``.
    """
    module, _, name = current_path(path).rpartition(".")
    found: Any = None
    if path.partition(".")[0] in packages:
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            found = None
    if not (inspect.isclass(found) and issubclass(found, _KINDS) and found.__module__.partition(".")[0] in packages):
        raise InputError(
            f"{place}: {path[:200]} is no network, method, noise, certificate, rule or data set of "
            f"{', '.join(packages)}; --trust imports it, as you would run a script, or --import its package alone"
        )
    return found


@contextmanager
def nothing_from(folder: Path) -> Iterator[None]:
    """Inside the block no module is imported from below a directory, however the search path leads there.

    Args:
        folder: E.g. a run directory.
    """
    guard = _Guard(folder.resolve())
    sys.meta_path.insert(0, guard)
    try:
        yield
    finally:
        sys.meta_path.remove(guard)


def import_packages(names: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Import packages on the user's word, never from a run directory.

    Args:
        names: Names of packages or modules, as in an ``import`` statement.
        folder: The run directory.

    Returns:
        The packages whose classes may be built: :data:`TRUSTED` and these.

    Raises:
        InputError: If one cannot be imported, or lies in the run directory.
    """
    with nothing_from(folder):
        for name in names:
            try:
                module = importlib.import_module(name)
            except (Exception, SystemExit) as error:  # whatever the code of the package raises
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                raise InputError(f"--import: {name[:200]} cannot be imported ({reason})") from error
            place = getattr(module, "__file__", None)
            if place is not None and Path(place).resolve().is_relative_to(folder.resolve()):
                raise InputError(f"--import: {name} lies in {folder}, from which nothing is imported")
    return (*TRUSTED, *(name.partition(".")[0] for name in names))


class _Guard:
    """Finds modules as usual, and refuses those below a directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            places = [spec.origin, *(spec.submodule_search_locations or [])]
            if any(place and Path(place).resolve().is_relative_to(self.folder) for place in places):
                raise ModuleNotFoundError(f"{name} lies in {self.folder}, from which nothing is imported", name=name)
        return None
