"""Shows kinds from outside this package: what fails is left out with a warning, and everything else is kept.

Results are shown after all sampling. An error in the code that shows one kind must not end a job that has already
paid for the results.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lit_certattr.certificates.columns import common_columns
from lit_certattr.certificates.presentation import (
    Array,
    Overlay,
    Picture,
    Plot,
    Presentation,
    Rows,
    Sheet,
    SheetColumn,
    Tile,
    present,
)
from lit_certattr.settings.discovery import is_own

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")

_RESERVED = ("id", "certificate", "kind")
_warned: set[tuple[type, str]] = set()


class Guarded(Presentation):
    """Shows a result by the presentation of its kind, and by the default presentation where that one fails.

    The first failure of each method of a class gives a warning, which names the class and the method.

    Args:
        result: The result of one image.
        make: Makes the presentation of the kind.
    """

    def __init__(self, result: Any, make: Callable[[Any], Presentation]) -> None:
        super().__init__(result)
        self._plain = Presentation(result)
        try:
            self._own = make(result)
            self.place = int(self._own.place)
        except Exception as error:
            self._own = self._plain
            _warn(make if isinstance(make, type) else type(result), "presentation", error)

    def _ask(self, method: str, ask: Callable[[Presentation], T]) -> T:
        """What the presentation of the kind answers, or the default one if that fails."""
        try:
            return ask(self._own)
        except Exception as error:
            if self._own is self._plain:  # only what the result itself says can fail
                raise
            _warn(type(self._own), method, error)
            return ask(self._plain)

    @property
    def family(self) -> str:
        """Name of the family."""
        return self._ask("family", lambda own: str(own.family))

    def columns(self, radii: Sequence[float]) -> Mapping[str, type]:
        """Columns that only this kind has, if all of them have a type that a table can hold."""

        def ask(own: Presentation) -> dict[str, type]:
            columns = {str(name): kind for name, kind in own.columns(radii).items()}
            odd = [name for name, kind in columns.items() if kind not in (float, int, str)]
            if odd:
                raise TypeError(f"the type of {', '.join(odd)} must be float, int or str")
            return columns

        return self._ask("columns", ask)

    def rows(self, radii: Sequence[float]) -> list[dict[str, Any]]:
        """Rows with declared columns only; a value of another type than declared is left out."""
        declared = self.columns(radii)
        types = common_columns(radii) | dict(declared)

        def ask(own: Presentation) -> list[dict[str, Any]]:
            rows = [dict(row) for row in own.rows(radii)]
            if not rows:
                raise ValueError("there must be at least one row, such as {'level': 0}")
            return rows

        rows = self._ask("rows", ask)
        names = dict.fromkeys(name for row in rows for name in row)
        if odd := [str(name) for name in names if name not in types or name in _RESERVED]:
            self._advise("rows", f"{', '.join(odd)}: not in the table; a column of your own must be in columns()")
        if absent := [name for name in declared if name not in names]:
            self._advise("rows", f"{', '.join(absent)}: declared by columns(), but in no row; the columns are empty")
        return [
            {"level": 0} | {name: self._cell(name, row[name], types[name]) for name in row if name not in odd}
            for row in rows
        ]

    def _cell(self, name: str, value: Any, kind: type) -> Any:
        value = value.item() if hasattr(value, "item") and getattr(value, "size", 0) == 1 else value
        value = value.item() if hasattr(value, "numel") and value.numel() == 1 else value
        if value is None:
            return None
        fits = isinstance(value, str if kind is str else Real if kind is float else Integral)
        if fits and (kind is not int or abs(value) < 2**63):
            return kind(value)
        self._advise("rows", f"{name} must be {kind.__name__}, got {value!r:.60}; the cell is empty")
        return None

    def statement(self) -> str:
        """The statement, or that it failed."""
        try:
            return str(self.result.statement())
        except Exception as error:
            _warn(type(self.result), "statement", error)
            return f"Its statement cannot be shown, because {type(self.result).__name__}.statement() failed."

    def general(self) -> str:
        """The statement without the numbers of one image."""
        if type(self._own).general is Presentation.general:
            return self.statement()
        try:
            return self._ask("general", lambda own: str(own.general()))
        except Exception:  # of the statement, which is the default
            return self.statement()

    def plain(self) -> str:
        """What is certified, in plain words."""
        if type(self._own).plain is Presentation.plain:
            return self.general()
        try:
            return self._ask("plain", lambda own: str(own.plain()))
        except Exception:  # of the statement, which is the default
            return self.general()

    def notes(self) -> list[str]:
        """Notes that help to read the numbers correctly."""
        return self._ask("notes", lambda own: [str(note) for note in own.notes()])

    def summary(self) -> str:
        """The numbers of one image in one line."""
        return self._ask("summary", lambda own: str(own.summary()))

    def nothing(self) -> str:
        """That nothing is certified, in words."""
        return self._ask("nothing", lambda own: str(own.nothing()))

    def tiles(self, rows: Rows, suffix: str) -> list[Tile]:
        """Numbers at the top of the page."""
        return self._ask("tiles", lambda own: [Tile(*map(str, tile)) for tile in own.tiles(rows, suffix)])

    def sheet(self, names: Sequence[str]) -> Sheet:
        """The page's table of this certificate, without columns that no row has."""

        def ask(own: Presentation) -> Sheet:
            title, columns, note = own.sheet(names)
            return Sheet(str(title), [SheetColumn(*column) for column in columns], str(note))

        sheet = self._ask("sheet", ask)
        known = common_columns(()) | dict(self.columns(()))
        empty = [one.key for one in sheet.columns if one.key not in names]
        if odd := [str(key) for key in empty if key not in known and "_r" not in str(key)]:  # some name a radius
            self._advise("sheet", f"{', '.join(odd)}: no such column in the table")
        return sheet._replace(columns=[one for one in sheet.columns if one.key in names])

    def pictures(self, suffix: str) -> list[Picture]:
        """Maps of one image; one that cannot be painted stays empty."""

        def ask(own: Presentation) -> list[Picture]:
            pictures = [Picture(*picture) for picture in own.pictures(suffix)]
            return [one._replace(paint=self._painting("pictures", one.paint), place=int(one.place)) for one in pictures]

        return self._ask("pictures", ask)

    def overlays(self, suffix: str) -> list[Overlay]:
        """What is drawn over the image; one that cannot be painted stays empty."""

        def ask(own: Presentation) -> list[Overlay]:
            overlays = [Overlay(*overlay) for overlay in own.overlays(suffix)]
            return [Overlay(str(one.title), self._painting("overlays", one.paint)) for one in overlays]

        return self._ask("overlays", ask)

    def plots(self, suffix: str) -> list[Plot]:
        """Curves of one image; one that cannot be drawn stays empty."""
        return self._ask("plots", lambda own: [self._painting("plots", plot) for plot in own.plots(suffix)])

    def _painting(self, method: str, paint: Callable[..., Any]) -> Callable[..., Any]:
        def painted(*slots: "Axes") -> Any:
            try:
                shown = paint(*slots)
                for axes in slots:
                    axes.get_tightbbox()  # a text that is no formula fails only when it is laid out
                return shown
            except Exception as error:
                _warn(type(self._own), method, error)
                for axes in slots:
                    axes.clear()
                    axes.axis("off")
                return None

        return painted

    def radii(self) -> Array:
        """Radii of the trends."""
        return self._ask("radii", lambda own: np.asarray(own.radii(), dtype=np.float64).reshape(-1))

    def trends(self, radii: Array) -> list[Array]:
        """Curves of one image, whose mean over the data set a figure shows."""

        def ask(own: Presentation) -> list[Array]:
            trends = [np.asarray(curves, dtype=np.float64) for curves in own.trends(radii)]
            if odd := [curves.shape for curves in trends if curves.ndim != 2 or len(curves) != len(radii)]:
                raise ValueError(f"curves must be of shape [{len(radii)}, curves], got {list(odd[0])}")
            return trends

        return self._ask("trends", ask)

    def paint_trend(self, axes: "Axes", index: int, curves: Array, suffix: str) -> None:
        """Draw the mean of many images; axes that cannot be drawn stay empty."""
        self._painting("paint_trend", lambda own: self._own.paint_trend(own, index, curves, suffix))(axes)

    def figure(self) -> "Figure":
        """The figure of the kind; an error is raised, since nothing but the figure is asked for."""
        return self._own.figure()

    def _advise(self, method: str, text: str) -> None:
        _warn(type(self._own), method, text)


def presentation_of(result: Any) -> Presentation:
    """The presentation of a result, guarded if its kind or its presentation is from outside this package.

    Args:
        result: The result of one image.
    """
    make = present.dispatch(type(result))
    return make(result) if is_own(type(result)) and is_own(make) else Guarded(result, make)


def in_order(results: Mapping[str, Any]) -> dict[str, Presentation]:
    """The presentations of the results of one image, in the order of pages and figures.

    Args:
        results: Results of one image, by the name of the certificate.
    """
    presentations = [(name, presentation_of(result)) for name, result in results.items()]
    return dict(sorted(presentations, key=lambda entry: entry[1].place))


def own_columns(results: Iterable[Any], radii: Sequence[float]) -> dict[str, type]:
    """Columns of the table that only the kinds of these results have.

    Args:
        results: Results, at least one of each kind.
        radii: Radii of the table's columns, in pixel l2 units.
    """
    common, own = common_columns(radii), dict[str, type]()
    for result in results:
        for name, kind in presentation_of(result).columns(radii).items():
            if name not in common:
                other = own.get(name, kind)  # two kinds may give a column different types: one that holds both
                own[name] = kind if kind is other else str if str in (kind, other) else float
    return own


def _warn(kind: type, method: str, fault: Exception | str) -> None:
    """Warn once of each method of a class, with the result of the first image that fails."""
    if (kind, method) in _warned:
        return
    text = fault if isinstance(fault, str) else f"failed and is left out ({type(fault).__name__}: {fault})"
    warnings.warn(f"{kind.__module__}.{kind.__qualname__}, {method}(): {text}", stacklevel=3)
    _warned.add((kind, method))
