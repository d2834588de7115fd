"""Draws maps and curves from arrays. Matplotlib is imported on use, and its global state is never changed."""

from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lit_certattr.partitions import count_regions, first_region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEGREES = ("#f1c232", "#ec6060", "#842E6A", "#271C48")  # certified important, from the largest K to the smallest
UNIMPORTANT, PARTLY, ABSTAINING = "#ffffff", "#dce6f2", "#b3b3b3"
OVERLAP = "#1f6f8b"
Array = npt.NDArray[np.float64]
MARKERS = "os^D"
"""One kind of marker per level, for readers who cannot tell the colours apart."""
_DASHED = (0, (3, 2))
MAP_LINE, CURVE_LINE, _LABEL = 28, 44, 30
"""Characters in a line: of the titles of a map and of a curve, and of the label of an axis."""
INK, FRAME, GRID = "#222222", "#888888", "#e5e5e5"


def name_of(top_k: float) -> str:
    """K as the user gave it, for labels.

    Args:
        top_k: A share in (0, 1), or a number of pixels.

    Example:
        >>> name_of(0.25), name_of(200)
        ('25 %', '200 pixels')
    """
    return f"{100 * top_k:.3g} %" if 0 < top_k < 1 else f"{int(top_k)} pixels"


def level_colours(count: int) -> list[str]:
    """One colour per level, largest K first: the four of Anani et al. (2025), blended if there are more levels.

    Args:
        count: Number of levels.
    """
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    if count <= len(DEGREES):
        return list(DEGREES[:count])
    blend = LinearSegmentedColormap.from_list("degrees", DEGREES)
    return [to_hex(blend(j / (count - 1))) for j in range(count)]


class Legend(NamedTuple):
    """One class of the certified map."""

    label: str
    colour: str


def radius_grid(largest: float, sigma: float) -> npt.NDArray[np.float64]:
    """Radii of a curve that ends at ``largest``, or at ``sigma`` if nothing is certified.

    Args:
        largest: Largest radius of the curve; may be infinite.
        sigma: Standard deviation of the noise.
    """
    end = largest if np.isfinite(largest) and largest > 0 else sigma
    return np.linspace(0, 1.05 * end, 120)


def paint_map(axes: "Axes", values: Any, **style: Any) -> Any:
    """Draw a map ``[H, W]`` as an image with a thin frame, without ticks.

    Args:
        axes: Axes to draw in.
        values: The map.
        **style: Arguments of ``Axes.imshow``.

    Returns:
        The image, for a colour bar.
    """
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(FRAME)
        side.set_linewidth(0.6)
    return axes.imshow(values, interpolation="nearest", **style)


def spread_over(axes: "Axes", partition: Tensor) -> None:
    """Turn images of region values, painted as one row, into pictures in which each pixel shows its region's value.

    Images of another shape stay as they are. Pixels in no region stay empty.

    Args:
        axes: Axes with images.
        partition: Labels ``[H, W]`` or masks ``[m, H, W]``, see :class:`~lit_certattr.regions.Regions`.
    """
    labels = first_region(partition).numpy()
    height, width = labels.shape
    for picture in axes.images:
        values: Any = np.ma.asarray(picture.get_array())
        if values.shape == (1, count_regions(partition)):
            shown = values[0][labels.clip(min=0)]
            picture.set_data(np.ma.masked_where(np.ma.getmaskarray(shown) | (labels < 0), shown))
            picture.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))


def paint_classes(axes: "Axes", classes: npt.NDArray[np.int64], legend: list[Legend]) -> None:
    """Draw a map of classes ``[H, W]``, which are indices into ``legend``.

    Args:
        axes: Axes to draw in.
        classes: Classes ``[H, W]``.
        legend: Label and colour of each class.
    """
    from matplotlib.colors import ListedColormap

    palette = ListedColormap([entry.colour for entry in legend])
    paint_map(axes, classes, cmap=palette, vmin=-0.5, vmax=len(legend) - 0.5)


def paint_radius(axes: "Axes", radius: Any) -> Any:
    """Draw a radius map, grey where there is no radius; returns the image for a colour bar.

    Args:
        axes: Axes to draw in.
        radius: Radii ``[H, W]``, NaN where there is none.
    """
    from matplotlib import colormaps

    palette = colormaps["viridis"].with_extremes(bad=ABSTAINING)
    values = np.ma.masked_invalid(radius)
    top = float(values.max()) if values.count() else 1.0
    return paint_map(axes, values, cmap=palette, vmin=0, vmax=top)


def paint_legend(axes: "Axes", legend: list[Legend], columns: int = 1) -> None:
    """Draw colour patches with their labels in separate axes.

    Args:
        axes: Axes of their own, without a frame.
        legend: Label and colour of each class.
        columns: Number of columns.
    """
    from matplotlib.patches import Patch

    axes.axis("off")
    patches = [
        Patch(facecolor=entry.colour, edgecolor=FRAME, linewidth=0.6, label=fill(entry.label, MAP_LINE))
        for entry in legend
    ]
    axes.legend(
        handles=patches,
        loc="upper center",
        ncols=columns,
        fontsize=10.5,
        frameon=False,
        borderaxespad=0,
        handlelength=1.1,
        handleheight=1.0,
        handletextpad=0.5,
        columnspacing=1.0,
        labelspacing=0.35,
    )


def paint_bar(axes: "Axes", image: Any, label: str) -> None:
    """Draw a horizontal colour bar in separate axes.

    Args:
        axes: Axes of its own, without a frame.
        image: The image that it explains.
        label: Label of the bar.
    """
    axes.axis("off")
    slot = axes.inset_axes((0.1, 0.8, 0.8, 0.15))
    bar = slot.figure.colorbar(image, cax=slot, orientation="horizontal")
    bar.ax.tick_params(labelsize=10.5, length=2, pad=1, colors=INK)
    bar.outline.set_linewidth(0.5)
    bar.outline.set_edgecolor(FRAME)
    bar.set_label(fill(label, MAP_LINE), fontsize=10.5, labelpad=2)
    bar.locator = _ticks(3)
    bar.update_ticks()


def _ticks(count: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count)


def style_curve(axes: "Axes", title: str, ylabel: str, end: float, xlabel: str = "l2 radius (pixel units)") -> None:
    """Style axes with a curve of shares against the radius.

    Args:
        axes: Axes of the curve.
        title: Title.
        ylabel: Label of the y axis.
        end: Right end of the x axis.
        xlabel: Label of the x axis: what the radii are lengths of (:attr:`lit_certattr.budgets.Budget.unit`).
    """
    axes.set_title(title, fontsize=10.5, color=INK)
    axes.set_xlabel(xlabel, fontsize=9.5)
    axes.set_ylabel(fill(ylabel, _LABEL), fontsize=9.5)
    axes.set_xlim(0, end)
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_locator(_ticks(5))
    axes.tick_params(labelsize=9, length=3)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def paint_filled(axes: "Axes", radii: Array, curve: Array) -> None:
    """Draw a curve, and fill the area below it.

    Args:
        axes: Axes to draw in.
        radii: Radii ``[r]``.
        curve: Values ``[r]``.
    """
    axes.plot(radii, curve, color=OVERLAP, linewidth=1.6)
    axes.fill_between(radii, curve, color=OVERLAP, alpha=0.12, linewidth=0)


def marked(marker: str) -> dict[str, Any]:
    """Arguments of ``Axes.plot`` for a curve with some markers.

    Args:
        marker: The marker; empty for none.
    """
    return {"marker": marker, "markevery": 12, "markersize": 4.5} if marker else {}


def paint_null(axes: "Axes", radii: Array, curve: Array, colour: str) -> None:
    """Draw the curve that pure noise would reach, dashed.

    Args:
        axes: Axes to draw in.
        radii: Radii ``[r]``.
        curve: Values ``[r]``.
        colour: Colour of the curve that it belongs to.
    """
    axes.plot(radii, curve, color=colour, linewidth=1.0, linestyle=_DASHED)


def name_null(axes: "Axes") -> None:
    """Add an entry for :func:`paint_null` to the legend.

    Args:
        axes: Axes with the legend.
    """
    axes.plot([], [], color=FRAME, linewidth=1.0, linestyle=_DASHED, label="pure noise")


def paint_band(axes: "Axes", radii: Array, curves: Array, colour: str, label: str, marker: str = "") -> None:
    """Draw the mean of curves ``[curves, r]``, with a band between their quartiles.

    Args:
        axes: Axes to draw in.
        radii: Radii ``[r]``.
        curves: One curve per image.
        colour: Colour of line and band.
        label: Label in the legend.
        marker: Marker of the line; none by default.
    """
    low, high = np.quantile(curves, (0.25, 0.75), axis=0)
    axes.fill_between(radii, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(radii, curves.mean(0), color=colour, linewidth=1.7, label=label, **marked(marker))


def title(axes: "Axes", text: str) -> None:
    """Set a title literally, without parsing formulas.

    Args:
        axes: Axes to name.
        text: The title.
    """
    axes.set_title(text, fontsize=10.5, color=INK, parse_math=False)


def wrap_title(axes: "Axes", length: int) -> None:
    """Break a title that is too long.

    Args:
        axes: Axes with a title.
        length: Largest number of characters in a line.
    """
    if len(text := axes.get_title()) > length:
        title(axes, fill(text, length))


def paint_note(figure: "Figure", text: str) -> None:
    """Write a note below everything else of a figure, broken into lines that fit.

    Args:
        figure: The figure.
        text: The note, shown literally.
    """
    letters = int(figure.get_figwidth() * 14)
    lines = [line for part in text.splitlines() for line in wrap(part, letters)]
    figure.supxlabel("\n".join(lines), fontsize=9, color=INK, parse_math=False)


def paint_votes(axes: "Axes", slot: "Axes", share: Array, num_samples: int) -> None:
    """Draw a map of vote shares, with a colour bar in separate axes.

    Args:
        axes: Axes to draw in.
        slot: Axes of the colour bar.
        share: Votes as shares of the samples, ``[H, W]``.
        num_samples: Number of samples.
    """
    paint_bar(slot, paint_map(axes, share, cmap="magma", vmin=0, vmax=1), f"votes / {num_samples} samples")


def paint_scores(axes: "Axes", slot: "Axes", values: Array, signed: bool, label: str) -> None:
    """Draw a map of scores, clipped at the 99.5th percentile of their sizes, with a colour bar in separate axes.

    Args:
        axes: Axes to draw in.
        slot: Axes of the colour bar.
        values: Scores ``[H, W]``.
        signed: Whether negative scores have a meaning.
        label: Label of the colour bar.
    """
    top = float(np.quantile(np.abs(values), 0.995)) or 1.0
    palette = "RdBu_r" if signed else "gray_r"
    paint_bar(slot, paint_map(axes, values, cmap=palette, vmin=-top if signed else 0, vmax=top), label)
