"""Certified against empirical robustness of training objectives, one point each.

    python -m benchmarks.objectives_plot docs/objectives.md --figure docs/images/objectives.png

draws the two tables of a page; `python -m benchmarks.objectives plot` draws the runs themselves, whose numbers are not
rounded.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

Spread = tuple[float, float]
"""Mean and standard deviation over seeds; the deviation may be NaN."""
Points = Mapping[str, tuple[Spread, Spread, float]]
"""By name: top-k intersection and certified share with their spreads, and same-class overlap."""
AXES = (
    "top-k intersection of clean and attacked map (linf {eps:g})",
    "share of the top K certified at l2 radius {radius:g}",
)
SHADE = "same-class overlap of maps (dark: maps say less about the image)"


def points_of(page: str) -> Points:
    """The points of the two tables that `python -m benchmarks.objectives table` prints.

    Args:
        page: Text with both tables.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    head: Sequence[str] = ()
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[0] == "objective":
            head = cells
        elif (name := re.match(r"`(\w+)`", cells[0])) and len(cells) == len(head):
            found[name[1]] |= dict(zip(head, cells, strict=True))
    return {
        name: (_spread(row["top-k"]), _spread(row["certified"], 0.01), _spread(row["same class, maps"], 0.01)[0])
        for name, row in found.items()
        if {"top-k", "certified", "same class, maps"} <= row.keys()
    }


def _spread(cell: str, scale: float = 1.0) -> Spread:
    """Mean and standard deviation of a cell such as `0.80 ± 0.00 (0.84)`."""
    mean, _, rest = cell.partition("±")
    return scale * float(mean), scale * float(rest.split()[0])


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="file with both tables")
    parser.add_argument("--figure", type=Path, required=True)
    parser.add_argument("--eps", type=float, default=0.1, help="linf budget of the attack")
    parser.add_argument("--radius", type=float, default=0.15, help="l2 radius of the certificate")
    options = parser.parse_args(arguments)
    labels = AXES[0].format(eps=options.eps), AXES[1].format(radius=options.radius)
    draw(points_of(options.page.read_text()), labels, SHADE, options.figure)


def draw(points: Points, axis_labels: tuple[str, str], shade_label: str, path: Path) -> None:
    """Draw points with error bars, their names beside them, and a colour each.

    Args:
        points: By name: horizontal and vertical position with spread, and the number that is the colour.
        axis_labels: What is on the axes.
        shade_label: What the colour is.
        path: Image file.
    """
    figure, axes = pyplot.subplots(figsize=(12, 9))
    (across, up, shades) = zip(*points.values(), strict=True)
    (x, dx), (y, dy) = zip(*across, strict=True), zip(*up, strict=True)
    axes.errorbar(x, y, dy, dx, fmt="none", color="0.8", linewidth=0.8, zorder=1)
    dots = axes.scatter(x, y, c=shades, cmap="viridis_r", s=36, zorder=2)
    axes.margins(0.12)
    axes.set_xlabel(axis_labels[0])
    axes.set_ylabel(axis_labels[1])
    axes.spines[["top", "right"]].set_visible(False)
    figure.colorbar(dots, label=shade_label)
    figure.tight_layout()
    place_names(axes, dict(zip(points, zip(x, y, strict=True), strict=True)))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def place_names(axes: Axes, places: Mapping[str, tuple[float, float]]) -> None:
    """Write each name where it covers the least of points and of names that are there already."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    dots = [Bbox.from_bounds(u - 5, v - 5, 10, 10) for u, v in axes.transData.transform(list(places.values()))]
    taken: list[Bbox] = []
    for name, place in places.items():
        best, least = None, float("inf")
        for distance, side, height in product((6, 14, 24, 36, 52, 72), (1, 0, -1), (0, 1, -1, 2, -2)):
            if side == 0 and height == 0:
                continue
            text = axes.annotate(
                name,
                place,
                xytext=(distance * side, distance * height / 2),
                textcoords="offset points",
                fontsize=7,
                ha={1: "left", 0: "center", -1: "right"}[side],
                va="center",
                arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.5} if distance > 6 else None,
            )
            box = text.get_window_extent()
            outside = not axes.bbox.padded(4).contains(box.x0, box.y0) or not axes.bbox.contains(box.x1, box.y1)
            covered = sum(area(box, other) for other in [*dots, *taken]) + distance + (1e6 if outside else 0)
            if covered < least:
                if best is not None:
                    best.remove()
                best, least = text, covered
            else:
                text.remove()
        assert best is not None
        taken.append(best.get_window_extent())


def area(first: Bbox, second: Bbox) -> float:
    """Area, in square pixels, that two boxes share."""
    shared = Bbox.intersection(first, second)
    return 0.0 if shared is None else float(shared.width * shared.height)


if __name__ == "__main__":
    main()
