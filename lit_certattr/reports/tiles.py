"""Figures made of tiles, which a page can show side by side, or one below the other where the screen is narrow.

A figure is one picture in one file. Its parts lie in cells whose positions are known without drawing: the page cuts the
cells out of the same picture, so that their text is legible at any width.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_UNIT = 0.72  # inches
MAP, CURVE = 3, 5
"""Widths of a cell with a map, and of a cell with a curve, in units."""


class Row(NamedTuple):
    """Cells of equal size, side by side.

    Attributes:
        cells: Number of cells.
        width: Width of a cell: ``MAP`` or ``CURVE``.
        height: Height in inches.
    """

    cells: int
    width: int
    height: float


class Layout(NamedTuple):
    """The rows of a figure, from top to bottom.

    Attributes:
        rows: The rows.
    """

    rows: Sequence[Row]

    @property
    def units(self) -> int:
        """Width of the figure in units."""
        return max(row.cells * row.width for row in self.rows)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure in inches."""
        return _UNIT * self.units, sum(row.height for row in self.rows)

    def figure(self, title: str | None = None) -> tuple["Figure", list["SubFigure"]]:
        """An empty figure, and its cells row by row.

        Args:
            title: One line at the top, shown literally; without it cells lie where :meth:`boxes` says.
        """
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        width, height = self.size
        engine = ConstrainedLayoutEngine(hspace=0, wspace=0)  # no gaps between cells
        figure = Figure(figsize=(width, height + (0.3 if title else 0)), layout=engine)
        if title:
            figure.suptitle(title, fontsize=11, parse_math=False)
        grid = figure.add_gridspec(len(self.rows), self.units, height_ratios=[row.height for row in self.rows])
        cells = [
            figure.add_subfigure(grid[place, column * row.width : (column + 1) * row.width])
            for place, row in enumerate(self.rows)
            for column in range(row.cells)
        ]
        return figure, cells

    def boxes(self) -> Iterator[list[str]]:
        """For each row the boxes of its cells, as the ``viewBox`` of an SVG picture in hundredths of inches."""
        top = 0.0
        for row in self.rows:
            width = _UNIT * row.width
            yield [
                " ".join(f"{100 * number:.2f}" for number in (column * width, top, width, row.height))
                for column in range(row.cells)
            ]
            top += row.height

    def on_page(self, name: str, png: str, alt: str) -> dict[str, Any]:
        """What the template needs to show the tiles; those of rows of one kind flow together.

        Args:
            name: Name of the picture, unique on the page.
            png: Content of the picture, in base64.
            alt: What is seen, for readers who do not see it.
        """
        width, height = (f"{100 * length:.2f}" for length in self.size)
        rows: list[dict[str, Any]] = []
        for row, boxes in zip(self.rows, self.boxes(), strict=True):
            kind = "maps" if row.width == MAP else "curves"
            if not rows or rows[-1]["kind"] != kind:
                rows.append({"kind": kind, "boxes": []})
            rows[-1]["boxes"] += boxes
        return {"name": name, "png": png, "alt": alt, "width": width, "height": height, "rows": rows}


def flow(count: int, width: int, height: float, columns: int) -> list[Row]:
    """Rows of equal cells, all full but the last.

    Args:
        count: Number of cells.
        width: Width of a cell: ``MAP`` or ``CURVE``.
        height: Height in inches.
        columns: Largest number of cells in a row.

    Example:
        >>> flow(4, CURVE, 2.5, columns=3)
        [Row(cells=3, width=5, height=2.5), Row(cells=1, width=5, height=2.5)]
    """
    return [Row(min(columns, count - start), width, height) for start in range(0, count, columns)]
