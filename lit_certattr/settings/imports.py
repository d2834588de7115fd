"""Modules that the code of a function imports when it is called."""

import dis
import importlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec, resolve_name
from pathlib import Path
from types import CodeType, ModuleType

from lit_certattr.settings.places import is_installed_file


def imported_by(code: CodeType, package: str | None) -> Iterator[ModuleType]:
    """Modules of the user that code imports by ``import`` statements of its own, which its module does not hold.

    They are imported here if they are not yet: whether a function was called before must not decide what it is.
    Modules of Python and of installed packages are left alone, and so is what cannot be imported.

    Args:
        code: That of a function.
        package: ``__package__`` of its module, for relative imports.
    """
    loaded: list[object] = []
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            level, names = (loaded[-2], loaded[-1]) if len(loaded) > 1 else (0, None)
            dots = "." * level if isinstance(level, int) else ""
            yield from _modules(f"{dots}{step.argval}", package, names if isinstance(names, tuple) else ())
        elif step.opname.startswith("LOAD_"):  # the level and the names of an import are loaded just before it
            loaded.append(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from imported_by(constant, package)


def _modules(name: str, package: str | None, names: tuple[str, ...]) -> Iterator[ModuleType]:
    try:
        whole = resolve_name(name, package)
        if not _is_users_package(whole.partition(".")[0]):
            return
        module = importlib.import_module(whole)
    except Exception:  # whatever its code raises: it is the function that must say so, when it is called
        return
    yield module if names else sys.modules[whole.partition(".")[0]]
    for below in names:
        if not hasattr(module, below):
            yield from _modules(f"{whole}.{below}", None, (below,))


def _is_users_package(root: str) -> bool:
    """Whether a package is neither this one nor an installed one, found without importing it."""
    if root == __name__.partition(".")[0] or root in sys.stdlib_module_names:
        return False
    spec = find_spec(root)
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or [])]
    return bool(places) and not any(place and is_installed_file(Path(place)) for place in places)
