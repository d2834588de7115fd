"""How a result is shown: its rows in the table, its text on the page, its pictures and curves.

A kind registers its presentation beside its result, so that code that shows results names no kind::

    class MyPresentation(Presentation): ...

    present.register(MyResult, MyPresentation)

A kind without a presentation is shown by its statement and the fields that every result has.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lit_certattr.certificates.columns import common_columns
from lit_certattr.certificates.noisy_accuracy import milder_of
from lit_certattr.statistics.rounding import percent_at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]
"""Rows of the table of a run, each with its values by column."""


class Tile(NamedTuple):
    """A number at the top of the page of a run."""

    value: str
    label: str


class SheetColumn(NamedTuple):
    """A column of the page's table of a certificate.

    Attributes:
        head: Heading.
        key: Column of ``results.parquet`` that it shows.
        level: Index of the row among the rows of an image.
        form: ``"share"`` shows percent, ``"number"`` digits, ``"radius"`` digits, and "none" for 0; these are rounded
            down. ``"upper"`` shows digits that are rounded up, for upper bounds.
    """

    head: str
    key: str
    level: int = 0
    form: Literal["share", "number", "radius", "upper"] = "number"


class Sheet(NamedTuple):
    """The page's table of a certificate, one row for each image."""

    title: str
    columns: Sequence[SheetColumn]
    note: str


class Picture(NamedTuple):
    """A map in the first row of a panel.

    Attributes:
        paint: Draws the map in the first axes, and its legend or colour bar in the second.
        subject: Name of what it shows; pictures with the same name in ``unless`` are then left out.
        unless: Subject of a picture that makes this one superfluous.
        place: Position among the pictures of its family, in increasing order.
    """

    paint: Callable[["Axes", "Axes"], Any]
    subject: str = ""
    unless: str = ""
    place: int = 0


class Overlay(NamedTuple):
    """What is drawn over the image of a panel.

    Attributes:
        title: Title of the picture.
        paint: Draws in the first axes, which show the image already, and a legend in the second.
    """

    title: str
    paint: Callable[["Axes", "Axes"], Any]


Plot = Callable[["Axes"], Any]
"""Draws a curve of one image."""


class Presentation:
    """How a result is shown. All methods have defaults; a kind overrides those for which it has content.

    Args:
        result: The result of one image.
    """

    place: int = 9
    """Order of the families on pages and in figures; families of equal order follow the certificates."""

    def __init__(self, result: Any) -> None:
        self.result = result

    @property
    def family(self) -> str:
        """Name shared by kinds that make the same kind of statement; titles then add the name of the certificate."""
        return str(self.result.kind)

    def columns(self, radii: Sequence[float]) -> Mapping[str, type]:
        """Columns of the table that only this kind has: names, each with ``float``, ``int`` or ``str``.

        Args:
            radii: Radii of the table's columns, in pixel l2 units.
        """
        return {}

    def rows(self, radii: Sequence[float]) -> list[dict[str, Any]]:
        """Rows of the table without the fields that every result has; one for each level.

        Args:
            radii: Radii of the table's columns, in pixel l2 units.

        Returns:
            Values of columns of :func:`~lit_certattr.certificates.columns.common_columns` and of :meth:`columns`.
        """
        return [{"level": 0}]

    def statement(self) -> str:
        """The statement of this image."""
        return str(self.result.statement())

    def general(self) -> str:
        """The statement without the numbers of one image; by default the statement of this image."""
        return self.statement()

    def plain(self) -> str:
        """What is certified in words that need no mathematics, at most two sentences; by default :meth:`general`."""
        return self.general()

    def notes(self) -> list[str]:
        """Notes that help to read the numbers correctly, one sentence each."""
        return []

    def summary(self) -> str:
        """The numbers of one image in one line, for readers who do not see the pictures; may be empty."""
        return ""

    def nothing(self) -> str:
        """That nothing is certified and what may help, for figures and lines that would show nothing; else empty."""
        count = getattr(self.result, "certified_count", None)
        return "" if count is None or count(0.0)[0] else f"nothing is certified: {remedy_of(self.result)}"

    def tiles(self, rows: Rows, suffix: str) -> list[Tile]:
        """Numbers at the top of the page.

        Args:
            rows: Rows of this certificate in the table, for all images.
            suffix: Appended to labels if several certificates are of one family.
        """
        return []

    def sheet(self, names: Sequence[str]) -> Sheet:
        """The page's table of this certificate.

        Args:
            names: Columns of the table that this certificate fills.
        """
        own = [name for name in names if name in self.columns(()) or name not in common_columns(())]
        title = type(self.result).__name__.removesuffix("Result")
        return Sheet(title, [SheetColumn(name.replace("_", " "), name) for name in own], "")

    def pictures(self, suffix: str) -> list[Picture]:
        """Maps of one image.

        Args:
            suffix: Appended to titles if several certificates are of one family.
        """
        return []

    def overlays(self, suffix: str) -> list[Overlay]:
        """What is drawn over the image, each in a picture of its own.

        Args:
            suffix: Appended to titles if several certificates are of one family.
        """
        return []

    @property
    def unit(self) -> str:
        """What a value of the map belongs to: ``"pixels"`` or ``"regions"``."""
        return "pixels" if self.result.partition is None else "regions"

    def plots(self, suffix: str) -> list[Plot]:
        """Curves of one image.

        Args:
            suffix: Appended to titles if several certificates are of one family.
        """
        return []

    def radii(self) -> Array:
        """Radii of :meth:`trends`, the same for all images of a run."""
        return np.zeros(0)

    def trends(self, radii: Array) -> list[Array]:
        """Curves of one image, whose mean over the data set a figure shows; one entry for each of its axes.

        Args:
            radii: Radii ``[r]``.

        Returns:
            Arrays ``[r, curves]``.
        """
        return []

    def paint_trend(self, axes: "Axes", index: int, curves: Array, suffix: str) -> None:
        """Draw the mean of many images.

        Args:
            axes: Axes to draw in.
            index: Index of the entry of :meth:`trends`.
            curves: Curves of all images, ``[images, r, curves]``.
            suffix: Appended to the title if several certificates are of one family.
        """
        raise AssertionError("there are no trends to be drawn")

    def figure(self) -> "Figure":
        """The curves of one image side by side, or its statement if there are none.

        Returns:
            A figure that belongs to no window; save it with ``savefig``.
        """
        from matplotlib.figure import Figure

        plots = self.plots("")
        figure = Figure(figsize=(4.2 * max(1, len(plots)), 3.0), layout="constrained")
        for axes, paint in zip(figure.subplots(1, max(1, len(plots)), squeeze=False)[0], plots, strict=False):
            paint(axes)
        if not plots:
            figure.axes[0].axis("off")
            figure.axes[0].text(0, 1, self.statement(), va="top", wrap=True, fontsize=8, parse_math=False)
        return figure


@singledispatch
def present(result: Any) -> Presentation:
    """The presentation of a result; a kind registers its own :class:`Presentation` with ``present.register``.

    Args:
        result: The result of one image.
    """
    return Presentation(result)


def remedy_of(result: Any) -> str:
    """Why nothing may be certified, and what may help.

    Args:
        result: A result that certifies nothing.
    """
    law = result.noise_settings or result.sampling.get("noise")
    if result.num_invalid == result.num_samples:
        return f"every noisy copy gave NaN or infinity; use {milder_of(law)}, or float32"
    if getattr(result, "num_constant", 0) == result.num_samples:
        return "all noisy maps are constant; use another attribution method or layer"
    return f"the noisy maps differ too much; try {milder_of(law)}, more samples, or a network trained with noise"


def percent(value: float) -> str:
    """A share in percent, rounded down.

    Args:
        value: Share in [0, 1].

    Example:
        >>> percent(0.4999)
        '49.9 %'
    """
    return f"{percent_at_least(value)} %"


def mean(rows: Rows, column: str) -> float:
    """The mean of a column over the rows that have a value there.

    Args:
        rows: Rows of the table.
        column: Name of the column; NaN if no row has a value there.

    Example:
        >>> mean([{"overlap": 0.5}, {"overlap": None}, {"overlap": 1.0}], "overlap")
        0.75
    """
    values = [row[column] for row in rows if row[column] is not None]
    return fmean(values) if values else math.nan


def suffixes(shown: Mapping[str, Presentation]) -> dict[str, str]:
    """Suffixes of titles: the name of the certificate, if others are of the same family.

    Args:
        shown: Presentations of one image, by the name of the certificate.
    """
    families = [one.family for one in shown.values()]
    return {name: f" ({name})" if families.count(one.family) > 1 else "" for name, one in shown.items()}
