"""Figures of a comparison: curves of all runs in one panel, robustness against other numbers, sandwiches."""

import math
import textwrap
from collections.abc import Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from lit_certattr.certificates import drawing as draw
from lit_certattr.comparison import Comparison, Measure
from lit_certattr.comparison.beside import ATTACKED, PLAIN
from lit_certattr.comparison.measures import NETWORK
from lit_certattr.reports.tiles import CURVE, Layout, Row, flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito (2008)
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
_MARKERS = "osD^vP*X"
_MOST, _MOST_POINTS = 12, 9
"""Largest numbers of panels."""


def curves_figure(comparison: Comparison) -> "Figure | None":
    """Means over the images against the radius: one panel for each number, one curve per run; dotted is pure noise.

    Args:
        comparison: The runs.

    Returns:
        The figure; ``None`` if no number depends on a radius.
    """
    panels = _curve_panels(comparison)
    if not panels:
        return None
    figure, slots = _figure(comparison, panels)
    for axes, panel in zip(slots, panels, strict=False):
        low, end, top = 0.0, 0.0, 1.0
        for style, run in zip(_styles(len(comparison.runs)), comparison.runs, strict=True):
            radii, means, null = comparison.curve(run, panel)
            if not radii:
                continue
            axes.plot(radii, means, linewidth=1.6, label=run.name, markevery=0.2, markersize=4.5, **style)
            if not all(map(math.isnan, null)):
                axes.plot(radii, null, linewidth=0.8, color=style["color"], linestyle=(0, (1, 2)), alpha=0.8)
            low, end, top = min(low, *means), max(end, radii[-1]), max(top, *means)
        draw.style_curve(axes, "", "share of the images" if panel.form == "images" else "mean over the images", end)
        axes.set_xlabel("radius", fontsize=9.5)
        axes.set_ylim(min(-0.02, 1.02 * low), 1.02 * top)
        draw.title(axes, _lines(f"{panel.group}: {panel.label}" if panel.form == "images" else panel.group))
    return figure


def scatter_figure(comparison: Comparison) -> "Figure | None":
    """The number that orders the runs against what else was measured, one point per run; bars are intervals.

    Args:
        comparison: The runs.

    Returns:
        The figure; ``None`` with fewer than two runs, or nothing to compare with.
    """
    panels = _scatter_panels(comparison)
    by, means = comparison.by, comparison.means
    if not panels:
        return None
    figure, slots = _figure(comparison, panels)
    for axes, panel in zip(slots, panels, strict=True):
        for style, run in zip(_styles(len(means)), comparison.runs, strict=True):
            here, there = means[run.name].get(panel), means[run.name].get(by)
            if here is not None and there is not None:
                bars = [_bar(one.value, one.low, one.high) for one in (here, there)]
                axes.errorbar(
                    [here.value], [there.value], xerr=bars[0], yerr=bars[1], marker=style["marker"], markersize=6,
                    color=style["color"], linestyle="none", elinewidth=0.8, label=run.name,
                )  # fmt: skip
        axes.grid(color=draw.GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9, length=3)
        axes.locator_params(nbins=4)
        axes.set_xlabel(_lines(panel.label), fontsize=9.5, parse_math=False)
        axes.set_ylabel(_lines(by.title, 34), fontsize=9.5, parse_math=False)
    return figure


def gaps_figure(comparison: Comparison) -> "Figure | None":
    """Certified values (solid) and upper bounds from attacks (dashed) against the budget, one panel for each quantity.

    Args:
        comparison: The runs.

    Returns:
        The figure; ``None`` if no run was attacked.
    """
    panels = _gap_panels(comparison)
    if not panels:
        return None
    figure, slots = _figure(comparison, panels)
    for axes, panel in zip(slots, panels, strict=False):
        end, top = 0.0, 1.0
        for style, run in zip(_styles(len(comparison.runs)), comparison.runs, strict=True):
            own = [gap for gap in run.gaps if gap.what == panel]
            if own:
                budgets = [gap.budget for gap in own]
                plain = {"color": style["color"], "marker": style["marker"], "markersize": 4.5}
                axes.plot(budgets, [gap.certified for gap in own], label=run.name, **plain)
                axes.plot(budgets, [gap.at_most for gap in own], linestyle=(0, (3, 2)), **plain)
                end, top = max(end, *budgets), max(top, *(gap.at_most for gap in own))
        draw.style_curve(axes, "", "mean over the images", end or 1.0)
        axes.set_xlabel("budget", fontsize=9.5)
        axes.set_ylim(-0.02, 1.02 * top)
        draw.title(axes, _lines(panel))
    return figure


def layouts(comparison: Comparison) -> dict[str, Layout]:
    """Where the figures draw their panels and, in the last row, the legend, by name of the figure.

    Args:
        comparison: The runs.
    """
    panels: dict[str, Sequence[Any]] = {
        "curves": _curve_panels(comparison),
        "scatter": _scatter_panels(comparison),
        "sandwich": _gap_panels(comparison),
    }
    return {name: _layout(comparison, own) for name, own in panels.items() if own}


def _curve_panels(comparison: Comparison) -> list[Measure]:
    measures = (one._replace(radius=None) for one in comparison.measures if one.radius is not None)
    return list(dict.fromkeys(measures))[:_MOST]


def _scatter_panels(comparison: Comparison) -> list[Measure]:
    numbers = [one for one in comparison.measures if _is_number(one)]  # first what says where a map points
    groups = [[one for one in comparison.measures if one.group == group] for group in (PLAIN, NETWORK, ATTACKED)]
    kinds = [*numbers, *(one for group in groups for one in group)]
    by, means = comparison.by, comparison.means
    shown = [one for one in kinds if one != by and sum(one in own and by in own for own in means.values()) > 1]
    return shown[:_MOST_POINTS]


def _gap_panels(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(gap.what for run in comparison.runs for gap in run.gaps))[:_MOST]


def _layout(comparison: Comparison, panels: Sequence[Any]) -> Layout:
    """Panels in rows of three, and one line of the legend for each run."""
    return Layout([*flow(len(panels), CURVE, 2.8, 3), Row(1, CURVE, 0.15 + 0.22 * len(comparison.runs))])


def _figure(comparison: Comparison, panels: Sequence[Any]) -> tuple["Figure", list["Axes"]]:
    figure, cells = _layout(comparison, panels).figure()
    _legend(cells[-1], comparison)
    return figure, [cell.subplots() for cell in cells[:-1]]


def _lines(text: str, length: int = 40) -> str:
    """A title in at most two lines, since it must not run into its neighbour."""
    lines = textwrap.wrap(text, length)
    return "\n".join([*lines[:1], *(f"{line} ..." if lines[2:] else line for line in lines[1:2])])


def _styles(count: int) -> list[dict[str, Any]]:
    """Colours and markers that colour-blind readers can tell apart; other lines where colours are used again."""
    lines = [{"color": colour, "linestyle": line} for line in _LINES for colour in _COLOURS]
    styles = (line | {"marker": marker} for line, marker in zip(lines, cycle(_MARKERS), strict=False))
    return list(islice(cycle(styles), count))


def _legend(cell: "SubFigure", comparison: Comparison) -> None:
    """One entry per run, whichever panel shows it."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linewidth=1.6, markersize=4.5, **style) for style in _styles(len(comparison.runs))]
    legend = cell.legend(
        handles,
        [run.name if len(run.name) <= 40 else f"{run.name[:37]}..." for run in comparison.runs],
        loc="center",
        frameon=False,
        fontsize=9.5,
        handlelength=3,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _is_number(measure: Measure) -> bool:
    """Whether it is a certified number of a claim, e.g. of localisation."""
    return measure.name.endswith("_at_least")


def _bar(value: float, low: float, high: float) -> list[list[float]] | None:
    return None if math.isnan(low) else [[max(value - low, 0.0)], [max(high - value, 0.0)]]
