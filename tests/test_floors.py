"""The house: which room may import from which, no circles, and no file without a room.

Rooms stand one above the other, and each imports from those below it alone. A new room gets its place in ``FLOORS``.
"""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import lit_certattr

PACKAGE = Path(lit_certattr.__file__).parent
FLOORS = (
    "errors",
    "devices",
    "settings",
    "files",
    "processes",
    "statistics",
    "partitions",
    "budgets",
    "smoothing",
    "models",
    "data",
    "regions",
    "attribution",
    "preflight",
    "attacks",
    "numbers",
    "certificates",
    "certification",
    "metrics",
    "objectives",
    "robustness",
    "modules",
    "records",
    "comparison",
    "reports",
    "interactive",
    "audit",
    "callbacks",
    "jobs",
    "cli",
)


def sources():
    """Each module of the package by its dotted name below it, with its syntax tree; doctests are no imports."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), ast.parse(path.read_text())


def imported(tree):
    """Dotted names below the package that a module imports anywhere, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lit_certattr":
            below = node.module.partition(".")[2]
            for alias in node.names:
                yield f"{below}.{alias.name}".lstrip("."), node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("lit_certattr."):
                    yield alias.name.partition(".")[2], node.lineno


def test_no_room_imports_from_one_above_it():
    upwards = []
    for module, tree in sources():
        room = module.partition(".")[0]
        for name, line in imported(tree):
            other = name.partition(".")[0]
            if room not in ("", "__main__", other) and FLOORS.index(other) > FLOORS.index(room):
                upwards.append(f"{module}:{line} imports {name}")
    assert not upwards


def test_every_room_has_a_floor_and_every_floor_is_there():
    rooms = {path.stem for path in PACKAGE.iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"}
    assert rooms - {"__init__", "__main__"} == set(FLOORS)


def test_no_circle_of_modules():
    trees = dict(sources())
    graph = {
        module: {
            found
            for name, _ in imported(tree)
            for found in (name, name.rpartition(".")[0])
            # A package is its front door, through which its own modules never go.
            if found in trees and found != module and not module.startswith(f"{found}.")
        }
        for module, tree in trees.items()
        if module
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(f"circle: {' <- '.join(error.args[1])}") from None


def test_nothing_lies_on_the_doorstep():
    loose = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert loose == {"__init__.py", "__main__.py", "errors.py", "py.typed"}


def test_the_map_of_the_house_names_every_room():
    readme = (PACKAGE.parent / "README.md").read_text()
    table = readme[readme.index("## Where things are") : readme.index("## What it refuses")]
    named = set(re.findall(r"`(?:lit_certattr/)?(\w+)`", table))
    assert set(FLOORS) - {"errors"} <= named
