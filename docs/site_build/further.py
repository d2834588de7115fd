"""A page that no list of contents names is put under "Further pages", so that it is never lost."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_LIST = re.compile(r"^```\{toctree\}\n(.*?)^```", re.DOTALL | re.MULTILINE)


def listed(index: str) -> list[str]:
    """The pages that the lists of contents of a page name."""
    lines = [line for block in _LIST.findall(index) for line in block.splitlines()]
    return [re.sub(r".*<(.+)>$", r"\1", line) for line in lines if line and not line.startswith(":")]


def further_pages(index: str, folder: Path) -> str:
    """A list of contents of the pages of a folder that are in no other; nothing if there are none."""
    missing = sorted({path.stem for path in folder.glob("*.md")} - {"index", *listed(index)})
    options = [":caption: Further pages", ":hidden:", ":titlesonly:", ""]
    return "\n".join(["", "```{toctree}", *options, *missing, "```", ""]) if missing else ""


def _add(app: Sphinx, name: str, source: list[str]) -> None:
    if name == "index":
        source[0] += further_pages(source[0], Path(app.srcdir))


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the list while the first page is read."""
    app.connect("source-read", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
