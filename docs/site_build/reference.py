"""The API reference: one page per room of the package, made of its ``__all__`` and its docstrings."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import lit_certattr
from lit_certattr import __all__ as WAY_IN

PACKAGE = Path(lit_certattr.__file__).parent

# The rooms, in the order in which a user meets them. One that is not named here is put at the end.
GROUPS = {
    "Certify": [
        "interactive",
        "certification",
        "certificates",
        "smoothing",
        "attribution",
        "budgets",
        "regions",
        "numbers",
        "jobs",
    ],
    "Train": ["modules", "objectives", "callbacks", "models", "data"],
    "Measure": ["metrics", "attacks", "robustness", "comparison", "reports", "records"],
    "Inside": ["partitions", "statistics", "preflight", "settings"],
}
OPEN = [path.parent.name for path in sorted(PACKAGE.glob("*/__init__.py")) if "__all__ = " in path.read_text("utf-8")]
GROUPS["Inside"] += [room for room in OPEN if not any(room in rooms for rooms in GROUPS.values())]
ROOMS = [room for rooms in GROUPS.values() for room in rooms]
FOLDER = "api"


def public_names(room: str) -> list[str]:
    """What a room offers: its ``__all__``."""
    return list(import_module(f"lit_certattr.{room}").__all__)


def summary(thing: object) -> str:
    """The first line of a docstring; of a constant its value, of a type the choices that it lists."""
    if get_origin(thing) is Literal:
        return "One of " + ", ".join(f"``{choice!r}``" for choice in get_args(thing)) + "."
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return f"``{_value(thing)}``"
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def _entry(thing: object, name: str) -> list[str]:
    """The directive that explains a name; of a constant or a type there is no docstring, but its value."""
    if inspect.isclass(thing):
        return [f".. autoclass:: {name}"]
    if inspect.isroutine(thing):
        return [f".. autofunction:: {name}"]
    return [f".. py:data:: {name}", f"   :value: {_value(thing)}"]


def _value(thing: object) -> str:
    return " ".join(repr(thing).replace("typing.", "").replace("collections.abc.", "").split())


def home(thing: object) -> str:
    """The room in which a class or a function is written, and of which it is a public name; else nothing."""
    module, name = getattr(thing, "__module__", "") or "", getattr(thing, "__name__", "")
    room = module.split(".")[1] if module.startswith("lit_certattr.") else ""
    return room if room in ROOMS and name in public_names(room) else ""


def room_page(room: str) -> str:
    """The page of one room in reStructuredText: a table of names with one line each, then everything about each."""
    module = import_module(f"lit_certattr.{room}")
    name = module.__name__
    lines = [name, "=" * len(name), "", f".. module:: {name}", "", *inspect.getdoc(module).splitlines(), ""]
    lines += [".. list-table::", "   :widths: 38 62", "   :class: names", ""]
    for public in module.__all__:
        thing = getattr(module, public)
        lines += [f"   * - :py:obj:`~lit_certattr.{home(thing) or room}.{public}`", f"     - {summary(thing)}"]
    for public in module.__all__:
        thing = getattr(module, public)
        if home(thing) not in ("", room):
            continue  # explained in its own room
        lines += ["", public, "-" * len(public), "", *_entry(thing, f"{name}.{public}")]
    return "\n".join(lines) + "\n"


def index_page() -> str:
    """The page that names all rooms, by what they are for."""
    lines = ["API reference", "=============", ""]
    lines += ["``lit_certattr`` itself offers the way in: " + ", ".join(f"``{name}``" for name in WAY_IN) + ".", ""]
    for group, rooms in GROUPS.items():
        lines += [group, "-" * len(group), "", ".. list-table::", "   :widths: 38 62", "   :class: names", ""]
        for room in rooms:
            about = " ".join((inspect.getdoc(import_module(f"lit_certattr.{room}")) or "").split("\n\n")[0].split())
            lines += [f"   * - :doc:`lit_certattr.{room} <{room}>`", f"     - {about}"]
        lines += ["", ".. toctree::", "   :hidden:", "   :titlesonly:", "", *(f"   {room}" for room in rooms), ""]
    return "\n".join(lines)


def commands_page() -> str:
    """The page of the commands: what ``--help`` says of each, without the list of its settings."""
    certify = import_module("lit_certattr.cli.certify")
    helps = {f"certify.py {name}": command.help for name, command in certify.COMMANDS.items()}
    helps["train.py"] = import_module("lit_certattr.cli.train").DESCRIPTION
    lines = ["Commands", "========", ""]
    lines += [
        "``--help`` of a command lists every setting. ``lit-certattr certify`` and ``lit-certattr train`` are the same."
    ]
    for name, text in helps.items():
        first, _, rest = text.partition("\n")
        lines += ["", name, "-" * len(name), "", first, "", ".. code-block:: text", ""]
        lines += [f"   {line}".rstrip() for line in rest.strip("\n").splitlines()]
    return "\n".join(lines) + "\n"


def write_pages(app: Sphinx) -> None:
    """Write the pages into ``docs/api``; a page that has not changed is not touched, so that it is not built again."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    pages = {"index": index_page(), "commands": commands_page(), **{room: room_page(room) for room in ROOMS}}
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def found(name: str) -> Any:
    """What a full name stands for.

    Raises:
        ImportError, AttributeError: If there is no such thing.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing = import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            thing = getattr(thing, part)
        return thing
    raise ImportError(name)


def existing_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.Element | None:
    """Resolve a name of this package that has no entry: a link to the entry of the same object, else plain text."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("lit_certattr."):
        return None
    try:
        thing = found(target)
    except (ImportError, AttributeError):
        return None
    domain = env.get_domain("py")
    home, _, own = target.rpartition(".")
    room = ".".join(home.split(".")[:2])
    if f"{room}.{own}" in domain.objects and found(f"{room}.{own}") is thing:
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", f"{room}.{own}", node, text)
    return text


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", write_pages)
    app.connect("missing-reference", existing_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
