"""Figures of one image and of a whole data set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.ndimage import generate_binary_structure, maximum_filter, minimum_filter
from torch import Tensor

from lit_certattr.certificates import Result
from lit_certattr.certificates import drawing as draw
from lit_certattr.certificates.capabilities import LabelsPixels
from lit_certattr.certificates.guarded import in_order, presentation_of
from lit_certattr.certificates.presentation import Array, Overlay, Plot, Presentation, suffixes
from lit_certattr.partitions import count_regions, first_region
from lit_certattr.reports.tiles import CURVE, MAP, Layout, flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_MAP, _SLOT, _CURVE = 2.3, 0.75, 2.7  # heights in inches
_TITLE, _ENTRY = 0.4, 0.21  # of a title of two lines, and of an entry of a legend
_COLUMNS = 3  # of curves


class _Contents(NamedTuple):
    """What a panel shows: functions that draw maps, each with a slot below, and curves."""

    maps: list[Callable[["Axes", "Axes"], Any]]
    curves: list[Plot]
    partition: Tensor | None
    layout: Layout


def panel_layout(image: Tensor, results: Mapping[str, Result], clean_map: Tensor | None = None) -> Layout:
    """Where :func:`image_panel` draws the parts of a panel without a title.

    Args:
        image: Image ``[C, H, W]``.
        results: Results of the image by name.
        clean_map: Attribution map of the image without noise.
    """
    return _contents(image, results, clean_map).layout


def image_panel(
    image: Tensor,
    results: Mapping[str, Result],
    title: str | None = None,
    clean_map: Tensor | None = None,
    note: bool = True,
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
        note: Whether a line at the bottom says why nothing is certified, where that is so.

    Returns:
        A figure without a window; save it with ``savefig``.
    """
    maps, curves, partition, layout = _contents(image, results, clean_map)
    figure, cells = layout.figure(title)
    if note and (said := "\n".join(nothing_certified(results))):
        draw.paint_note(figure, said)
    slot = layout.rows[0].height - _MAP
    for cell, paint in zip(cells, maps, strict=False):
        _map_cell(cell, paint, slot, image, partition)
    for cell, plot in zip(cells[len(maps) :], curves, strict=True):
        axes = cell.subplots()
        plot(axes)
        draw.wrap_title(axes, draw.CURVE_LINE)
    return figure


def nothing_certified(results: Mapping[str, Result]) -> list[str]:
    """Why certificates certify nothing, one line for each that does not.

    Args:
        results: Results of one image by name.
    """
    return [f"{name}: {words}" for name, one in in_order(results).items() if (words := one.nothing())]


def _contents(image: Tensor, results: Mapping[str, Result], clean_map: Tensor | None) -> _Contents:
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
    levels = max((len(result.sizes) for result in results.values() if isinstance(result, LabelsPixels)), default=0)
    height = _MAP + max(_SLOT, _ENTRY * (levels + 3) + 0.05)  # the legend names the levels and three more classes
    rows = [*flow(len(maps), MAP, height, 5), *flow(len(curves), CURVE, _CURVE, _COLUMNS)]
    return _Contents(maps, curves, partition, Layout(rows))


def dataset_layout(results: Mapping[str, Result]) -> Layout:
    """Where :func:`dataset_figure` draws its curves.

    Args:
        results: Results of the first image by name.
    """
    presentations = [presentation_of(result) for result in results.values()]
    return _curves_layout(sum(len(one.trends(one.radii())) for one in presentations))


def _curves_layout(count: int) -> Layout:
    return Layout(flow(max(1, count), CURVE, _CURVE, _COLUMNS))


def dataset_figure(results: Iterable[Mapping[str, Result]]) -> "Figure":
    """Means over the images as a function of the radius; a band marks the middle half of the images.

    Each kind of certificate has its own curves: certified important and unimportant pixels, compared with maps of pure
    noise, the certified overlap, the certified cosine. Images are processed one at a time and not kept in memory.

    Args:
        results: For each image its results by name, all from one run.

    Returns:
        A figure without a window; save it with ``savefig``.
    """
    first: dict[str, Presentation] = {}
    radii: dict[str, Any] = {}
    curves: dict[str, list[list[Array]]] = {}
    for entry in results:
        for name, result in entry.items():
            one = presentation_of(result)
            if name not in first:
                first[name], radii[name] = one, one.radii()
            curves.setdefault(name, []).append(one.trends(radii[name]))

    figure, cells = _curves_layout(sum(len(own[0]) for own in curves.values())).figure()
    suffix = suffixes({name: one for name, one in first.items() if _stacked(curves[name])})
    free = iter(cells)
    for name, one in first.items():
        for index, stacked in enumerate(_stacked(curves[name])):
            axes = next(free).subplots()
            one.paint_trend(axes, index, stacked, suffix[name])
            draw.wrap_title(axes, draw.CURVE_LINE)
    for cell in free:
        cell.subplots().axis("off")
    return figure


def _stacked(images: Sequence[Sequence[Array]]) -> list[Array]:
    """The curves of all images, one array ``[images, r, curves]`` per axes; none if images have other shapes."""
    shapes = {tuple(curves.shape for curves in image) for image in images}
    return [np.stack(curves) for curves in zip(*images, strict=True)] if len(shapes) == 1 else []


def _map_cell(
    cell: "SubFigure", paint: Callable[["Axes", "Axes"], Any], slot: float, image: Tensor, partition: Tensor | None
) -> None:
    share = slot / (_MAP + slot)
    axes = cell.add_axes((0.04, share, 0.92, (1 - share) * (1 - _TITLE / _MAP)))
    axes.set_anchor("S")
    paint(axes, cell.add_axes((0.03, 0, 0.94, share - 0.01)))
    draw.wrap_title(axes, draw.MAP_LINE)
    if partition is not None:
        draw.spread_over(axes, partition)
    height, width = image.shape[1:]
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
        draw.title(axes, f"Image, {count_regions(partition)} regions")
        shown, gray = _outlined(pixels, partition), False
    draw.paint_map(axes, shown, cmap="gray" if gray else None, vmin=0, vmax=1)


def _outlined(pixels: Array, partition: Tensor) -> Array:
    """Pixels ``[H, W, C]`` in colour, with a yellow line along the inner edges of the regions."""
    labels, cross = first_region(partition).numpy(), generate_binary_structure(2, 1)
    edges = maximum_filter(labels, footprint=cross) != minimum_filter(labels, footprint=cross)
    colours: Array = np.repeat(pixels, 3 // pixels.shape[2], axis=2)
    colours[edges & (labels >= 0)] = (1, 1, 0)
    return colours


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
