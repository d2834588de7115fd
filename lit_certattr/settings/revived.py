"""Settings out of their plain form, as a record holds them; nothing is imported for it."""

import sys
from collections.abc import Mapping
from typing import Any

from lit_certattr.errors import InputError
from lit_certattr.settings.identity import Settings


class UnknownClass(InputError):
    """Plain settings are of a class that nobody has imported."""


def revived(value: Any) -> Any:
    """The objects that plain settings describe, the inverse of :meth:`Settings.settings`.

    A record is data that somebody else may have written: only classes of settings are made, and only those that this
    process has imported already.

    Args:
        value: Plain values; a mapping of ``class_path`` and ``init_args`` becomes an object.

    Raises:
        UnknownClass: If a class is not imported.
        InputError: If a class is no class of settings, or refuses its arguments.

    Example:
        >>> from lit_certattr.smoothing import GaussianNoise
        >>> revived([{"class_path": "lit_certattr.smoothing.noise.GaussianNoise", "init_args": {"sigma": 0.25}}, 1])
        [GaussianNoise(sigma=0.25), 1]
    """
    if isinstance(value, list | tuple):
        return [revived(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) != {"class_path", "init_args"}:
        return {key: revived(item) for key, item in value.items()}
    kind = _class(str(value["class_path"]))
    arguments = value["init_args"]
    if not isinstance(arguments, Mapping) or not all(isinstance(key, str) for key in arguments):
        raise InputError(f"init_args of {kind.__name__} must be a mapping of its arguments")
    try:
        return kind(**{key: revived(item) for key, item in arguments.items()})
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise InputError(f"{kind.__name__} refuses its settings: {' '.join(str(error).split())}") from None


def _class(path: str) -> type[Settings]:
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    if found is None:
        raise UnknownClass(f"{path:.120} is not known here: import the package that defines it")
    if not (isinstance(found, type) and issubclass(found, Settings)):
        raise InputError(f"{path:.120} is no class of settings")
    return found
