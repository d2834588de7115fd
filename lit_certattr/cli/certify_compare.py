"""``certify.py compare``: finished runs side by side."""

import sys
from collections.abc import Sequence
from itertools import zip_longest

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lit_certattr.cli.columns import least_width, side_by_side, widened
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.output import on_stdout
from lit_certattr.cli.program import spoken
from lit_certattr.cli.words import add_import_word
from lit_certattr.comparison import Comparison, UnlikeRuns
from lit_certattr.comparison.likeness import REMEDY
from lit_certattr.jobs import compare
from lit_certattr.reports.compare_files import PAGE
from lit_certattr.reports.compare_tables import notes, tables
from lit_certattr.reports.tabular import Grid, printable

COMPARE_HELP = """Compare finished runs: settings that differ, certified numbers, differences on the same images.

Examples:
  certify.py compare runs/certify/a runs/certify/b
  certify.py compare runs/certify/a runs/certify/b runs/certify/c --names=plain,noise,more --output=runs/compare
  certify.py compare runs/certify/a runs/certify/b --by=noisy_accuracy --baseline=b --radii=[0.1,0.2]
  certify.py compare runs/certify/a runs/certify/b --evaluations=[runs/evaluate/a,runs/evaluate/b]

The runs may differ in network, training, noise, method and number of samples. Runs with other images, another alpha, K
or another kind of budget answer other questions: each such difference is named, and the runs are ranked only with
--force. Every mean has an interval over the images and, where it is known, the value of pure noise; differences from
the baseline are taken image by image. Numbers of certify.py evaluate and gaps of certify.py attack are shown, too.

--output writes compare.html, compare.csv, differences.csv, compare.md, compare.tex and figures/. Nothing is audited:
certify.py audit checks a run.

Exit status: 0, or 2 if a directory is missing, damaged, in use or not finished, or if the runs must not be ranked."""

_WIDTH = 140


def add_compare_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py compare``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("directories", type=str, nargs="+", help="Output directories of certify.py run.")
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_argument("--names", type=str | None, help="Distinct names of the runs, separated by commas.")
    parser.add_function_arguments(compare, as_group=False, skip={"directories", "names", "imports", "progress"})
    add_import_word(parser)


def compare_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Compare and print the tables.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.

    Raises:
        SystemExit: With status 2 if runs must not be ranked.
    """
    arguments = {name: value for name, value in vars(config).items() if name not in ("config", "names", "import")}
    names = None if config.names is None else config.names.split(",")
    console = on_stdout(soft_wrap=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    try:
        found = compare(**arguments, names=names, imports=config["import"])
    except UnlikeRuns as refused:
        rows = [[printable(text) for text in (one.name, *one.values)] for one in refused.differing]
        _print(console, "Settings that differ", ["setting", *refused.names], rows)
        for reason in refused.reasons:
            sys.stderr.write(spoken(f"certify.py: error: {printable(reason)}\n"))
        sys.stderr.write(spoken(f"certify.py: error: these runs must not be ranked: {REMEDY}\n"))
        raise SystemExit(2) from None
    _print_comparison(console, found)
    if config.output is not None:
        console.print(f"{config.output.rstrip('/')}/{PAGE}", markup=False, soft_wrap=True)


def _print_comparison(console: Console, found: Comparison) -> None:
    shared = printable(", ".join(one.name for one in found.shared))
    console.print(f"Shared settings: {shared or 'none'}", markup=False, style="dim")
    for reason in found.forced:
        console.print(f"RANKED IN SPITE OF THIS: {printable(reason)}", markup=False)
    for grid in tables(found):
        _print_grid(console, grid)
    for note in notes(found):
        console.print(spoken(printable(note)), markup=False, style="dim")


def _print_grid(console: Console, grid: Grid) -> None:
    rows = [["\n".join(map(printable, cell.lines)) for cell in row] for row in grid.rows]
    _print(console, grid.title, grid.heads, rows, grid.texts)
    if grid.note:
        console.print(grid.note, markup=False, style="dim")


def _print(
    console: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[bool] = ()
) -> None:
    heads = [printable(str(head)).replace(" %", "\u00a0%") for head in heads]  # no line begins with "%"
    kinds = [is_text for _, is_text in zip_longest(heads, text, fillvalue=True)]
    cells = [[row[place] for row in rows] for place in range(len(heads))]
    room = console.width
    least = [
        min(least_width(head, own, kinds[place] and place > 0), room // 2)
        for place, (head, own) in enumerate(zip(heads, cells, strict=True))
    ]
    lines = [
        [line for cell in (head, *own) for line in cell.split("\n")] for head, own in zip(heads, cells, strict=True)
    ]
    wanted = [max(map(len, own)) for own in lines]
    for number, places in enumerate(side_by_side(least, room)):
        table = Table(title=Text(printable(title) + (", continued" if number else "")), title_justify="left")
        widths = widened([least[place] for place in places], [wanted[place] for place in places], room)
        for place, width in zip(places, widths, strict=True):
            table.add_column(
                Text(heads[place]), justify="left" if kinds[place] else "right", overflow="fold", width=width
            )
        for row in rows:
            table.add_row(*(Text(row[place]) for place in places))
        console.print(table)
