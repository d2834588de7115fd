"""The files of a comparison: a page that opens offline, tables for papers and machines, figures."""

import base64
from typing import TYPE_CHECKING

from lit_certattr.comparison import Comparison
from lit_certattr.reports.compare_figure import curves_figure, gaps_figure, layouts, scatter_figure
from lit_certattr.reports.compare_tables import (
    difference_rows,
    machine_rows,
    mean_entry,
    notes,
    tables,
)
from lit_certattr.reports.page import render, scripts, template
from lit_certattr.reports.tabular import comma_separated, escape_markdown, latex, markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "compare.html"
FILES = (PAGE, "compare.csv", "differences.csv", "compare.md", "compare.tex")
FIGURES = ("curves", "scatter", "sandwich")
"""Names of all files, and of the figures, which are left out where there is nothing to draw."""

_CAPTIONS = {
    "curves": (
        "Curves",
        "Means over the images; dotted lines, where they are known, are those of maps of pure noise.",
        "Certified numbers of all runs against the radius.",
    ),
    "scatter": (
        "Robustness against other numbers",
        "One point per run; bars are intervals over the images. A run is better only if it gives up nothing else.",
        "The number that orders the runs against what else was measured.",
    ),
    "sandwich": (
        "Certified, and at most under attack",
        "Solid: certified lower bound. Dashed: upper bound under the worst change that was found. Means over images.",
        "Certified values of the attacked runs, and upper bounds from the attacks, against the budget.",
    ),
}


def comparison_files(comparison: Comparison) -> dict[str, bytes]:
    """The content of all files of a comparison, by their path in the output directory; the page is the last one.

    Args:
        comparison: The runs.
    """
    drawn: dict[str, Figure | None] = {
        "curves": curves_figure(comparison),
        "scatter": scatter_figure(comparison),
        "sandwich": gaps_figure(comparison),
    }
    figures = {
        f"figures/{name}.{kind}": render(figure, kind)
        for name, figure in drawn.items()
        if figure is not None
        for kind in ("pdf", "png")
    }
    told = notes(comparison)
    every = tables(comparison)
    texts = {
        "compare.csv": comma_separated(machine_rows(comparison)),
        "differences.csv": comma_separated(difference_rows(comparison)),
        "compare.md": "\n".join([markdown(every), *(f"{escape_markdown(note)}\n" for note in told)]),
        "compare.tex": latex(every),
        PAGE: page(comparison, figures),
    }
    return figures | {name: text.encode() for name, text in texts.items()}


def page(comparison: Comparison, figures: dict[str, bytes]) -> str:
    """The page as HTML.

    It contains its pictures, style and script and loads nothing; all text from files or names is escaped.

    Args:
        comparison: The runs.
        figures: Pictures by file name.
    """
    every = tables(comparison)
    count = len(comparison.runs)
    first = next(place for place, grid in enumerate(every, 1) if grid.title.startswith("Runs"))
    where = layouts(comparison)
    pictures = [
        {"title": title, "note": note, "picture": where[name].on_page(f"picture-{name}", _base64(figures, name), alt)}
        for name, (title, note, alt) in _CAPTIONS.items()
        if f"figures/{name}.png" in figures
    ]
    return template("compare.html.j2").render(
        {
            "title": f"{count} certification run{'' if count == 1 else 's'} compared",
            "short": _in_short(comparison),
            "forced": comparison.forced,
            "tables": every,
            "after": first,
            "pictures": pictures,
            "notes": notes(comparison),
            "shared": [(setting.name, setting.values[0]) for setting in comparison.shared],
            "directories": [(run.name, str(run.path)) for run in comparison.runs],
            **scripts(),
        }
    )


def _in_short(comparison: Comparison) -> list[str]:
    """The order of the runs, and what differences are about, in plain words."""
    best, by = comparison.runs[0], comparison.by
    found = mean_entry(comparison, best.name, by)
    lines = [f"The runs are ordered by one number: {by.title}."]
    if found.shown:
        interval = f", interval {found.interval}" if found.interval else ""
        lines.append(f"The first run is {best.name}: {found.shown} (mean over its images{interval}).")
    if len(comparison.runs) > 1:
        lines.append(f"Differences are taken from {comparison.baseline}, image by image, over the images of both runs.")
    return lines


def _base64(figures: dict[str, bytes], name: str) -> str:
    return base64.b64encode(figures[f"figures/{name}.png"]).decode()
