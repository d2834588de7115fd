"""Small figures, where nobody looks at them: they take most of the time of a small run, its audit and its attacks."""

from typing import TYPE_CHECKING

from lit_certattr.reports import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_settle = page._settle


def use(small: bool) -> None:
    """Draw all figures of this process that follow small, or as users get them."""
    page._settle = _small if small else _settle


def _small(figure: "Figure", dpi: int) -> None:
    """A fifth of the size, without layout and without ticks."""
    figure.set_layout_engine("none")
    figure.set_size_inches(*figure.get_size_inches() / 5)
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
