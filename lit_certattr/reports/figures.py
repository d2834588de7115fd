"""Figures of one image and of a whole data set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lit_certattr.certificates import Result
from lit_certattr.certificates import drawing as draw
from lit_certattr.certificates.guarded import in_order, presentation_of
from lit_certattr.certificates.presentation import Array, Overlay, Plot, Presentation, suffixes
from lit_certattr.regions import count_regions, first_region

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
    """Everything about one image: its maps in the first rows, its curves below.

    Image, clean attribution map, and the maps and curves that each kind of certificate shows, e.g. the certified map
    over all levels of K, and the certified overlap as a function of the radius. Maps of a lower resolution are drawn
    over the whole image, one rectangle per pixel of the map. Certificates that certify nothing say so below.

    Args:
        image: Image ``[C, H, W]`` in [0, 1] with one or three channels.
        results: Results of the image by name, as :class:`~lit_certattr.Certifier` returns them.
        title: One line at the top, shown literally and never parsed as a formula.
        clean_map: Attribution map of the image without noise, of the same shape as the certified maps. Values of
            regions are drawn in all pixels of the region.

    Returns:
        A figure without a window; save it with ``savefig``.
    """
    from matplotlib.figure import Figure

    presentations = in_order(results)
    suffix = suffixes(presentations)
    pictures = [(one.place, picture) for name, one in presentations.items() for picture in one.pictures(suffix[name])]
    subjects = {picture.subject for _, picture in pictures} - {""}
    pictures.sort(key=lambda entry: (entry[0], entry[1].place))
    partition = next((result.partition for result in results.values() if result.partition is not None), None)
    maps: list[Any] = [lambda axes, slot: _image(axes, slot, image, partition)]
    overlays = [overlay for name, one in presentations.items() for overlay in one.overlays(suffix[name])]
    maps += [_over(image, overlay) for overlay in overlays]
    if clean_map is not None:
        maps.append(lambda axes, slot: _clean(axes, slot, clean_map))
    maps += [picture.paint for _, picture in pictures if picture.unless not in subjects]
    curves: list[Plot] = [plot for name, one in presentations.items() for plot in one.plots(suffix[name])]

    map_rows = _rows(maps, 5 if clean_map is not None else 4)
    curve_rows = _rows(curves, 3)
    width = 2.15 * max(3, len(map_rows[0]))
    heights = [_MAP + _SLOT] * len(map_rows) + [_CURVE] * len(curve_rows)
    head = 0.3 if title else 0.0
    said = "\n".join(f"{name}: {words}" for name, one in presentations.items() if (words := one.nothing()))
    foot = 0.2 * (1 + said.count("\n")) if said else 0.0
    figure = Figure(figsize=(width, sum(heights) + head + foot), layout="constrained")
    if said:
        draw.paint_note(figure, said)
    if title:
        figure.suptitle(title, fontsize=11, color=draw.INK, parse_math=False)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, row in zip(parts, map_rows, strict=False):
        _map_row(part, row, len(map_rows[0]), image, partition)
    for part, row in zip(parts[len(map_rows) :], curve_rows, strict=True):
        slots = part.subplots(1, len(curve_rows[0]), squeeze=False)[0]
        for axes, paint in zip(slots, row, strict=False):
            paint(axes)
        for axes in slots[len(row) :]:
            axes.axis("off")
    return figure


def dataset_figure(results: Iterable[Mapping[str, Result]]) -> "Figure":
    """Means over the images as a function of the radius; a band marks the middle half of the images.

    Each kind of certificate has its own curves: certified important and unimportant pixels, compared with maps of pure
    noise, the certified overlap, the certified cosine. Images are processed one at a time and not kept in memory.

    Args:
        results: For each image its results by name, all from one run.

    Returns:
        A figure without a window; save it with ``savefig``.
    """
    from matplotlib.figure import Figure

    first: dict[str, Presentation] = {}
    radii: dict[str, Any] = {}
    curves: dict[str, list[list[Array]]] = {}
    for entry in results:
        for name, result in entry.items():
            one = presentation_of(result)
            if name not in first:
                first[name], radii[name] = one, one.radii()
            curves.setdefault(name, []).append(one.trends(radii[name]))

    means = {name: _stacked(images) for name, images in curves.items()}
    first = {name: one for name, one in first.items() if means[name]}
    suffix = suffixes(first)
    broad = [name for name in first if len(means[name]) > 1]  # a row each, and the others beside these
    width, rows = max((len(means[name]) for name in broad), default=0), max(1, len(broad))
    columns = max(1, width + -(-(len(first) - len(broad)) // rows))
    figure = Figure(figsize=(3.6 * columns, 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    free = [axes for row in grid for axes in row[width:]]
    places = {name: list(row[:width]) for name, row in zip(broad, grid, strict=False)}
    for name, one in first.items():
        slots = places[name] if name in places else [free.pop(0)]
        for index, stacked in enumerate(means[name]):
            one.paint_trend(slots.pop(0), index, stacked, suffix[name])
        free += slots
    for axes in free:
        axes.axis("off")
    return figure


def _stacked(images: Sequence[Sequence[Array]]) -> list[Array]:
    """The curves of all images, one array ``[images, r, curves]`` per axes; none if images have other shapes."""
    shapes = {tuple(curves.shape for curves in image) for image in images}
    return [np.stack(curves) for curves in zip(*images, strict=True)] if len(shapes) == 1 else []


def _rows(items: Sequence[Any], length: int) -> list[Sequence[Any]]:
    return [items[start : start + length] for start in range(0, len(items), length)]


def _map_row(part: "SubFigure", row: Sequence[Any], columns: int, image: Tensor, partition: Tensor | None) -> None:
    grid = part.add_gridspec(2, columns, height_ratios=(_MAP, _SLOT))
    height, width = image.shape[1:]
    for index, paint in enumerate(row):
        axes = part.add_subplot(grid[0, index])
        paint(axes, part.add_subplot(grid[1, index]))
        if partition is not None:
            draw.spread_over(axes, partition)
        for picture in axes.images:
            picture.set_extent((-0.5, width - 0.5, height - 0.5, -0.5))


def _image(axes: "Axes", slot: "Axes", image: Tensor, partition: Tensor | None) -> None:
    slot.axis("off")
    pixels = image.detach().cpu().float().permute(1, 2, 0).numpy()
    gray = pixels.shape[2] != 3
    shown = pixels[:, :, 0] if gray else pixels
    if partition is None:
        draw.title(axes, "Image")
    else:
        from skimage.segmentation import mark_boundaries  # here, because other runs need not wait for it

        draw.title(axes, f"Image, {count_regions(partition)} regions")
        shown, gray = mark_boundaries(shown, first_region(partition).numpy() + 1, mode="inner"), False
    draw.paint_map(axes, shown, cmap="gray" if gray else None, vmin=0, vmax=1)


def _over(image: Tensor, overlay: Overlay) -> Callable[["Axes", "Axes"], None]:
    def paint(axes: "Axes", slot: "Axes") -> None:
        _image(axes, slot, image, None)
        draw.title(axes, overlay.title)
        overlay.paint(axes, slot)

    return paint


def _clean(axes: "Axes", slot: "Axes", clean_map: Tensor) -> None:
    draw.title(axes, "Attribution, no noise")
    values = clean_map.detach().cpu().float().numpy()
    signed = bool((values < 0).any())
    top = float(np.quantile(np.abs(values), 0.995)) or float(np.abs(values).max()) or 1.0
    palette = "RdBu_r" if signed else "gray_r"
    shown = draw.paint_map(axes, values, cmap=palette, vmin=-top if signed else 0, vmax=top)
    draw.paint_bar(slot, shown, "score (clipped at 99.5 %)")
