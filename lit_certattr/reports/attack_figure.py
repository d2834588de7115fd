"""Figures of attacks: the certified lower bound, the attacked upper bound, and the unknown range between them."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_certattr.certificates import Result
from lit_certattr.certificates import drawing as draw
from lit_certattr.reports.tiles import CURVE, MAP, Layout, Row
from lit_certattr.robustness import Quantity, quantities
from lit_certattr.statistics.rounding import exact

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
Key = tuple[str, str, int]
CERTIFIED, ATTACKED, RANDOM, UNKNOWN = "#842E6A", "#1f6f8b", "#6b6b6b", "#f1e9d2"
PERTURBATION = Layout([Row(5, MAP, 2.6)])
"""Where :func:`perturbation_figure` draws its pictures."""


class Series(NamedTuple):
    """One quantity of one or more images as a function of the budget; arrays are ``[images, points]``.

    Attributes:
        name: Name of the quantity.
        title: Title of the panel.
        radii: Radii of the certified curve, ``[points]``, in the units of the budget.
        certified: Certified values at these radii.
        budgets: Budgets of the attacks, including 0.
        attacked: Estimates under attack at these budgets.
        upper: Upper confidence bounds of these estimates.
        random: Estimates under random search; ``None`` without a random search.
        unit: Unit of the values, the label of the axis.
        place: Position of the panel among the others.
        budget_unit: Unit of the budgets, the label of the other axis.
    """

    name: str
    title: str
    radii: Array
    certified: Array
    budgets: Array
    attacked: Array
    upper: Array
    random: Array | None
    unit: str = ""
    place: int = 0
    budget_unit: str = "l2 budget (pixel units)"


def series(
    images: Sequence[tuple[Mapping[str, Result], Sequence[Mapping[str, Any]]]],
) -> dict[Key, Series]:
    """The curves of one or more images, by certificate, quantity and level.

    Args:
        images: Certificates and table rows of each image, see :func:`lit_certattr.records.attack_directory.schema`.
    """
    rows: dict[Key, list[list[Mapping[str, Any]]]] = {}
    for _, entries in images:
        own: dict[Key, list[Mapping[str, Any]]] = {}
        for row in entries:
            own.setdefault((row["certificate"], row["quantity"], row["level"]), []).append(row)
        for key, one in own.items():
            rows.setdefault(key, []).append(sorted(one, key=lambda row: row["budget"]))
    certificates = {name for name, _, _ in rows}
    first = next(iter(rows.values()))[0]
    budgets = np.array([row["budget"] for row in first])
    even, steps = np.linspace(0, budgets[-1], 160), np.linspace(budgets[:-1], budgets[1:], 40).ravel()
    radii = np.unique(np.concatenate([even, steps]))
    certified: dict[Key, list[list[float]]] = {}
    known: dict[Key, Quantity] = {}
    for results, _ in images:
        for quantity in quantities(results):
            curve = [quantity.share(quantity.certified(float(radius))) for radius in radii]
            key = quantity.certificate, quantity.name, quantity.level
            known.setdefault(key, quantity)
            certified.setdefault(key, []).append(curve)
    budget = next(iter(images[0][0].values())).change_budget  # all certificates of a run share the noise
    budget_unit = budget.unit if budget.definition else "l2 budget (pixel units)"
    made = {}
    for key, table in rows.items():
        if key not in known:  # of a kind that nobody has imported
            continue
        name, title = key[1], known[key].title
        alike = sum(other[1:] == key[1:] for other in rows)
        if len(certificates) > 1 and alike > 1:
            title += f" ({key[0]})"

        def column(label: str, table: list[list[Mapping[str, Any]]] = table) -> Array:
            return np.array([[row[label] for row in one] for one in table], np.float64)

        random = None if table[0][0]["random"] is None else column("random")
        made[key] = Series(
            name,
            title,
            radii,
            np.array(certified[key]),
            budgets,
            column("attacked"),
            column("attacked_upper"),
            random,
            known[key].unit,
            known[key].place,
            budget_unit,
        )
    return made


def sandwich_figure(curves: Mapping[Key, Series], columns: int = 3) -> "Figure":
    """Means over the images as a function of the budget, one panel per quantity; thin lines are single images.

    Args:
        curves: Result of :func:`series`.
        columns: Largest number of panels per row.

    Returns:
        A figure without a window; save it with ``savefig``.
    """
    lines = _arrange(list(curves.values()), columns)
    figure, cells = _layout(lines).figure()
    reach = max(float(one.radii[one.certified.max(0) > 0].max(initial=0)) for one in curves.values())
    shown = [one for line in lines for one in line]
    for one, cell in zip(shown, cells, strict=False):
        place = cell.subplots()
        _paint(place, one)
        draw.wrap_title(place, draw.CURVE_LINE)
        if 0 < reach < one.budgets[-1] / 8:  # far beyond what is certified: linear up to there, then logarithmic
            place.set_xscale("symlog", linthresh=reach, linscale=1.5)
            place.set_xticks(one.budgets, [exact(budget) for budget in one.budgets])
            place.minorticks_off()
    handles, labels = cells[0].axes[0].get_legend_handles_labels()
    cells[-1].legend(handles, labels, loc="center", ncols=2, frameon=False, fontsize=9.5, handlelength=1.8)
    return figure


def sandwich_layout(curves: Mapping[Key, Series], columns: int = 3) -> Layout:
    """Where :func:`sandwich_figure` draws its panels and, in the last row, the legend.

    Args:
        curves: Result of :func:`series`.
        columns: Largest number of panels per row.
    """
    return _layout(_arrange(list(curves.values()), columns))


def _layout(lines: list[list[Series]]) -> Layout:
    return Layout([*(Row(len(line), CURVE, 2.8) for line in lines), Row(1, CURVE, 0.75)])


def _arrange(panels: list[Series], columns: int) -> list[list[Series]]:
    """Rows of panels: the levels of a quantity side by side, quantities without levels in the free positions."""
    names = dict.fromkeys(one.name for one in sorted(panels, key=lambda one: one.place))
    groups = [[one for one in panels if one.name == name] for name in names]
    if max(map(len, groups)) > columns:
        ordered = [one for group in groups for one in group]
        return [ordered[at : at + columns] for at in range(0, len(ordered), columns)]
    lines = [group for group in groups if len(group) > 1]
    for one in (group[0] for group in groups if len(group) == 1):
        room = next((line for line in lines if len(line) < columns), None)
        if room is None:
            lines.append([one])
        else:
            room.append(one)
    return lines


def _paint(axes: "Axes", one: Series) -> None:
    certified, attacked, upper = one.certified.mean(0), one.attacked.mean(0), one.upper.mean(0)
    above = np.interp(one.radii, one.budgets, upper)
    axes.fill_between(one.radii, certified, np.maximum(above, certified), color=UNKNOWN, linewidth=0, label="not known")
    if (count := len(one.certified)) > 1:
        faint: dict[str, Any] = {"linewidth": 0.6, "alpha": min(0.3, 2 / count)}
        axes.plot(one.radii, one.certified.T, color=CERTIFIED, **faint)
        axes.plot(one.budgets, one.attacked.T, color=ATTACKED, **faint)
    if one.random is not None:
        axes.plot(one.budgets, one.random.mean(0), color=RANDOM, linewidth=1.2, linestyle=(0, (1, 1.5)), label="random")
    axes.plot(one.budgets, upper, color=ATTACKED, linewidth=1.0, linestyle=(0, (3, 2)), label="attacked, at most")
    style: dict[str, Any] = {"linewidth": 1.7, "marker": "o", "markersize": 3.5, "clip_on": False}
    axes.plot(one.budgets, attacked, color=ATTACKED, label="attacked", **style)
    axes.plot(one.radii, certified, color=CERTIFIED, linewidth=1.7, label="certified")
    draw.style_curve(axes, one.title, one.unit, float(one.radii[-1]), one.budget_unit)
    axes.set_ylim(top=max(1.02, 1.03 * float(upper.max())))  # of K pixels more than K may have a majority


def perturbation_figure(image: Tensor, perturbed: Tensor, maps: tuple[Tensor, Tensor], caption: str) -> "Figure":
    """An image and its perturbed copy, the perturbation made visible, and the attribution maps of both.

    Args:
        image: Clean image ``[C, H, W]`` in [0, 1].
        perturbed: Perturbed image ``[C, H, W]`` in [0, 1].
        maps: Estimates of the smoothed maps of both, ``[H, W]``.
        caption: Caption of the perturbed image.

    Returns:
        A figure without a window; save it with ``savefig``.
    """
    delta = perturbed.double() - image.double()
    gain = 0.5 / max(float(delta.abs().max()), 1e-12)
    shown = (0.5 + gain * delta).clamp(0, 1)
    figure, cells = PERTURBATION.figure()
    axes = [cell.subplots() for cell in cells]
    titles = ["Image", caption, f"Perturbation, x {gain:.3g}", "Smoothed map", "Smoothed map, perturbed"]
    for place, tensor, title in zip(axes, (image, perturbed, shown), titles, strict=False):
        pixels = tensor.float().permute(1, 2, 0).numpy()
        gray = pixels.shape[2] != 3
        draw.paint_map(place, pixels[:, :, 0] if gray else pixels, cmap="gray" if gray else None, vmin=0, vmax=1)
        draw.title(place, fill(title, draw.MAP_LINE))
    top = float(torch.quantile(torch.stack(maps).abs().flatten().double(), 0.995)) or 1.0
    signed = any(bool((one < 0).any()) for one in maps)
    for place, one, title in zip(axes[3:], maps, titles[3:], strict=True):
        palette = "RdBu_r" if signed else "gray_r"
        draw.paint_map(place, one.float().numpy(), cmap=palette, vmin=-top if signed else 0, vmax=top)
        draw.title(place, title)
    return figure
