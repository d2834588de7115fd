"""Docstrings that leave out what a caller needs: an argument without a meaning, an error nobody is told of."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from docstring_parser import DocstringStyle, parse

import lit_certattr

PACKAGE = Path(lit_certattr.__file__).parent
ROOMS = (
    "attacks",
    "attribution",
    "audit",
    "callbacks",
    "certificates",
    "certification",
    "cli",
    "comparison",
    "data",
    "files",
    "interactive",
    "jobs",
    "metrics",
    "models",
    "modules",
    "numbers",
    "objectives",
    "preflight",
    "records",
    "reports",
    "robustness",
    "settings",
    "smoothing",
    "statistics",
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_public(node: ast.stmt) -> bool:
    return isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")


def constructor(node: ast.ClassDef) -> Function | None:
    return next((part for part in node.body if isinstance(part, Function) and part.name == "__init__"), None)


def is_attrs(node: ast.ClassDef) -> bool:
    return any("frozen" in ast.unparse(mark) or "define" in ast.unparse(mark) for mark in node.decorator_list)


def fields(node: ast.ClassDef) -> set[str]:
    """The fields of an attrs class that its constructor takes."""
    return {
        part.target.id
        for part in node.body
        if isinstance(part, ast.AnnAssign)
        and isinstance(part.target, ast.Name)
        and "ClassVar" not in ast.unparse(part.annotation)
        and "init=False" not in ast.unparse(part)
        and not part.target.id.startswith("_")
    }


def arguments(function: Function) -> set[str]:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    names = {argument.arg for argument in every if argument is not None}
    return {name for name in names if name not in ("self", "cls") and not name.startswith("_")}


def raises_input_error(body: list[ast.stmt]) -> bool:
    """Whether one of these statements itself raises an InputError, functions inside left out."""
    for statement in body:
        if isinstance(statement, Function | ast.ClassDef):
            continue
        if isinstance(statement, ast.Raise) and statement.exc is not None and "InputError(" in ast.unparse(statement):
            return True
        blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
        blocks += [handler.body for handler in getattr(statement, "handlers", [])]
        blocks += [case.body for case in getattr(statement, "cases", [])]
        if any(raises_input_error(block) for block in blocks):
            return True
    return False


def is_inherited(function: Function) -> bool:
    return any(ast.unparse(mark) in ("override", "overload") for mark in function.decorator_list)


def gaps(docstring: str | None, names: set[str], raising: bool, what: str) -> Iterator[str]:
    """What a docstring lacks."""
    parsed = parse(docstring or "", DocstringStyle.GOOGLE)
    told = {name.strip().lstrip("*") for part in parsed.params for name in part.arg_name.split(",")}
    if missing := sorted(names - told):
        yield f"{what}: Args lacks {', '.join(missing)}"
    if raising and not any(error.type_name == "InputError" for error in parsed.raises):
        yield f"{what}: Raises lacks InputError"


def gaps_of_file(source: str, name: str) -> Iterator[str]:
    for node in filter(is_public, ast.parse(source).body):
        what = f"{name}:{node.lineno} {node.name}"
        if isinstance(node, Function):
            if not is_inherited(node):
                yield from gaps(ast.get_docstring(node), arguments(node), raises_input_error(node.body), what)
            continue
        init = constructor(node)
        post = [part for part in node.body if isinstance(part, Function) and part.name == "__attrs_post_init__"]
        names = arguments(init) if init else fields(node) if is_attrs(node) else set()
        raising = any(raises_input_error(part.body) for part in [*([init] if init else []), *post])
        yield from gaps(ast.get_docstring(node), names, raising, what)
        for part in filter(is_public, node.body):
            if isinstance(part, Function) and not is_inherited(part) and raises_input_error(part.body):
                yield from gaps(ast.get_docstring(part), set(), True, f"{what}.{part.name}")


@pytest.mark.parametrize("room", ROOMS)
def test_a_public_name_leaves_out_an_argument_or_an_error(room: str) -> None:
    found = [
        gap
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for gap in gaps_of_file(path.read_text("utf-8"), path.relative_to(PACKAGE).as_posix())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", ROOMS)
def test_a_docstring_only_points_elsewhere(room: str) -> None:
    """What adds nothing to the method of the base has ``@override`` and inherits its docstring (help, Sphinx)."""
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, Function | ast.ClassDef) and (ast.get_docstring(node) or "").startswith("See ")
    ]
    assert not found, "\n".join(found)
