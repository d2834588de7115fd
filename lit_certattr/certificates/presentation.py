"""How a result is shown: its rows in the table, its words on the page, its pictures and curves.

A kind registers its presentation beside its result, and nobody who shows results names a kind::

    class MyPresentation(Presentation): ...

    present.register(MyResult, MyPresentation)

A kind without one is shown by its statement and by what every result has.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import singledispatch
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lit_certattr.certificates.columns import common_columns
from lit_certattr.statistics.rounding import percent_at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

Array = npt.NDArray[np.float64]


class Tile(NamedTuple):
    """A number to see first on the page of a run."""

    value: str
    label: str


class SheetColumn(NamedTuple):
    """A column of the page's table of a certificate.

    Attributes:
        head: Its head.
        key: Column of ``results.parquet`` that it shows.
        level: Which row of an image.
        form: ``"share"`` shows percent, ``"number"`` digits, ``"radius"`` digits, or "none" for 0.
    """

    head: str
    key: str
    level: int = 0
    form: Literal["share", "number", "radius"] = "number"


class Sheet(NamedTuple):
    """The page's table of a certificate, one row for each image."""

    title: str
    columns: Sequence[SheetColumn]
    note: str


class Picture(NamedTuple):
    """A map in the first row of a panel.

    Attributes:
        paint: Draws the map, and its legend or colour bar in the second axes.
        subject: What it shows, if others may leave theirs out for it.
        unless: Subject of a picture that makes this one superfluous.
        place: Among the pictures of its family, in rising order.
    """

    paint: Callable[["Axes", "Axes"], Any]
    subject: str = ""
    unless: str = ""
    place: int = 0


Plot = Callable[["Axes"], Any]
"""Draws a curve of one image."""


class Presentation:
    """How a result is shown. All methods have defaults: a kind overrides what it has to show.

    Args:
        result: The result of one image.
    """

    place: ClassVar[int] = 9
    """Order of the families on pages and in figures; equal ones stand as the certificates do."""

    def __init__(self, result: Any) -> None:
        self.result = result

    @property
    def family(self) -> str:
        """Name of the kinds that say the same of different theorems; two of one family are told apart by name."""
        return str(self.result.kind)

    def columns(self, radii: Sequence[float]) -> Mapping[str, type]:
        """Columns of the table that this kind has for itself: names, each with ``float``, ``int`` or ``str``.

        Args:
            radii: Radii of the table's columns, in pixel l2 units.
        """
        return {}

    def rows(self, radii: Sequence[float]) -> list[dict[str, Any]]:
        """Rows of the table, beside what every result has; one for each level.

        Args:
            radii: Radii of the table's columns, in pixel l2 units.

        Returns:
            Values of columns of :func:`~lit_certattr.certificates.columns.common_columns` and of :meth:`columns`.
        """
        return [{"level": 0}]

    def general(self) -> str:
        """The statement without the numbers of one image; that of this image where it cannot be told apart."""
        return str(self.result.statement())

    def notes(self) -> list[str]:
        """What keeps a reader from misunderstanding the numbers, one sentence each."""
        return []

    def summary(self) -> str:
        """The numbers of one image in one line, for readers who do not see the pictures; empty for none."""
        return ""

    def tiles(self, table: "DataFrame", suffix: str) -> list[Tile]:
        """Numbers to see first.

        Args:
            table: Rows of this certificate, all images.
            suffix: Follows what is named where several certificates are of one family.
        """
        return []

    def sheet(self, names: Sequence[str]) -> Sheet:
        """The page's table of this certificate.

        Args:
            names: Columns of the table that it fills.
        """
        own = [name for name in names if name in self.columns(()) or name not in common_columns(())]
        title = type(self.result).__name__.removesuffix("Result")
        return Sheet(title, [SheetColumn(name.replace("_", " "), name) for name in own], "")

    def pictures(self, suffix: str) -> list[Picture]:
        """Maps of one image.

        Args:
            suffix: Follows a title where several certificates are of one family.
        """
        return []

    def plots(self, suffix: str) -> list[Plot]:
        """Curves of one image.

        Args:
            suffix: Follows a title where several certificates are of one family.
        """
        return []

    def radii(self) -> Array:
        """Radii of :meth:`trends`, the same for all images of a run."""
        return np.zeros(0)

    def trends(self, radii: Array) -> list[Array]:
        """Curves of one image of which the data set's figure shows the mean, one entry for each of its axes.

        Args:
            radii: Where they are asked for, ``[r]``.

        Returns:
            Arrays ``[r, curves]``.
        """
        return []

    def paint_trend(self, axes: "Axes", index: int, curves: Array, suffix: str) -> None:
        """Draw the mean of many images.

        Args:
            axes: Where.
            index: Which entry of :meth:`trends`.
            curves: Those of all images, ``[images, r, curves]``.
            suffix: Follows the title where several certificates are of one family.
        """
        raise AssertionError("there are no trends to be drawn")

    def figure(self) -> "Figure":
        """The curves of one image side by side, else its statement in words.

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
            figure.axes[0].text(0, 1, self.result.statement(), va="top", wrap=True, fontsize=8, parse_math=False)
        return figure


@singledispatch
def present(result: Any) -> Presentation:
    """How a result is shown; a kind registers its own :class:`Presentation` with ``@present.register``.

    Args:
        result: The result of one image.
    """
    return Presentation(result)


def percent(value: float) -> str:
    """A share in percent, rounded down.

    Args:
        value: Share in [0, 1].

    Example:
        >>> percent(0.4999)
        '49.9 %'
    """
    return f"{percent_at_least(value)} %"


def suffixes(shown: Mapping[str, Presentation]) -> dict[str, str]:
    """What is added to a title: the name of the certificate, where others are of the same family.

    Args:
        shown: Presentations of one image, by the name of the certificate.
    """
    families = [one.family for one in shown.values()]
    return {name: f" ({name})" if families.count(one.family) > 1 else "" for name, one in shown.items()}


def in_order(results: Mapping[str, Any]) -> dict[str, Presentation]:
    """The presentations of some results, in the order of pages and figures.

    Args:
        results: Results of one image, by the name of the certificate.
    """
    shown = [(name, present(result)) for name, result in results.items()]
    return dict(sorted(shown, key=lambda entry: entry[1].place))


def own_columns(results: Iterable[Any], radii: Sequence[float]) -> dict[str, type]:
    """Columns of the table that the kinds of some results have for themselves.

    Args:
        results: Results, at least one of each kind.
        radii: Radii of the table's columns, in pixel l2 units.
    """
    common = common_columns(radii)
    found = (present(result).columns(radii) for result in results)
    return {name: kind for columns in found for name, kind in columns.items() if name not in common}
