"""Common parts of the HTML pages: style, sorting, tables, pictures."""

import base64
import hashlib
import io
import warnings
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Sorting on a click; a number sorts as a number. Its hash is the only script that the page's policy allows.
_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = row => row.cells[column].dataset.value;
      const order = (a, b) => a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b : a.localeCompare(b);
      [...body.rows].sort((a, b) => order(key(a), key(b)) * (down ? -1 : 1)).forEach(row => body.append(row));
    });
  });
}
"""

# A field that filters the rows of a long table, and pages of 50 rows; without scripts all rows are shown.
_PAGING = """
for (const table of document.querySelectorAll("table.paged")) {
  const body = table.tBodies[0], size = 50, bar = document.createElement("p");
  const field = document.createElement("input"), text = document.createElement("span");
  const words = row => [...row.cells].map(cell => cell.textContent).join(" ").toLowerCase();
  let first = 0;
  const show = () => {
    const asked = field.value.toLowerCase().split(/\\s+/).filter(Boolean), rows = [...body.rows];
    const found = rows.filter(row => asked.every(word => words(row).includes(word)));
    first = Math.max(0, Math.min(first, Math.floor((found.length - 1) / size) * size));
    const now = new Set(found.slice(first, first + size));
    rows.forEach(row => { row.hidden = !now.has(row); });
    const last = Math.min(first + size, found.length);
    text.textContent = found.length ? ` ${first + 1} to ${last} of ${found.length} rows ` : " no such row ";
  };
  const turn = (name, step) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "screen";
    button.textContent = name;
    button.addEventListener("click", () => { first += step; show(); });
    return button;
  };
  field.type = "search";
  field.placeholder = "filter: an image, a class";
  field.className = "screen";
  field.setAttribute("aria-label", "Filter the rows of: " + table.parentElement.getAttribute("aria-label"));
  text.setAttribute("role", "status");
  field.addEventListener("input", () => { first = 0; show(); });
  table.tHead.addEventListener("click", () => { first = 0; show(); });
  bar.className = "bar";
  bar.append(field, text, turn("earlier", -size), turn("later", size));
  table.parentElement.before(bar);
  show();
}
"""


class Cell(NamedTuple):
    """One cell of a table.

    Attributes:
        value: Value by which the table is sorted.
        shown: Text of the cell.
        text: Whether the cell is aligned as text, not as a number.
    """

    value: str
    shown: str
    text: bool = False


class Column(NamedTuple):
    """The head of a column.

    Attributes:
        name: Text of the head.
        text: Whether the column is aligned as text, not as numbers.
    """

    name: str
    text: bool = False


class Table(NamedTuple):
    """A table of the report.

    Attributes:
        title: Heading above the table.
        columns: Heads of the columns.
        rows: Cells of each row.
        note: Text below the table.
    """

    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    note: str


def template(name: str) -> jinja2.Template:
    """A template of this package; it escapes all values.

    Args:
        name: File name of the template.
    """
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("lit_certattr.reports")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def scripts(paged: bool = False) -> dict[str, str]:
    """The script of a page, and its hash for the Content-Security-Policy of the page.

    Args:
        paged: Whether the page has tables of class ``paged``, of which 50 rows are shown at once.
    """
    script = _SCRIPT + _PAGING if paged else _SCRIPT
    return {
        "script": Markup(script),  # noqa: S704  (a constant)
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def render(figure: "Figure", kind: str = "png", dpi: int = 150) -> bytes:
    """A figure as the content of a file; it contains no time, so equal figures give equal bytes.

    Args:
        figure: The figure.
        kind: ``"png"`` or ``"pdf"``.
        dpi: Dots per inch.
    """
    file = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"CreationDate": None}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a class name in a script that the font lacks
        _settle(figure, dpi)
        figure.savefig(file, format=kind, dpi=dpi, metadata=metadata)
    return file.getvalue()


def _settle(figure: "Figure", dpi: int) -> None:
    """Lay out a figure and round the positions of its parts.

    The solver of matplotlib's constrained layout gives positions that differ by 1e-16 from call to call. This is enough
    to change pixels at edges: the page of a resumed run would differ from the page of an uninterrupted run.
    """
    from matplotlib.transforms import Bbox

    if figure.get_layout_engine() is None:
        return
    figure.set_dpi(dpi)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:  # cells, which have no parts of their own
        part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), 6))
    for axes in figure.axes:
        axes.set_position(Bbox(np.round(axes.get_position(original=True).get_points(), 6)))
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((round(x, 6), round(y, 6)))
