"""Mutants of a module: each constant and operation of its functions, or each number of the module itself, changed."""

import __future__

import ast
import contextlib
import copy
import importlib
import inspect
import sys
import textwrap
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

OF_THE_MODULE = ""
"""In the place of the name of a function: a number that the whole module uses."""

_TINY = 1e-3  # a tolerance, or an allowance for rounding


def imported(room: str) -> types.ModuleType:
    """A module below ``lit_certattr``."""
    return importlib.import_module(f"lit_certattr.{room}")


class Mutant(NamedTuple):
    """One change of one function, or of one number of a module, whose name is the ``source`` then."""

    module: str
    function: str
    line: int
    change: str
    source: str
    value: Any = None


_BINARY = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
_COMPARE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_NAMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "floor": "ceil", "ceil": "floor"}


def _other_name(name: str) -> str | None:
    if name in _NAMES:
        return _NAMES[name]
    for own, other in (("_lower", "_upper"), ("_upper", "_lower")):
        if name.endswith(own):
            return name.removesuffix(own) + other
    return None


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    """What can be changed at a node, and how, in place."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        new = 1 if node.value == 0 else 2 * node.value
        yield f"{node.value} -> {new}", lambda copied: setattr(copied, "value", new)
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        other = _BINARY[type(node.op)]
        yield f"{ast.unparse(node)[:60]}: {other.__name__}", lambda copied: setattr(copied, "op", other())
    elif isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            if type(operator) in _COMPARE:
                change = _COMPARE[type(operator)]

                def swap(copied: Any, index: int = index, change: type = change) -> None:
                    copied.ops[index] = change()

                yield f"{ast.unparse(node)[:60]}: {change.__name__}", swap
    elif isinstance(node, ast.Name) and (other_name := _other_name(node.id)) and isinstance(node.ctx, ast.Load):
        yield f"{node.id} -> {other_name}", lambda copied: setattr(copied, "id", other_name)
    elif isinstance(node, ast.Attribute) and (other_name := _other_name(node.attr)) and isinstance(node.ctx, ast.Load):
        yield f"{node.attr} -> {other_name}", lambda copied: setattr(copied, "attr", other_name)


def _only_raises(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and all(isinstance(part, ast.Raise) for part in node.body)


def _places(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function that belong to what it computes."""
    yield node
    for child in ast.iter_child_nodes(node):
        if _only_raises(child) or isinstance(child, ast.arguments | ast.JoinedStr | ast.Raise | ast.Assert):
            continue
        if isinstance(node, ast.AnnAssign) and child is node.annotation:
            continue
        if isinstance(node, ast.FunctionDef) and (child is node.returns or child in node.decorator_list):
            continue
        yield from _places(child)


def functions(module: types.ModuleType, wanted: list[str] | None) -> Iterator[tuple[str, Any]]:
    """Functions and methods that a module defines."""
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        if isinstance(thing, type):
            for below, member in vars(thing).items():
                function = getattr(member, "__func__", getattr(member, "fget", member))
                if isinstance(innermost(function), types.FunctionType) and (wanted is None or below in wanted):
                    yield f"{name}.{below}", function
        elif isinstance(innermost(thing), types.FunctionType) and (wanted is None or name in wanted):
            yield name, thing


def innermost(function: Any) -> Any:
    """The function below its decorators."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def mutants(room: str, wanted: list[str] | None = None) -> list[Mutant]:
    """All mutants of the functions of a module below ``lit_certattr``, or of those that are wanted."""
    found = []
    seen: Counter[tuple[str, int, str]] = Counter()
    for name, function in functions(imported(room), wanted):
        inner = innermost(function)
        with contextlib.suppress(OSError):  # methods that attrs has made have no source
            tree = ast.parse(textwrap.dedent(inspect.getsource(inner)))
            if not isinstance(tree.body[0], ast.FunctionDef) or name.endswith(
                (".statement", ".plot", "__repr__", "__hash__")
            ):
                continue
            start = inner.__code__.co_firstlineno - 1
            for number, node in enumerate(_places(tree.body[0])):
                for change, apply in _changes(node):
                    copied = copy.deepcopy(tree)
                    apply(list(_places(copied.body[0]))[number])
                    copied.body[0].decorator_list = []  # type: ignore[attr-defined]
                    source = ast.unparse(ast.fix_missing_locations(copied))
                    line = start + getattr(node, "lineno", 0)
                    seen[name, line, change] += 1
                    which = f", number {seen[name, line, change]}" if seen[name, line, change] > 1 else ""
                    found.append(Mutant(room, name, line, change + which, source))
    return found


def module_numbers(room: str) -> list[Mutant]:
    """The numbers of a module itself (spans, tolerances, shares): doubled, halved, and, if they are tiny, left out."""
    module, found = imported(room), []
    for node in ast.parse(inspect.getsource(module)).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        for name in names:
            for words, other in _other_values(vars(module).get(name)):
                found.append(Mutant(room, OF_THE_MODULE, node.lineno, f"{name}: {words}", name, other))
    return found


def _other_values(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, np.ndarray):
        yield from (("doubled", 2 * value), ("halved", value / 2))
    elif isinstance(value, tuple):
        for index, one in enumerate(value):
            for words, other in _other_values(one):
                yield f"number {index + 1}, {words}", (*value[:index], other, *value[index + 1 :])
    elif isinstance(value, int | float) and not isinstance(value, bool):
        half = value // 2 if isinstance(value, int) else value / 2
        tiny = [0.0] if isinstance(value, float) and abs(value) < _TINY else []
        others = (2 * value, half, *tiny) if value else (value + 1,)
        yield from ((f"{value} -> {other}", other) for other in others)


def install(mutant: Mutant, rooms: Iterable[str]) -> None:
    """Put a mutant in the place of its function, or number, for everybody who has imported it."""
    module = imported(mutant.module)
    if mutant.function == OF_THE_MODULE:
        _replace(mutant.source, vars(module)[mutant.source], mutant.value)
    else:
        inner = innermost(dict(functions(module, None))[mutant.function])
        scope: dict[str, Any] = {}
        flags = __future__.annotations.compiler_flag  # hints are not evaluated
        exec(compile(mutant.source, "mutant", "exec", flags=flags), dict(vars(module)), scope)
        (made,) = scope.values()
        if made.__code__.co_freevars != inner.__code__.co_freevars:
            raise ValueError("a function that closes over others cannot be replaced")
        inner.__code__ = made.__code__
    forget(rooms)


def _replace(name: str, old: Any, new: Any) -> None:
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(name) is old:
            setattr(module, name, new)


def forget(rooms: Iterable[str]) -> None:
    """Empty the caches of all functions of modules: what was computed before is computed again."""
    for room in rooms:
        for _, other in functions(imported(room), None):
            if hasattr(other, "cache_clear"):
                other.cache_clear()
