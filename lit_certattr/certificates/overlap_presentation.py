"""How certified overlaps of the top K are shown, for all theorems."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from typing_extensions import override

from lit_certattr.certificates import drawing as draw
from lit_certattr.certificates.columns import column_at
from lit_certattr.certificates.overlap_result import OverlapResult
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
)
from lit_certattr.certificates.smoothgrad_result import SmoothGradResult
from lit_certattr.certificates.topk_overlap_result import TopKOverlapResult
from lit_certattr.statistics.rounding import confidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class OverlapPresentation(Presentation):
    """Share of the top K that stays, against the radius."""

    place = 1
    result: OverlapResult

    @property
    def family(self) -> str:
        """The same for all theorems about an overlap."""
        return "overlap"

    def rows(self, radii: Sequence[float]) -> list[dict[str, Any]]:
        """One row; radii in another norm than l2 have a separate column."""
        result = self.result
        row: dict[str, Any] = {
            "level": 0,
            "top_k": float(result.top_k),
            "size": result.size,
            "num_pixels": result.inside.numel(),
            "overlap": result.overlap(0) / result.size,
        }
        if result.radius_norm != "l2":  # no column of l2 radii may hold another length
            return [row | {"lp_half_radius": result.max_radius(0.5)}]
        row["half_radius"] = result.max_radius(0.5)
        shares = zip(radii, result.curve(radii), strict=True)
        return [row | {column_at("overlap", radius): float(value) for radius, value in shares}]

    @override
    def general(self) -> str:
        result = self.result
        return (
            f"With probability at least {confidence(result.alpha)} per image, for all radii at once: under every "
            f"perturbation of the image with {result.change_budget.a_measure} up to a radius{self._in_norm()}, "
            "at least "
            f"the share stated there of the K = {draw.name_of(result.top_k)} most important pixels of the smoothed map "
            "stays in its top K."
        )

    @override
    def plain(self) -> str:
        return (
            f"Of the most important {self.unit} (the top {draw.name_of(self.result.top_k)} of the smoothed map), at "
            "least a stated share stays among the most important ones, for every change of the image up to a stated "
            "size."
        )

    @override
    def summary(self) -> str:
        return f"{percent(self.result.overlap(0) / self.result.size)} certified overlap"

    @override
    def tiles(self, rows: Rows, suffix: str) -> list[Tile]:
        label = f"certified overlap of the top {draw.name_of(rows[0]['top_k'])} at radius → 0{suffix}"
        return [Tile(percent(mean(rows, "overlap")), label)]

    @override
    def sheet(self, names: Sequence[str]) -> Sheet:
        columns = [SheetColumn("radius → 0", "overlap", form="share")]
        if self.result.radius_norm == "l2":
            for name in (name for name in names if name.startswith("overlap_r")):
                radius = name.removeprefix("overlap_r").replace("_", ".")
                columns.append(SheetColumn(f"radius {radius}", name, form="share"))
            columns.append(SheetColumn("radius of 50 %", "half_radius", form="radius"))
        else:
            columns.append(SheetColumn(f"{self.result.radius_norm} radius of 50 %", "lp_half_radius", form="radius"))
        meaning = f"Share of K = {draw.name_of(self.result.top_k)} that stays in the top K at each radius"
        note = f"{meaning}{self._in_norm()}, and the radius below which half of it does."
        return Sheet("Certified overlap", columns, note)

    def plots(self, suffix: str) -> list[Plot]:
        """The overlap against the radius; nothing where no overlap is certified, which a line below the figure says."""
        return [] if self.nothing() else [lambda axes: self._overlap(axes, suffix)]

    def radii(self) -> Array:
        """A grid of radii that hardly any image exceeds."""
        return np.linspace(0, 1.02 * self.result.longest_radius(), 120)

    def trends(self, radii: Array) -> list[Array]:
        """The overlap at each radius."""
        return [self.result.curve(radii.tolist()).numpy()[:, None]]

    @override
    def paint_trend(self, axes: "Axes", index: int, curves: Array, suffix: str) -> None:
        radii = self.radii()
        draw.paint_band(axes, radii, curves[:, :, 0], draw.OVERLAP, "")
        self._style(axes, radii[-1], suffix)

    def _overlap(self, axes: "Axes", suffix: str) -> None:
        finite = self.result.displacement[torch.isfinite(self.result.displacement)]
        radii = draw.radius_grid(float(finite.max()) if finite.numel() else 0.0, self.result.scale)
        draw.paint_filled(axes, radii, self.result.curve(radii.tolist()).numpy())
        self._style(axes, radii[-1], suffix)

    def _style(self, axes: "Axes", end: float, suffix: str) -> None:
        unit = f"share of K = {draw.name_of(self.result.top_k)}"
        draw.style_curve(axes, f"Certified overlap{suffix}", unit, end, self.result.change_budget.unit)

    def _in_norm(self) -> str:
        """A remark if the radii are not l2 lengths."""
        norm = self.result.radius_norm
        return "" if norm == "l2" else f" (an {norm} length, not an l2 length)"


class MasksPresentation(OverlapPresentation):
    """The overlap, and the votes from which it was computed if no other picture shows votes."""

    result: TopKOverlapResult

    @override
    def pictures(self, suffix: str) -> list[Picture]:
        return [Picture(self._votes, unless="votes")]

    def _votes(self, axes: "Axes", slot: "Axes") -> None:
        draw.title(axes, f"Smoothed, top {draw.name_of(self.result.sparsity)}")
        draw.paint_votes(axes, slot, self.result.votes.numpy() / self.result.num_samples, self.result.num_samples)


class SmoothGradPresentation(OverlapPresentation):
    """The overlap, and the smoothed gradient that is ranked."""

    result: SmoothGradResult

    @override
    def pictures(self, suffix: str) -> list[Picture]:
        return [Picture(self._gradient, place=1)]

    def _gradient(self, axes: "Axes", slot: "Axes") -> None:
        draw.title(axes, "Smoothed gradient, absolute")
        draw.paint_scores(axes, slot, self.result.smoothed.numpy(), False, "estimate (clipped at 99.5 %)")


present.register(OverlapResult, OverlapPresentation)
present.register(TopKOverlapResult, MasksPresentation)
present.register(SmoothGradResult, SmoothGradPresentation)
