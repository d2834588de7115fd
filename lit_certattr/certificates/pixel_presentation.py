"""How certified labels of pixels are shown."""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from lit_certattr.certificates import drawing as draw
from lit_certattr.certificates.columns import column_at
from lit_certattr.certificates.pixel_result import PixelResult
from lit_certattr.certificates.presentation import (
    Array,
    Picture,
    Plot,
    Presentation,
    Rows,
    Sheet,
    SheetColumn,
    Tile,
    mean,
    percent,
    present,
    remedy_of,
)
from lit_certattr.statistics.rounding import confidence, fixed_at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class PixelPresentation(Presentation):
    """Certified map, radius map, and shares against the radius, compared with pure noise."""

    place = 0
    result: PixelResult

    @property
    def family(self) -> str:
        """The same for all kinds of labels of pixels."""
        return PixelResult.kind

    def rows(self, radii: Sequence[float]) -> list[dict[str, Any]]:
        """One row for each level of K."""
        result = self.result
        null = {f"null_{name}": share.tolist() for name, share in result.null_shares().items()}
        one, zero = result.shares_at([0.0, *radii])
        with np.errstate(divide="ignore", invalid="ignore"):  # a forged size of 0 is refused where the rows are read
            certified, one_share = one + zero, one * result.num_pixels / np.array(result.sizes, np.float64)
        shares = {"one": one, "zero": zero, "certified": certified, "abstain": 1 - one - zero, "one_share": one_share}
        at_radii = {name: [column_at(name, radius) for radius in radii] for name in ("certified", "one_share")}
        labelled = result.labels.numpy() >= 0
        longest = np.max(result.radius.numpy(), axis=(1, 2), initial=0.0, where=labelled).tolist()
        rows = []
        for level, (top_k, own) in enumerate(zip(result.top_k, result.radius.double(), strict=True)):
            at = {name: share[:, level].tolist() for name, share in shares.items()}
            row = {
                "level": level,
                "top_k": float(top_k),
                "size": result.sizes[level],
                "num_pixels": result.num_pixels,
                "tau": result.tau,
                "threshold": result.threshold,
                "num_constant": result.num_constant,
                "tied": result.tied[level],
                "mean_radius": float(own.mean()),  # over all pixels: 0 where it abstains
                "max_radius": longest[level],
                "null_one": null["null_one"][level],
                "null_zero": null["null_zero"][level],
            }
            row |= {name: values[0] for name, values in at.items()}
            for name, columns in at_radii.items():
                row |= zip(columns, at[name][1:], strict=True)
            rows.append(row)
        return rows

    @override
    def general(self) -> str:
        levels, one = ", ".join(draw.name_of(top_k) for top_k in self.result.top_k), self.unit.removesuffix("s")
        return (
            f"With probability at least {confidence(self.result.alpha)} per image, for all {self.unit} and for "
            f"K = {levels} at once: no perturbation of the image with {self.result.change_budget.a_measure} "
            f"below a {one}'s certified radius can "
            f"change whether that {one} belongs to the top K of the attribution map, by majority vote under the noise."
        )

    @override
    def plain(self) -> str:
        one = self.unit.removesuffix("s")
        return (
            f"A certified {one} keeps its place: noisy copies of the image vote on whether it is among the most "
            f"important {self.unit} of the map, and no change of the image that is smaller than the radius of this "
            f"{one} can change the outcome of the vote."
        )

    def notes(self) -> list[str]:
        """The power of the test, so that an abstention is not taken for instability."""
        return [self.result.power_note()]

    @override
    def summary(self) -> str:
        return ", ".join(
            f"{percent(float(one))} of the top {draw.name_of(top_k)} certified important"
            for one, top_k in zip(self.result.one_share(), self.result.top_k, strict=True)
        )

    @override
    def nothing(self) -> str:
        if not self.result.certified_count()[0] or bool((self.result.labels == 1).any()):
            return super().nothing()
        one = self.unit.removesuffix("s")
        return f"no {one} is certified important at any K: {remedy_of(self.result)}"

    @override
    def tiles(self, rows: Rows, suffix: str) -> list[Tile]:
        ends = [end(row["size"] for row in rows) for end in (min, max)]
        smallest, largest = ([row for row in rows if row["size"] == size] for size in ends)
        top_k, widest = draw.name_of(smallest[0]["top_k"]), draw.name_of(largest[0]["top_k"])
        l2 = self.result.change_budget.name == "l2"
        unit = "pixel l2 units" if l2 else self.result.change_budget.unit
        return [
            Tile(percent(mean(smallest, "one_share")), f"of the top {top_k} certified important{suffix}, mean"),
            Tile(percent(mean(largest, "certified")), f"of the {self.unit} certified at K = {widest}{suffix}, mean"),
            Tile(fixed_at_least(mean(rows, "mean_radius")), f"mean certified radius{suffix}, {unit}"),
        ]

    @override
    def sheet(self, names: Sequence[str]) -> Sheet:
        order = self.result.level_order()
        known = {level: draw.name_of(self.result.top_k[level]) for level in order}
        columns = [SheetColumn(f"important, K = {known[level]}", "one_share", level, "share") for level in order]
        columns += [SheetColumn(f"certified, K = {known[level]}", "certified", level, "share") for level in order]
        columns.append(SheetColumn(f"radius, K = {known[order[-1]]}", "mean_radius", order[-1]))
        note = (
            f"Important: as a share of K, above 100 % where more than K {self.unit} have a majority. "
            f"Certified: important and unimportant, as a share of all {self.unit}. "
            f"Radius: mean over all {self.unit}, 0 where the certificate abstains."
        )
        return Sheet(f"Certified {self.unit}", columns, note)

    def pictures(self, suffix: str) -> list[Picture]:
        """Share of the votes, certified map over all levels, radius of the label shown."""
        return [
            Picture(lambda axes, slot: self._smoothed(axes, slot, suffix), subject="votes"),
            Picture(lambda axes, slot: self._certified(axes, slot, f"Certified{suffix}")),
            Picture(lambda axes, slot: self._radius(axes, slot, suffix)),
        ]

    def plots(self, suffix: str) -> list[Plot]:
        """Certified important and unimportant pixels."""
        return [lambda axes: self._shares(axes, 1), lambda axes: self._shares(axes, 0)]

    def radii(self) -> Array:
        """A grid up to the largest radius that unanimous votes can certify."""
        result = self.result
        num_samples = result.sampling.get(
            "num_samples", result.num_samples
        )  # the most that an image of the run can get
        longest = result.change_budget.votes.reach(result.level ** (1 / num_samples), 0.5)
        return np.linspace(0, 1.02 * max(longest, 0.1 * result.scale), 120)

    def trends(self, radii: Array) -> list[Array]:
        """Certified important and unimportant pixels, one curve for each level."""
        return [self.result.share_curves(label, radii) for label in (1, 0)]

    @override
    def paint_trend(self, axes: "Axes", index: int, curves: Array, suffix: str) -> None:
        label, radii, order = 1 - index, self.radii(), self.result.level_order()
        coarse = radii[::3]
        null = self.result.null_curves(label, coarse)
        styles = zip(order, draw.level_colours(len(order)), cycle(draw.MARKERS), strict=False)
        for level, colour, marker in styles:
            draw.paint_band(axes, radii, curves[:, :, level], colour, self._name(level), marker)
            draw.paint_null(axes, coarse, null[:, level], colour)
        draw.name_null(axes)
        self._style(axes, label, radii[-1], suffix)
        if label:
            axes.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper right", handlelength=1.6)

    def figure(self) -> "Figure":
        """Certified map over all levels, and the radius map of the smallest K."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.9), layout="constrained")
        grid = figure.add_gridspec(2, 2, height_ratios=(1, 0.24))
        certified, radius = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
        self._certified(certified, figure.add_subplot(grid[1, 0]), "Certified map", columns=2)
        smallest = self.result.level_order()[-1]
        values = np.where(self.result.labels[smallest] < 0, np.nan, self.result.radius[smallest])
        draw.title(radius, f"Radius at K = {draw.name_of(self.result.top_k[smallest])}")
        draw.paint_bar(
            figure.add_subplot(grid[1, 1]),
            draw.paint_radius(radius, values),
            f"certified {self.result.change_budget.unit}",
        )
        return figure

    def legend(self) -> list[draw.Legend]:
        """The meaning of each class of :meth:`PixelResult.certified_classes`, in order."""
        order = self.result.level_order()
        names = [f"in the top {draw.name_of(self.result.top_k[level])}" for level in order]
        legend = [draw.Legend(*entry) for entry in zip(names, draw.level_colours(len(order)), strict=True)]
        legend.append(draw.Legend("outside at every K" if len(order) > 1 else "outside", draw.UNIMPORTANT))
        return [*legend, draw.Legend("outside at some K", draw.PARTLY), draw.Legend("abstain", draw.ABSTAINING)]

    def _name(self, level: int) -> str:
        return f"K = {draw.name_of(self.result.top_k[level])}"

    def _smoothed(self, axes: "Axes", slot: "Axes", suffix: str) -> None:
        order = self.result.level_order()
        level = order[len(order) // 2]
        draw.title(axes, f"Smoothed, top {draw.name_of(self.result.top_k[level])}{suffix}")
        share = self.result.votes[level].numpy() / self.result.num_samples
        draw.paint_votes(axes, slot, share, self.result.num_samples)

    def _certified(self, axes: "Axes", slot: "Axes", title: str, columns: int = 1) -> None:
        draw.title(axes, title)
        classes, legend = self.result.certified_classes().numpy(), self.legend()
        draw.paint_classes(axes, classes, legend)
        partly = len(legend) - 2  # named where there are such pixels
        shown = [one for at, one in enumerate(legend) if at != partly or bool((classes == at).any())]
        draw.paint_legend(slot, shown, columns)

    def _radius(self, axes: "Axes", slot: "Axes", suffix: str) -> None:
        draw.title(axes, f"Radius of that label{suffix}")
        draw.paint_bar(slot, draw.paint_radius(axes, self.result.shown_radius()), self.result.change_budget.unit)

    def _shares(self, axes: "Axes", label: int) -> None:
        result = self.result
        radii = draw.radius_grid(float(result.radius.max()), result.scale)
        coarse, order = radii[::3], result.level_order()
        shares, null = result.share_curves(label, radii), result.null_curves(label, coarse)
        styles = zip(order, draw.level_colours(len(order)), cycle(draw.MARKERS), strict=False)
        for level, colour, marker in styles:
            label_of, more = self._name(level), draw.marked(marker)
            axes.plot(radii, shares[:, level], color=colour, linewidth=1.6, label=label_of, **more)
            draw.paint_null(axes, coarse, null[:, level], colour)
        draw.name_null(axes)
        self._style(axes, label, radii[-1], "")
        axes.set_ylim(top=max(1.02, 1.03 * float(shares.max())))  # more than K pixels may have a majority
        if label:  # the other one has the same colours, and less room
            axes.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="upper right", handlelength=1.6)

    def _style(self, axes: "Axes", label: int, end: float, suffix: str) -> None:
        title = "Certified important" if label else "Certified unimportant"
        share = "share of K" if label else f"share of all {self.unit}"
        draw.style_curve(axes, f"{title}{suffix}", share, end, self.result.change_budget.unit)


present.register(PixelResult, PixelPresentation)
