"""Figures of one image and of a whole data set."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri
from torch import Tensor

from lit_certattr.certificates import (
    CosineResult,
    OverlapResult,
    PixelResult,
    Result,
    SmoothGradResult,
    TopKOverlapResult,
)
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
    of the label shown; certified shares against the radius with what pure noise would reach, the certified
    overlap and the certified cosine. What has no certificate is left out, and certificates of other kinds are
    passed over. Maps of a lower resolution are drawn over the whole image, one rectangle a pixel.

    Args:
        image: Image ``[C, H, W]`` in [0, 1] with one or three channels.
        results: Results of the image by name, as :class:`~lit_certattr.Certifier` returns them.
        title: One line above all; shown as it is, never read as a formula.
        clean_map: Attribution map of the image without noise, of the shape of the certified ones.

    Returns:
        A figure that belongs to no window; save it with ``savefig``.
    """
    from matplotlib.figure import Figure

    pixel = {name: result for name, result in results.items() if isinstance(result, PixelResult)}
    overlap = {name: result for name, result in results.items() if isinstance(result, OverlapResult)}
    cosine = {name: result for name, result in results.items() if isinstance(result, CosineResult)}
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
        counted = [masks for masks in overlap.values() if isinstance(masks, TopKOverlapResult)]
        maps += [lambda axes, slot, r=masks: _top(axes, slot, r) for masks in counted]
    gradients = [result for result in overlap.values() if isinstance(result, SmoothGradResult)]
    maps += [lambda axes, slot, r=gradient: _gradient(axes, slot, r) for gradient in gradients]
    maps += [lambda axes, slot, r=vector: _mean(axes, slot, r) for vector in cosine.values()]
    curves: list[Any] = []
    for result in pixel.values():
        curves += [
            lambda axes, r=result: draw.paint_shares(axes, r, 1),
            lambda axes, r=result: draw.paint_shares(axes, r, 0),
        ]
    for name, masks in overlap.items():
        heading = f"Certified overlap ({name})" if len(overlap) > 1 else "Certified overlap"
        curves.append(lambda axes, r=masks, s=heading: draw.paint_overlap(axes, r, s))
    for name, vector in cosine.items():
        heading = f"Certified cosine ({name})" if len(cosine) > 1 else "Certified cosine"
        curves.append(lambda axes, r=vector, s=heading: draw.paint_cosine(axes, r, s))

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
        _map_row(part, row, len(map_rows[0]), image)
    for part, row in zip(parts[len(map_rows) :], curve_rows, strict=True):
        slots = part.subplots(1, len(curve_rows[0]), squeeze=False)[0]
        for axes, paint in zip(slots, row, strict=False):
            paint(axes)
        for axes in slots[len(row) :]:
            axes.axis("off")
    return figure


def dataset_figure(results: Iterable[Mapping[str, Result]]) -> "Figure":
    """Means over the images against the radius, with the middle half of the images as a band.

    Certified important and unimportant pixels with what pure noise would reach, one curve a level, and the
    certified overlap and cosine; one row a pixel certificate. Images are taken one at a time and not kept.

    Args:
        results: For each image its results by name, all from one run.

    Returns:
        A figure that belongs to no window; save it with ``savefig``.
    """
    from matplotlib.figure import Figure

    first: dict[str, Any] = {}
    curves: dict[tuple[str, int], list[Any]] = {}
    for entry in results:
        for name, result in entry.items():
            if isinstance(result, PixelResult):
                radii = _pixel_radii(first.setdefault(name, result))
                for label in (1, 0):
                    curves.setdefault((name, label), []).append(draw.share_curves(result, label, radii))
            elif isinstance(result, OverlapResult):
                radii = _overlap_radii(first.setdefault(name, result))
                curves.setdefault((name, 1), []).append(result.curve(radii.tolist()).numpy()[:, None])
            elif isinstance(result, CosineResult):
                first.setdefault(name, result)
                radii = draw.cosine_radii(result)
                curves.setdefault((name, 1), []).append(draw.cosine_curve(result, radii)[:, None])

    rows = max(1, sum(isinstance(result, PixelResult) for result in first.values()))
    overlaps = sum(isinstance(result, OverlapResult) for result in first.values())
    cosines = sum(isinstance(result, CosineResult) for result in first.values())
    pixels = rows if len(first) > overlaps + cosines else 0
    columns = (2 if pixels else 0) + (-(-(overlaps + cosines) // rows))
    figure = Figure(figsize=(3.6 * max(1, columns), 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, max(1, columns), squeeze=False)
    free = [axes for row in grid for axes in row[2 if pixels else 0 :]]
    row = 0
    for name, result in first.items():
        if isinstance(result, PixelResult):
            suffix = f" ({name})" if pixels > 1 else ""
            for axes, label in zip(grid[row][:2], (1, 0), strict=True):
                _mean_shares(axes, result, np.stack(curves[name, label]), label, suffix)
            row += 1
        elif isinstance(result, CosineResult):
            suffix = f" ({name})" if cosines > 1 else ""
            _mean_cosine(free.pop(0), result, np.stack(curves[name, 1]), suffix)
        else:
            suffix = f" ({name})" if overlaps > 1 else ""
            _mean_overlap(free.pop(0), result, np.stack(curves[name, 1]), suffix)
    for axes in free:
        axes.axis("off")
    return figure


def _pixel_radii(result: PixelResult) -> Any:
    """A grid up to the largest radius that unanimous votes can certify: the same for all images of a run."""
    num_samples = result.sampling.get("num_samples", result.num_samples)  # the most that an image of the run can get
    longest = max(float(ndtri(result.level ** (1 / num_samples))), 0.1)
    return np.linspace(0, 1.02 * result.sigma * longest, 120)


def _overlap_radii(result: OverlapResult) -> Any:
    return np.linspace(0, 1.02 * result.longest_radius(), 120)


def _band(axes: "Axes", radii: Any, curves: Any, colour: str, label: str) -> None:
    low, high = np.quantile(curves, (0.25, 0.75), axis=0)
    axes.fill_between(radii, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(radii, curves.mean(0), color=colour, linewidth=1.7, label=label)


def _mean_shares(axes: "Axes", result: PixelResult, curves: Any, label: int, suffix: str) -> None:
    radii = _pixel_radii(result)
    coarse = radii[::3]
    null = draw.null_curves(result, label, coarse)
    order = draw.level_order(result)
    for level, colour in zip(order, draw.level_colours(len(order)), strict=True):
        _band(axes, radii, curves[:, :, level], colour, f"K = {draw.name_of(result.top_k[level])}")
        axes.plot(coarse, null[:, level], color=colour, linewidth=1.0, linestyle=(0, (3, 2)))
    axes.plot([], [], color=draw.FRAME, linewidth=1.0, linestyle=(0, (3, 2)), label="pure noise")
    title = "Certified important" if label else "Certified unimportant"
    draw.style_curve(axes, f"{title}{suffix}", "share of K" if label else "share of all pixels", radii[-1])
    if label:
        axes.legend(fontsize=7.5, frameon=False, loc="upper right", handlelength=1.6)


def _mean_overlap(axes: "Axes", result: OverlapResult, curves: Any, suffix: str) -> None:
    radii = _overlap_radii(result)
    _band(axes, radii, curves[:, :, 0], draw.OVERLAP, "")
    ylabel = f"share of K = {draw.name_of(result.top_k)}"
    draw.style_curve(axes, f"Certified overlap{suffix}", ylabel, radii[-1], result.radius_norm)


def _mean_cosine(axes: "Axes", result: CosineResult, curves: Any, suffix: str) -> None:
    radii = draw.cosine_radii(result)
    _band(axes, radii, curves[:, :, 0], draw.OVERLAP, "")
    draw.style_curve(axes, f"Certified cosine{suffix}", "cosine of the two maps", radii[-1])


def _rows(items: Sequence[Any], length: int) -> list[Sequence[Any]]:
    return [items[start : start + length] for start in range(0, len(items), length)]


def _map_row(part: "SubFigure", row: Sequence[Any], columns: int, image: Tensor) -> None:
    grid = part.add_gridspec(2, columns, height_ratios=(_MAP, _SLOT))
    height, width = image.shape[1:]
    for index, paint in enumerate(row):
        axes = part.add_subplot(grid[0, index])
        paint(axes, part.add_subplot(grid[1, index]))
        for picture in axes.images:
            picture.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))


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


def _gradient(axes: "Axes", slot: "Axes", result: SmoothGradResult) -> None:
    _title(axes, "Smoothed gradient, absolute")
    values = result.smoothed.numpy()
    top = float(np.quantile(values, 0.995)) or 1.0
    shown = draw.paint_map(axes, values, cmap="gray_r", vmin=0, vmax=top)
    draw.paint_bar(slot, shown, "estimate (clipped at 99.5 %)")


def _mean(axes: "Axes", slot: "Axes", result: CosineResult) -> None:
    _title(axes, "Smoothed, mean of unit maps")
    values = result.mean.numpy()
    top = float(np.quantile(np.abs(values), 0.995)) or 1.0
    palette, low = ("gray_r", 0.0) if result.nonnegative else ("RdBu_r", -top)
    draw.paint_bar(slot, draw.paint_map(axes, values, cmap=palette, vmin=low, vmax=top), "score (clipped at 99.5 %)")
