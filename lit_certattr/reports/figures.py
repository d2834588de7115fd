"""Figures of one image and of a whole data set."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lit_certattr.certificates import PixelResult, Result, TopKOverlapResult
from lit_certattr.certificates import drawing as draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_MAP, _SLOT, _CURVE = 2.05, 0.52, 2.05  # heights in inches


def image_panel(
    image: Tensor,
    results: Mapping[str, Result],
    title: str | None = None,
    clean_map: Tensor | None = None,
) -> "Figure":
    """Everything about one image: its maps in the first row, its curves in the second.

    Image, clean attribution map, smoothed map (share of the votes), certified map over all levels of K, radius
    of the label shown; certified shares against the radius with what pure noise would reach, and the certified
    overlap. What has no certificate is left out, and certificates of other kinds are passed over.

    Args:
        image: Image ``[C, H, W]`` in [0, 1] with one or three channels.
        results: Results of the image by name, as :class:`~lit_certattr.Certifier` returns them.
        title: One line above all; shown as it is, never read as a formula.
        clean_map: Attribution map ``[H, W]`` of the image without noise.

    Returns:
        A figure that belongs to no window; save it with ``savefig``.
    """
    from matplotlib.figure import Figure

    pixel = {name: result for name, result in results.items() if isinstance(result, PixelResult)}
    overlap = {name: result for name, result in results.items() if isinstance(result, TopKOverlapResult)}
    maps: list[Any] = [lambda axes, slot: _image(axes, slot, image)]
    if clean_map is not None:
        maps.append(lambda axes, slot: _clean(axes, slot, clean_map))
    for name, result in pixel.items():
        suffix = f" ({name})" if len(pixel) > 1 else ""
        maps += [
            lambda axes, slot, r=result, s=suffix: _smoothed(axes, slot, r, s),
            lambda axes, slot, r=result, s=suffix: _certified(axes, slot, r, s),
            lambda axes, slot, r=result, s=suffix: _radius(axes, slot, r, s),
        ]
    if not pixel:
        maps += [lambda axes, slot, r=masks: _top(axes, slot, r) for masks in overlap.values()]
    curves: list[Any] = []
    for result in pixel.values():
        curves += [
            lambda axes, r=result: draw.paint_shares(axes, r, 1),
            lambda axes, r=result: draw.paint_shares(axes, r, 0),
        ]
    for name, masks in overlap.items():
        heading = f"Certified overlap ({name})" if len(overlap) > 1 else "Certified overlap"
        curves.append(lambda axes, r=masks, s=heading: draw.paint_overlap(axes, r, s))

    map_rows = _rows(maps, 5 if clean_map is not None else 4)
    curve_rows = _rows(curves, 3)
    width = 2.15 * max(3, len(map_rows[0]))
    heights = [_MAP + _SLOT] * len(map_rows) + [_CURVE] * len(curve_rows)
    head = 0.3 if title else 0.0
    figure = Figure(figsize=(width, sum(heights) + head), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11, color=draw.INK, parse_math=False)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, row in zip(parts, map_rows, strict=False):
        _map_row(part, row, len(map_rows[0]))
    for part, row in zip(parts[len(map_rows) :], curve_rows, strict=True):
        slots = part.subplots(1, len(curve_rows[0]), squeeze=False)[0]
        for axes, paint in zip(slots, row, strict=False):
            paint(axes)
        for axes in slots[len(row) :]:
            axes.axis("off")
    return figure


def _rows(items: Sequence[Any], length: int) -> list[Sequence[Any]]:
    return [items[start : start + length] for start in range(0, len(items), length)]


def _map_row(part: "SubFigure", row: Sequence[Any], columns: int) -> None:
    grid = part.add_gridspec(2, columns, height_ratios=(_MAP, _SLOT))
    for index, paint in enumerate(row):
        paint(part.add_subplot(grid[0, index]), part.add_subplot(grid[1, index]))


def _title(axes: "Axes", text: str) -> None:
    axes.set_title(text, fontsize=9, color=draw.INK, parse_math=False)


def _image(axes: "Axes", slot: "Axes", image: Tensor) -> None:
    _title(axes, "Image")
    slot.axis("off")
    pixels = image.detach().cpu().float().permute(1, 2, 0).numpy()
    gray = pixels.shape[2] != 3
    draw.paint_map(axes, pixels[:, :, 0] if gray else pixels, cmap="gray" if gray else None, vmin=0, vmax=1)


def _clean(axes: "Axes", slot: "Axes", clean_map: Tensor) -> None:
    _title(axes, "Attribution, no noise")
    values = clean_map.detach().cpu().float().numpy()
    signed = bool((values < 0).any())
    top = float(np.quantile(np.abs(values), 0.995)) or float(np.abs(values).max()) or 1.0
    palette = "RdBu_r" if signed else "gray_r"
    shown = draw.paint_map(axes, values, cmap=palette, vmin=-top if signed else 0, vmax=top)
    draw.paint_bar(slot, shown, "score (clipped at 99.5 %)")


def _smoothed(axes: "Axes", slot: "Axes", result: PixelResult, suffix: str) -> None:
    order = draw.level_order(result)
    level = order[len(order) // 2]
    _title(axes, f"Smoothed, top {draw.name_of(result.top_k[level])}{suffix}")
    share = result.votes[level].numpy() / result.num_samples
    shown = draw.paint_map(axes, share, cmap="magma", vmin=0, vmax=1)
    draw.paint_bar(slot, shown, f"votes / {result.num_samples} samples")


def _certified(axes: "Axes", slot: "Axes", result: PixelResult, suffix: str) -> None:
    _title(axes, f"Certified{suffix}")
    draw.paint_legend(slot, draw.paint_certified(axes, result))


def _radius(axes: "Axes", slot: "Axes", result: PixelResult, suffix: str) -> None:
    _title(axes, f"Radius of that label{suffix}")
    draw.paint_bar(slot, draw.paint_radius(axes, draw.shown_radius(result)), "l2 radius (pixel units)")


def _top(axes: "Axes", slot: "Axes", result: TopKOverlapResult) -> None:
    share = result.votes.numpy() / result.num_samples
    _title(axes, f"Smoothed, top {draw.name_of(result.sparsity)}")
    shown = draw.paint_map(axes, share, cmap="magma", vmin=0, vmax=1)
    draw.paint_bar(slot, shown, f"votes / {result.num_samples} samples")
