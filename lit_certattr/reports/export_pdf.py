"""The table and the summary figure of one run as a PDF, drawn by matplotlib."""

import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lit_certattr.certificates import Result
from lit_certattr.certificates import drawing as draw
from lit_certattr.certificates.guarded import presentation_of
from lit_certattr.comparison import Comparison
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.reports.chosen import averaged
from lit_certattr.reports.compare_tables import notes
from lit_certattr.reports.export_tables import means_grid
from lit_certattr.reports.figures import dataset_figure
from lit_certattr.reports.tabular import Entry
from lit_certattr.statistics.rounding import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_A4 = (8.27, 11.69)  # inches
_ROWS = 40  # of a table on a page
_LINE = 0.0175  # of the height of a page


def export_pdf(comparison: Comparison, directory: RunDirectory) -> bytes:
    """A PDF with what is certified, the table of means, and the curves; it contains no time.

    The curves are those of the report of the run: of a large run, means over some of its images, chosen at random.

    Args:
        comparison: A comparison of one run.
        directory: The run.
    """
    from matplotlib.backends.backend_pdf import PdfPages

    (run,) = comparison.runs
    ids = [image_id for image_id, _ in run.images]
    chosen = averaged(ids)
    first = directory.read(ids[0]).results
    summary = dataset_figure(record.results for record in directory.records(chosen))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script that the font lacks
        with PdfPages(file, metadata={"CreationDate": None}) as pages:
            for page in [*_text_pages(comparison, first, len(chosen)), *_table_pages(comparison), summary]:
                pages.savefig(page)
    return file.getvalue()


def _text_pages(comparison: Comparison, first: Mapping[str, Result], num_averaged: int) -> list["Figure"]:
    """What is certified, and how to read the numbers."""
    (run,) = comparison.runs
    result, part = next(iter(first.values())), num_averaged < len(run.images)
    method = result.sampling.get("attribution", "attribution")
    facts = [
        f"{counted(len(run.images), 'image')}, {method}, {result.law_in_words()}, {result.num_samples:,} samples "
        "for the first.",
        *(f"{name}. {presentation_of(one).general()}" for name, one in first.items()),
        *notes(comparison),
        *([f"The curves are means over {num_averaged:,} of the images, chosen at random."] if part else []),
    ]
    lines = [line for fact in facts for line in [*textwrap.wrap(fact, 98), ""]]
    length = int(0.86 / _LINE)
    pages = []
    for start in range(0, len(lines), length):
        page = _page(run.name if not start else "")
        for place, line in enumerate(lines[start : start + length]):
            page.text(0.08, 0.92 - place * _LINE, line, fontsize=9, va="top", color=draw.INK, parse_math=False)
        pages.append(page)
    return pages


def _table_pages(comparison: Comparison) -> list["Figure"]:
    """The table of means, on as many pages as it needs."""
    grid = means_grid(comparison)
    pages = []
    for start in range(0, len(grid.rows), _ROWS):
        page = _page(grid.title)
        axes = page.add_axes((0.06, 0.06, 0.88, 0.86))
        axes.axis("off")
        rows = [_words(row) for row in grid.rows[start : start + _ROWS]]
        table = axes.table(
            rows, colLabels=grid.heads, loc="upper left", cellLoc="right", colWidths=[0.56, 0.11, 0.17, 0.09, 0.07]
        )
        table.auto_set_font_size(False)
        table.set_fontsize(7)
        for (row, column), cell in table.get_celld().items():
            cell.get_text().set_parse_math(False)
            cell.set_edgecolor(draw.GRID)
            cell.visible_edges = "B" if row else "TB"
            if not column:
                cell.set_text_props(ha="left")
                cell.PAD = 0.01
        pages.append(page)
    return pages


def _words(row: Sequence[Entry]) -> list[str]:
    first = row[0].shown
    return [first if len(first) <= 78 else f"{first[:40]} ... {first[-32:]}", *(cell.shown for cell in row[1:])]


def _page(title: str) -> "Figure":
    from matplotlib.figure import Figure

    page = Figure(figsize=_A4)
    page.text(0.08, 0.955, title[:90], fontsize=13, color=draw.INK, parse_math=False)
    return page
