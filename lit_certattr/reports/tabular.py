"""Tables as text: Markdown, LaTeX with booktabs, CSV. Everything that comes from a file or a name is escaped."""

import csv
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One cell.

    Attributes:
        shown: Its text.
        interval: Interval of the number; empty without one.
        null: The number of pure noise, or chance; empty where it is unknown.
        value: The number by which a reader may sort.
        text: Whether it is aligned as text.
    """

    shown: str
    interval: str = ""
    null: str = ""
    value: str = ""
    text: bool = False

    @property
    def lines(self) -> list[str]:
        """Its parts that are not empty."""
        return [part for part in self[:3] if part]


class Grid(NamedTuple):
    """A table.

    Attributes:
        title: Heading.
        heads: Heads of the columns.
        rows: Cells of each row; they may be computed again whenever they are read.
        note: Text below.
    """

    title: str
    heads: list[str]
    rows: Sequence[Sequence[Entry]]
    note: str = ""

    @property
    def texts(self) -> list[bool]:
        """Which columns are aligned as text, as the first one always is."""
        found = {0}
        for row in self.rows:
            found.update(place for place, cell in enumerate(row) if cell.text)
        return [place in found for place in range(len(self.heads))]


_CHARACTERS, _FEWEST, _MANY = 80, 10, 6
"""For LaTeX: characters of a line, least characters of a column, number of columns of a table that is set smaller."""
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~&$])")
_MINUS = re.compile(r"(?<![\w-])-(?=\d)")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # after the end of a row it would begin an argument, and so would a star
    "]": "{]}",
    "*": "{*}",
    "→": r"$\to$",
    "−": "$-$",
    "±": r"$\pm$",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def printable(text: str) -> str:
    r"""Text in one line that cannot control a terminal: a name may come from a file that somebody else made.

    Args:
        text: Any text.

    Example:
        >>> printable("a\x1b[2Jb\nc")
        'a?[2Jb?c'
    """
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def escape_markdown(text: str) -> str:
    r"""Text that Markdown shows as it is, also in a table.

    Args:
        text: One line.

    Example:
        >>> escape_markdown("a|b_c <i>")
        'a\\|b\\_c \\<i\\>'
    """
    return _MARKDOWN.sub(r"\\\1", printable(text))


def escape_latex(text: str) -> str:
    r"""Text that LaTeX prints as it is.

    Args:
        text: One line.

    Example:
        >>> escape_latex("50 % of a_b & c")
        '50 \\% of a\\_b \\& c'
    """
    return "".join(_LATEX.get(sign, sign) for sign in printable(text))


def markdown(grids: Sequence[Grid]) -> str:
    """Tables in Markdown, each under a heading.

    Args:
        grids: The tables.
    """
    return "\n".join(_markdown(grid) for grid in grids)


def _markdown(grid: Grid) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [f"### {escape_markdown(grid.title)}", "", line([escape_markdown(head) for head in grid.heads])]
    lines.append(line(["---" if text else "---:" for text in grid.texts]))
    lines += [line([" ".join(map(escape_markdown, cell.lines)) for cell in row]) for row in grid.rows]
    return "\n".join([*lines, *(["", escape_markdown(grid.note)] if grid.note else []), ""])


def latex(grids: Sequence[Grid]) -> str:
    r"""Tables for LaTeX, each in a ``table``; they need ``\usepackage{booktabs}``.

    Args:
        grids: The tables.
    """
    return "\n".join(["% needs \\usepackage{booktabs}", *(_latex(grid) for grid in grids)])


def _latex(grid: Grid) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"{' & '.join(cells)} \\\\"

    caption = escape_latex(f"{grid.title}. {grid.note}".strip() if grid.note else grid.title)
    lines = ["\\begin{table}", "\\centering", f"\\caption{{{caption}}}"]
    lines += ["\\footnotesize\\setlength{\\tabcolsep}{3pt}"] if len(grid.heads) >= _MANY else []
    rest = len(grid.heads) - 1
    widths = [_CHARACTERS, *[max(_FEWEST, _CHARACTERS // (rest + 1))] * rest]  # names of runs are not broken
    sides = ["l" if text else "r" for text in grid.texts]
    lines += [f"\\begin{{tabular}}{{{''.join(sides)}}}", "\\toprule"]
    lines += [line(map(_stacked, map(_wrapped, grid.heads, widths), sides)), "\\midrule"]
    gap = "\\addlinespace\n" if any(len(cell.lines) > 1 for row in grid.rows for cell in row) else ""
    lines.append(f"\n{gap}".join(line(map(_latex_cell, row, sides, widths)) for row in grid.rows))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def _latex_cell(cell: Entry, side: str, width: int) -> str:
    """The number with its interval and that of pure noise below it, as the page shows them; long texts are broken."""
    first = _wrapped(cell.shown, width) if cell.text else [_signed(cell.shown)]
    return _stacked([*first, *(f"{{\\scriptsize {_signed(part)}}}" for part in cell.lines[1:])], side)


def _signed(text: str) -> str:
    return _MINUS.sub("$-$", escape_latex(text))


def _wrapped(text: str, width: int) -> list[str]:
    return [_signed(part) for part in textwrap.wrap(text, width, break_on_hyphens=False)] or [""]


def _stacked(lines: Sequence[str], side: str) -> str:
    """Lines below each other, the first one at the height of the row."""
    text = " \\\\ ".join(lines)
    return text if len(lines) == 1 else f"\\begin{{tabular}}[t]{{@{{}}{side}@{{}}}}{text}\\end{{tabular}}"


def comma_separated(rows: Iterable[dict[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as CSV.

    A text that a spreadsheet would take for a formula begins with an apostrophe.

    Args:
        rows: Values by column; ``None`` gives an empty cell.
        columns: Names of the columns, so that rows are needed one at a time; ``None`` takes those that any row has, in
            order of appearance.

    Example:
        >>> print(comma_separated([{"run": "=a", "share": 0.5}]), end="")
        run,share
        '=a,0.5
    """
    if columns is None:
        rows = list(rows)
        columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = _Lines()
    writer = csv.DictWriter(lines, columns, lineterminator="\n", restval="")
    writer.writerow({column: _no_formula(column) for column in columns})
    writer.writerows({key: _no_formula(value) for key, value in row.items()} for row in rows)
    return "".join(lines)


class _Lines(list[str]):
    """Lines as a file to write; ``io.StringIO`` takes four bytes per character."""

    write = list.append


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
