"""Builds objects from a configuration that somebody else may have written.

A configuration names classes. Building an object runs the code of its class, with arguments that may name more code: a
function to call, a file of further settings. The parser of the command line resolves all of these, so it must not read
an untrusted configuration. :func:`build` accepts classes of known packages and known kinds, with plain values and such
objects as arguments; a text stays a text.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from lightning import LightningDataModule
from torch import nn
from torch.utils.data import Dataset

from lit_certattr.attribution import Attribution
from lit_certattr.audit.foreign import TRUSTED
from lit_certattr.certificates import Certificate, Claim
from lit_certattr.certification import StoppingRule
from lit_certattr.data import ImageDataModule
from lit_certattr.errors import InputError
from lit_certattr.models import load_network
from lit_certattr.numbers import Mask, Number
from lit_certattr.regions import Regions
from lit_certattr.settings.moved import current_path
from lit_certattr.smoothing import Noise

_LOAD = "lit_certattr.models.load_network"
_OUTSIDE = (LightningDataModule, Dataset)
"""Kinds that are built only of packages that the user allows: some data sets download files when they are built."""
_KINDS = (nn.Module, Attribution, Noise, Certificate, StoppingRule, Regions, ImageDataModule, Claim, Number, Mask)


def build(spec: Any, place: str, packages: Sequence[str] = TRUSTED) -> Any:
    """Build the object that plain values describe, without importing a foreign package.

    Args:
        spec: A mapping with ``class_path`` and ``init_args``, or lists and mappings of such, or plain values.
        place: Name of the setting, for messages.
        packages: Packages whose classes may be built.

    Raises:
        InputError: If a class belongs to another package, is not a network, method, noise law, certificate, stopping
            rule, rule of regions or data set, or refuses its arguments.

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
    arguments = {**(spec.get("init_args") or {}), **(spec.get("dict_kwargs") or {})}
    arguments = {key: build(value, f"{place}.{key}", packages) for key, value in arguments.items()}
    if spec["class_path"] == _LOAD:  # which trusts no file either
        return call(load_network, arguments, place)
    return call(trusted_class(str(spec["class_path"]), place, packages), arguments, place)


def call(kind: Callable[..., Any], arguments: Mapping[str, Any], place: str) -> Any:
    """Build an object of a class; lists become tuples if the class expects tuples.

    Args:
        kind: The class, or a function.
        arguments: Arguments of its constructor.
        place: Name of the setting, for messages.

    Raises:
        InputError: If the class refuses its arguments.
    """
    try:
        hints = get_type_hints(inspect.getattr_static(kind, "__init__") if inspect.isclass(kind) else kind)
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
    """The class with this name, if it belongs to a package whose classes may be built.

    Args:
        path: Dotted path of the class.
        place: Name of the setting, for messages.
        packages: Packages whose classes may be built.

    Raises:
        InputError: If the class belongs to another package; the message names ``--trust`` and ``--import``.
    """
    module, _, name = current_path(path).rpartition(".")
    found: Any = None
    if path.partition(".")[0] in packages:
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            found = None
    allowed = path.partition(".")[0] in packages[len(TRUSTED) :]
    if not (
        inspect.isclass(found) and _is_known_kind(found, allowed) and found.__module__.partition(".")[0] in packages
    ):
        raise InputError(
            f"{place}: {path[:200]} is no network, method, noise, certificate, rule, regions or data set of "
            f"{', '.join(packages)}; if you trust its code as you would a script, add --trust, or --import PACKAGE"
        )
    return found


def _is_known_kind(found: type, allowed: bool) -> bool:
    """Whether a class is of a kind that a configuration may name; of allowed packages also data and transforms."""
    if issubclass(found, _KINDS):
        return True
    return allowed and (issubclass(found, _OUTSIDE) or any("__call__" in vars(kind) for kind in found.__mro__))


@contextmanager
def nothing_from(folder: Path) -> Iterator[None]:
    """Forbid imports from a directory inside the block, whatever the search path contains.

    Args:
        folder: The directory, e.g. a run directory.
    """
    guard = _Guard(folder.resolve())
    sys.meta_path.insert(0, guard)
    try:
        yield
    finally:
        sys.meta_path.remove(guard)


def import_packages(names: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Import packages that the user allows, never from a run directory.

    Args:
        names: Names of packages or modules, as in an ``import`` statement.
        folder: The run directory.

    Returns:
        The packages whose classes may be built: :data:`TRUSTED` and the given ones.

    Raises:
        InputError: If a package cannot be imported, or lies in the run directory.
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
        """Find a module as Python does; the method of :class:`importlib.abc.MetaPathFinder`.

        Args:
            name: Name of the module.
            path: Search path of its package.
            target: Module to reload.

        Raises:
            ModuleNotFoundError: If the module lies in the directory.
        """
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            places = [spec.origin, *(spec.submodule_search_locations or [])]
            if any(place and Path(place).resolve().is_relative_to(self.folder) for place in places):
                raise ModuleNotFoundError(f"{name} lies in {self.folder}, from which nothing is imported", name=name)
        return None
