"""What claims are about, drawn over the image: the masks, and the boxes in which the centre of mass stays."""

import math
from collections.abc import Iterator
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lit_certattr.certificates import drawing as draw
from lit_certattr.certificates.claim import Claim
from lit_certattr.certificates.claims_result import ClaimsResult
from lit_certattr.certificates.presentation import Overlay
from lit_certattr.errors import InputError
from lit_certattr.numbers import CentreOfMass
from lit_certattr.settings.revived import revived
from lit_certattr.statistics.rounding import at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (draw.OVERLAP, draw.DEGREES[1])
_BOXES = (0.0, 0.25, 0.5)  # radii over sigma


def masks_overlays(result: ClaimsResult, suffix: str) -> Iterator[Overlay]:
    """The masks of the claims; claims about the same masks share a picture.

    Args:
        result: The result.
        suffix: Appended to titles if several certificates are of one family.
    """
    groups: list[tuple[list[Tensor], list[str]]] = []
    for claim, name in enumerate(result.names):
        masks = result.masks_of(claim)
        same = (names for known, names in groups if _equal(known, masks))
        if (names := next(same, None)) is not None:
            names.append(name)
        elif masks:
            groups.append((masks, [name]))
    for masks, names in groups:
        more = f" + {len(names) - 1}" if len(names) > 1 else ""
        yield Overlay(f"Mask: {shorten(names[0], 24, placeholder='...')}{more}{suffix}", _paint_masks(masks))


def box_overlays(result: ClaimsResult, suffix: str) -> Iterator[Overlay]:
    """The boxes in which the centre of mass stays, where a claim about its row and one about its column make them.

    Args:
        result: The result; without the record of its claims there are no boxes.
        suffix: Appended to titles if several certificates are of one family.
    """
    centres: dict[str, dict[str, int]] = {}
    for index, plain in enumerate(result.sampling.get("claims", ())):
        try:
            number = Claim(**revived(plain)).number
        except (InputError, TypeError):  # of a class that nobody has imported, or a damaged record
            continue
        if isinstance(number, CentreOfMass):
            centres.setdefault(number.sign, {}).setdefault(number.axis, index)
    for claims in centres.values():
        if claims.keys() == {"row", "column"}:
            paint = _paint_boxes(result, claims["row"], claims["column"])
            yield Overlay(f"Centre of mass, {result.about()}{suffix}", paint)


def box_at(result: ClaimsResult, row: int, column: int, radius: float) -> tuple[float, float, float, float] | None:
    """Where the centre of mass stays at a radius: first and last row, first and last column, in pixels of the map.

    Args:
        result: The result.
        row: Index of the claim about its row.
        column: Index of the claim about its column.
        radius: l2 radius, in pixel units.

    Returns:
        The box, within the map; ``None`` where one of its sides is not certified.
    """
    ends = (*result.interval(row, radius), *result.interval(column, radius))
    return None if not all(map(math.isfinite, ends)) else ends


def _equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return len(one) == len(two) and all(a.equal(b) for a, b in zip(one, two, strict=True))


def _paint_masks(masks: list[Tensor]) -> Any:
    def paint(axes: "Axes", slot: "Axes") -> None:
        inside = np.stack([mask.numpy() for mask in masks])
        veil = np.zeros((*inside.shape[1:], 4))
        veil[..., :3], veil[..., 3] = 1.0, np.where(inside.any(0), 0.0, 0.6)
        left, right, bottom, top = axes.images[0].get_extent()
        axes.imshow(veil, interpolation="nearest", extent=(left, right, bottom, top))
        legend = []
        for number, (mask, colour) in enumerate(zip(inside, _COLOURS, strict=False)):
            _outline(axes, mask, colour, (left, right, bottom, top))
            name = "mask" if len(masks) == 1 else ("first mask", "second mask")[number]
            legend.append(draw.Legend(f"{name} covers {100 * mask.mean():.3g} %", colour))
        draw.paint_legend(slot, legend, columns=1)

    return paint


def _outline(axes: "Axes", mask: Any, colour: str, extent: tuple[float, float, float, float]) -> None:
    """Draw the edges between the pixels inside a mask and those outside."""
    left, right, bottom, top = extent
    height, width = mask.shape
    padded = np.pad(mask, 1).astype(np.int8)
    rows, columns = np.linspace(top, bottom, height + 1), np.linspace(left, right, width + 1)
    across, down = np.nonzero(np.diff(padded, axis=0)), np.nonzero(np.diff(padded, axis=1))
    axes.hlines(rows[across[0]], columns[across[1] - 1], columns[across[1]], colors=colour, linewidth=1.6)
    axes.vlines(columns[down[1]], rows[down[0] - 1], rows[down[0]], colors=colour, linewidth=1.6)


def _paint_boxes(result: ClaimsResult, row: int, column: int) -> Any:
    def paint(axes: "Axes", slot: "Axes") -> None:
        from matplotlib.patches import Rectangle

        left, right, bottom, top = axes.images[0].get_extent()
        height, width = result.mean.shape
        down, across = (bottom - top) / height, (right - left) / width
        legend = []
        radii = [result.scale * length for length in _BOXES]
        if math.isfinite(budget := getattr(result, "budget", math.inf)):
            radii = [budget]
        colours = (draw.DEGREES[0], draw.DEGREES[1], draw.OVERLAP)
        for radius, colour in reversed(list(zip(radii, colours, strict=False))):
            box = box_at(result, row, column, radius)
            legend.append(draw.Legend(f"r = {at_least(radius)}" + (": no box" if box is None else ""), colour))
            if box is None:
                continue
            upper, lower, first, last = box
            # A place of the map is the centre of its pixel.
            corner = (left + (first + 0.5) * across, top + (upper + 0.5) * down)
            size = ((last - first) * across, (lower - upper) * down)
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=1.8))
        draw.paint_legend(slot, legend[::-1], columns=1)

    return paint
