"""How results look. Matplotlib is imported on use, and its global state is never touched."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_certattr.certificates.cosine_bounds import radius_over_sigma
from lit_certattr.certificates.cosine_result import CosineResult
from lit_certattr.certificates.overlap_result import OverlapResult
from lit_certattr.certificates.pixel_result import PixelResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEGREES = ("#f1c232", "#ec6060", "#842E6A", "#271C48")  # certified important, from the largest K to the smallest
UNIMPORTANT, PARTLY, ABSTAINING = "#ffffff", "#dce6f2", "#b3b3b3"
OVERLAP = "#1f6f8b"
INK, FRAME, GRID = "#222222", "#888888", "#e5e5e5"


def name_of(top_k: float) -> str:
    """K as it was asked for, for labels.

    Example:
        >>> name_of(0.25), name_of(200)
        ('25 %', '200 pixels')
    """
    return f"{100 * top_k:.3g} %" if 0 < top_k < 1 else f"{int(top_k)} pixels"


def level_order(result: PixelResult) -> list[int]:
    """Indices of the levels, largest K first: the order in which the degrees are painted."""
    return sorted(range(len(result.sizes)), key=lambda level: -result.sizes[level])


def level_colours(count: int) -> list[str]:
    """One colour a level, largest K first: the four of Anani et al. (2025), blended where there are more levels."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    if count <= len(DEGREES):
        return list(DEGREES[:count])
    blend = LinearSegmentedColormap.from_list("degrees", DEGREES)
    return [to_hex(blend(j / (count - 1))) for j in range(count)]


class Legend(NamedTuple):
    """One class of the certified map."""

    label: str
    colour: str


def certified_classes(result: PixelResult) -> tuple[Tensor, list[Legend]]:
    """The certified map over all levels: one class a pixel.

    Returns:
        Class indices int64 ``[H, W]`` and the classes: certified important down to the smallest K that holds;
        where it is important at no level, certified unimportant at every level, at some, or abstaining at all.
    """
    order = level_order(result)
    zeros = (result.labels == 0).sum(0)
    levels = len(order)
    classes = torch.full(result.labels.shape[1:], levels + 2)
    classes[zeros > 0] = levels + 1
    classes[zeros == levels] = levels
    degree = result.composition()
    classes = torch.where(degree > 0, degree - 1, classes)
    names = [f"in the top {name_of(result.top_k[level])}" for level in order]
    legend = [Legend(name, colour) for name, colour in zip(names, level_colours(levels), strict=True)]
    legend.append(Legend("outside at every K" if levels > 1 else "outside", UNIMPORTANT))
    legend.append(Legend("outside at some K", PARTLY))
    legend.append(Legend("abstain", ABSTAINING))
    return classes, legend


def shown_radius(result: PixelResult) -> npt.NDArray[np.float64]:
    """Radius of the label that :func:`certified_classes` shows, float64 ``[H, W]``; NaN where it abstains.

    An important pixel has the radius at the smallest K that holds, an unimportant one at the largest.
    """
    shown = torch.full(result.labels.shape[1:], torch.nan, dtype=torch.float64)
    order = level_order(result)
    for level in reversed(order):
        shown = torch.where(result.labels[level] == 0, result.radius[level].double(), shown)
    for level in order:
        shown = torch.where(result.labels[level] == 1, result.radius[level].double(), shown)
    values: npt.NDArray[np.float64] = shown.numpy()
    return values


def radius_grid(largest: float, sigma: float) -> npt.NDArray[np.float64]:
    """Radii for a curve that ends at ``largest``; up to ``sigma`` where nothing is certified."""
    end = largest if np.isfinite(largest) and largest > 0 else sigma
    return np.linspace(0, 1.05 * end, 120)


def share_curves(result: PixelResult, label: int, radii: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Certified shares at many radii, ``[len(radii), K]``: label 1 of K (may exceed 1), label 0 of all pixels."""
    curves = []
    for level, size in enumerate(result.sizes):
        kept = np.sort(result.radius[level][result.labels[level] == label].numpy())
        count = kept.size - np.searchsorted(kept, radii, side="right")
        curves.append(count / (size if label else result.num_pixels))
    return np.stack(curves, axis=1)


def null_curves(result: PixelResult, label: int, radii: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What pure noise would reach, in the units of :func:`share_curves`."""
    key = "one" if label else "zero"
    scale = result.num_pixels / np.array(result.sizes) if label else 1.0
    shares: npt.NDArray[np.float64] = np.stack([result.null_shares(radius)[key].numpy() for radius in radii])
    return shares * scale


def paint_map(axes: "Axes", values: Any, **style: Any) -> Any:
    """An image of a map ``[H, W]`` in a thin frame, without ticks."""
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(FRAME)
        side.set_linewidth(0.6)
    return axes.imshow(values, interpolation="nearest", **style)


def paint_certified(axes: "Axes", result: PixelResult) -> list[Legend]:
    """The certified map; returns the classes that occur, for a legend, and always those of the levels."""
    from matplotlib.colors import ListedColormap

    classes, legend = certified_classes(result)
    palette = ListedColormap([entry.colour for entry in legend])
    paint_map(axes, classes.numpy(), cmap=palette, vmin=-0.5, vmax=len(legend) - 0.5)
    partly = len(legend) - 2
    return [entry for index, entry in enumerate(legend) if index != partly or bool((classes == partly).any())]


def paint_radius(axes: "Axes", radius: Any) -> Any:
    """A radius map, grey where there is none; returns the image for a colour bar."""
    from matplotlib import colormaps

    palette = colormaps["viridis"].with_extremes(bad=ABSTAINING)
    values = np.ma.masked_invalid(radius)
    top = float(values.max()) if values.count() else 1.0
    return paint_map(axes, values, cmap=palette, vmin=0, vmax=top)


def paint_legend(axes: "Axes", legend: list[Legend], columns: int = 2) -> None:
    """Colour patches with their meaning in a slot of their own."""
    from matplotlib.patches import Patch

    axes.axis("off")
    patches = [Patch(facecolor=entry.colour, edgecolor=FRAME, linewidth=0.6, label=entry.label) for entry in legend]
    axes.legend(
        handles=patches,
        loc="upper center",
        ncols=columns,
        fontsize=7,
        frameon=False,
        borderaxespad=0,
        handlelength=1.1,
        handleheight=1.0,
        handletextpad=0.5,
        columnspacing=1.0,
        labelspacing=0.35,
    )


def paint_bar(axes: "Axes", image: Any, label: str) -> None:
    """A horizontal colour bar in a slot of its own."""
    axes.axis("off")
    slot = axes.inset_axes((0.04, 0.72, 0.92, 0.2))
    bar = slot.figure.colorbar(image, cax=slot, orientation="horizontal")
    bar.ax.tick_params(labelsize=7, length=2, pad=1, colors=INK)
    bar.outline.set_linewidth(0.5)
    bar.outline.set_edgecolor(FRAME)
    bar.set_label(label, fontsize=7.5, labelpad=2)
    bar.locator = _ticks(4)
    bar.update_ticks()


def _ticks(count: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count)


def style_curve(axes: "Axes", title: str, ylabel: str, end: float, norm: str = "l2") -> None:
    """Axes of a curve of shares against the radius, in a norm."""
    axes.set_title(title, fontsize=9, color=INK)
    axes.set_xlabel(f"{norm} radius (pixel units)", fontsize=8)
    axes.set_ylabel(ylabel, fontsize=8)
    axes.set_xlim(0, end)
    axes.set_ylim(-0.02, 1.02)
    axes.xaxis.set_major_locator(_ticks(5))
    axes.tick_params(labelsize=7.5, length=3)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def paint_shares(axes: "Axes", result: PixelResult, label: int) -> None:
    """Certified share against the radius, one curve a level, with what pure noise would reach, dashed.

    Args:
        axes: Where to draw.
        result: The certificate.
        label: 1 draws certified important as a share of K, 0 certified unimportant as a share of all pixels.
    """
    radii = radius_grid(float(result.radius.max()), result.sigma)
    coarse = radii[::3]
    shares, null = share_curves(result, label, radii), null_curves(result, label, coarse)
    order = level_order(result)
    for level, colour in zip(order, level_colours(len(order)), strict=True):
        name = f"K = {name_of(result.top_k[level])}"
        axes.plot(radii, shares[:, level], color=colour, linewidth=1.6, label=name)
        axes.plot(coarse, null[:, level], color=colour, linewidth=1.0, linestyle=(0, (3, 2)))
    axes.plot([], [], color=FRAME, linewidth=1.0, linestyle=(0, (3, 2)), label="pure noise")
    title = "Certified important" if label else "Certified unimportant"
    style_curve(axes, title, "share of K" if label else "share of all pixels", radii[-1])
    axes.set_ylim(top=max(1.02, 1.03 * float(shares.max())))  # more than K pixels may have a majority
    if label:  # the other one has the same colours, and less room
        axes.legend(fontsize=7, frameon=False, loc="upper right", handlelength=1.6)


def paint_overlap(axes: "Axes", result: OverlapResult, title: str = "Certified overlap") -> None:
    """Certified overlap of the top K against the radius, as a share of K."""
    finite = result.displacement[torch.isfinite(result.displacement)]
    radii = radius_grid(float(finite.max()) if finite.numel() else 0.0, result.sigma)
    curve = result.curve(radii.tolist()).numpy()
    axes.plot(radii, curve, color=OVERLAP, linewidth=1.6)
    axes.fill_between(radii, curve, color=OVERLAP, alpha=0.12, linewidth=0)
    style_curve(axes, title, f"share of K = {name_of(result.top_k)}", radii[-1], result.radius_norm)


def cosine_radii(result: CosineResult) -> npt.NDArray[np.float64]:
    """Radii for a curve of cosines, the same for all images of a run: up to where little or nothing can be left."""
    variation = 0.5 if result.bound == "signed" else 0.8
    return np.linspace(0, result.sigma * radius_over_sigma(result.law, variation, result.dimension), 120)


def cosine_curve(result: CosineResult, radii: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Certified cosine at each radius, 0 where none is certified."""
    values: npt.NDArray[np.float64] = result.curve(radii.tolist()).clamp(min=0).numpy()
    return values


def paint_cosine(axes: "Axes", result: CosineResult, title: str = "Certified cosine") -> None:
    """Certified cosine of the smoothed map against the radius."""
    radii = cosine_radii(result)
    curve = cosine_curve(result, radii)
    axes.plot(radii, curve, color=OVERLAP, linewidth=1.6)
    axes.fill_between(radii, curve, color=OVERLAP, alpha=0.12, linewidth=0)
    style_curve(axes, title, "cosine of the two maps", radii[-1])


def draw_pixel(result: PixelResult) -> "Figure":
    """Certified map over all levels, and the radius map of the smallest K.

    Args:
        result: The certificate of one image.

    Returns:
        A figure that belongs to no window; save it with ``savefig``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.9), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 0.24))
    certified, radius = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    certified.set_title("Certified map", fontsize=9, color=INK)
    paint_legend(figure.add_subplot(grid[1, 0]), paint_certified(certified, result))
    smallest = level_order(result)[-1]
    values = np.where(result.labels[smallest] < 0, np.nan, result.radius[smallest])
    radius.set_title(f"Radius at K = {name_of(result.top_k[smallest])}", fontsize=9, color=INK)
    bar = "certified l2 radius (pixel units)"
    paint_bar(figure.add_subplot(grid[1, 1]), paint_radius(radius, values), bar)
    return figure


def draw_overlap(result: OverlapResult) -> "Figure":
    """Certified overlap of the top K against the radius.

    Args:
        result: The certificate of one image.

    Returns:
        A figure that belongs to no window; save it with ``savefig``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.0), layout="constrained")
    paint_overlap(figure.add_subplot(), result)
    return figure


def draw_cosine(result: CosineResult) -> "Figure":
    """Certified cosine of the smoothed map against the radius.

    Args:
        result: The certificate of one image.

    Returns:
        A figure that belongs to no window; save it with ``savefig``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.0), layout="constrained")
    paint_cosine(figure.add_subplot(), result)
    return figure
