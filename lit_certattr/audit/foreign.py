"""Classes from other packages that a run uses."""

from collections.abc import Iterator, Mapping
from typing import Any

TRUSTED = ("lit_certattr", "torch", "torchvision", "timm")
"""Packages whose classes are imported and constructed without permission of the user."""


def foreign_classes(config: Any) -> list[str]:
    """Classes in a configuration that belong to none of the :data:`TRUSTED` packages, sorted.

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
