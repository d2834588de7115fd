"""How certified cosines are shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from lit_certattr.certificates import drawing as draw
from lit_certattr.certificates.columns import column_at
from lit_certattr.certificates.cosine_bounds import radius_over_sigma
from lit_certattr.certificates.cosine_result import CosineResult
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
    present,
    remedy_of,
)
from lit_certattr.statistics.rounding import at_least, confidence, fixed_at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CosinePresentation(Presentation):
    """Mean of the normalised maps, and its certified cosine against the radius."""

    place = 2
    result: CosineResult

    @override
    def rows(self, radii: Sequence[float]) -> list[dict[str, Any]]:
        result = self.result
        row: dict[str, Any] = {
            "level": 0,
            "num_pixels": result.mean.numel(),
            "norm": result.norm,
            "cosine90_radius": result.max_radius(0.9),
        }
        values = zip(radii, result.curve(radii).tolist(), strict=True)
        return [row | {column_at("cosine", radius): value for radius, value in values}]

    @property
    def family(self) -> str:
        """The same for all theorems about a cosine."""
        return CosineResult.kind

    @override
    def general(self) -> str:
        return (
            f"With probability at least {confidence(self.result.alpha)} per image, for all radii at once: under every "
            f"perturbation of the image with {self.result.change_budget.a_measure} up to a radius, the cosine "
            "between the smoothed map of the "
            "image and that of the perturbed image, as expectations, is at least the number stated there."
        )

    @override
    def plain(self) -> str:
        return (
            "The smoothed map of the changed image stays similar to that of the image: their cosine is at least "
            "the stated number, for every change of the image up to a stated size."
        )

    @override
    def summary(self) -> str:
        radius = self.result.max_radius(0.9)
        return "cosine of 0.9 certified " + (
            f"up to radius {at_least(radius)}" if radius > 0 else "at no positive radius"
        )

    @override
    def nothing(self) -> str:
        return "" if self.result.certified_cosine(0.0) > 0 else f"nothing is certified: {remedy_of(self.result)}"

    @override
    def tiles(self, rows: Rows, suffix: str) -> list[Tile]:
        return [Tile(fixed_at_least(mean(rows, "cosine90_radius")), f"mean radius of a cosine of 0.9{suffix}")]

    @override
    def sheet(self, names: Sequence[str]) -> Sheet:
        columns = [SheetColumn("norm", "norm")]
        for name in (name for name in names if name.startswith("cosine_r")):
            columns.append(SheetColumn(f"radius {name.removeprefix('cosine_r').replace('_', '.')}", name))
        columns.append(SheetColumn("radius of 0.9", "cosine90_radius", form="radius"))
        note = (
            "Lower bound of the norm of the smoothed map, which decides everything; certified cosine at each radius, "
            f"{'0' if self.result.nonnegative else '-1'} where there is none; radius of a cosine of 0.9."
        )
        return Sheet("Certified cosine", columns, note)

    @override
    def pictures(self, suffix: str) -> list[Picture]:
        return [Picture(self._mean)]

    def plots(self, suffix: str) -> list[Plot]:
        """The cosine against the radius."""
        return [lambda axes: self._cosine(axes, suffix)]

    def radii(self) -> Array:
        """Radii up to one at which little or nothing is certified."""
        result = self.result
        variation = 0.5 if result.bound == "signed" else 0.8
        return np.linspace(0, result.scale * radius_over_sigma(result.law, variation, result.dimension), 120)

    def trends(self, radii: Array) -> list[Array]:
        """The cosine at each radius."""
        return [self._curve(radii)[:, None]]

    @override
    def paint_trend(self, axes: "Axes", index: int, curves: Array, suffix: str) -> None:
        radii = self.radii()
        draw.paint_band(axes, radii, curves[:, :, 0], draw.OVERLAP, "")
        draw.style_curve(
            axes, f"Certified cosine{suffix}", "cosine of the two maps", radii[-1], self.result.change_budget.unit
        )

    def _curve(self, radii: Array) -> Array:
        """Certified cosine at each radius, 0 where none is certified."""
        return np.array([self.result.certified_cosine(radius) for radius in radii.tolist()])

    def _cosine(self, axes: "Axes", suffix: str) -> None:
        radii = self.radii()
        draw.paint_filled(axes, radii, self._curve(radii))
        draw.style_curve(
            axes, f"Certified cosine{suffix}", "cosine of the two maps", radii[-1], self.result.change_budget.unit
        )

    def _mean(self, axes: "Axes", slot: "Axes") -> None:
        draw.title(axes, "Smoothed, mean of unit maps")
        signed = not self.result.nonnegative
        draw.paint_scores(axes, slot, self.result.mean.numpy(), signed, "score (clipped at 99.5 %)")


present.register(CosineResult, CosinePresentation)
