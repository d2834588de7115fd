"""Where Python and its packages are installed."""

import sysconfig
from pathlib import Path

_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def is_installed_file(file: str | Path) -> bool:
    """Whether a file lies where Python and packages are installed.

    Args:
        file: Its path.

    Example:
        >>> import json
        >>> is_installed_file(json.__file__)
        True
    """
    return any(Path(file).resolve().is_relative_to(place) for place in _INSTALLED)
