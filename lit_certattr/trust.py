"""What a configuration that somebody else may have written is allowed to build."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

TRUSTED = ("lit_certattr", "torch", "torchvision", "timm")
"""Packages whose classes are built without being told to."""


def foreign_classes(config: Any) -> list[str]:
    """Classes that a configuration names and that are of none of the :data:`TRUSTED` packages, sorted.

    Args:
        config: Plain nested values.

    Example:
        >>> foreign_classes({"network": {"class_path": "mine.Net"}, "data": {"class_path": "lit_certattr.data.Digits"}})
        ['mine.Net']
    """
    return sorted({path for path in _class_paths(config) if path.partition(".")[0] not in TRUSTED})


def _class_paths(config: Any) -> Iterator[str]:
    below: list[Any] = [config]
    while below:
        value = below.pop()
        if isinstance(value, Mapping):
            if "class_path" in value:
                yield str(value["class_path"])
            below += value.values()
        elif isinstance(value, list):
            below += value


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
