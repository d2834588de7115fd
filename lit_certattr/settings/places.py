"""Where Python and its packages are installed."""

import sysconfig
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_SITES = {"site-packages", "dist-packages"}


def is_installed_file(file: str | Path) -> bool:
    """Whether a file lies where Python and packages are installed.

    That is more than the folders of this interpreter: an environment may take packages of the system or of the user's
    home, and ``pip install --target`` puts them anywhere, with a record beside them.

    Args:
        file: Its path.

    Example:
        >>> import json
        >>> is_installed_file(json.__file__)
        True
    """
    path = Path(file).resolve()
    if any(path.is_relative_to(place) for place in _INSTALLED) or not _SITES.isdisjoint(path.parts):
        return True
    return any(path.relative_to(folder).parts[0] in _recorded(folder) for folder in path.parents)


@lru_cache(maxsize=256)
def _recorded(folder: Path) -> frozenset[str]:
    """Modules and packages in a folder that an installer has put there, as its records say; no editable ones."""
    names = set[str]()
    for record in folder.glob("*.dist-info/RECORD"):
        with suppress(OSError), record.open(encoding="utf-8", errors="replace") as lines:
            names |= {line.partition(",")[0].partition("/")[0] for line in lines}
    return frozenset(names)
