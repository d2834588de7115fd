"""How the certified prediction is shown: a row, a sentence and a curve."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from lit_certattr.certificates import drawing as draw
from lit_certattr.certificates.columns import column_at
from lit_certattr.certificates.prediction_result import MAJORITY, PredictionResult
from lit_certattr.certificates.presentation import (
    Array,
    Plot,
    Presentation,
    Rows,
    Sheet,
    SheetColumn,
    Tile,
    percent,
    present,
)
from lit_certattr.statistics import clopper_pearson_interval
from lit_certattr.statistics.rounding import at_least, confidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLAIM = "the noisy copies are predicted as the explained class"
_TITLE = "Prediction under noise"


class PredictionPresentation(Presentation):
    """The certified share of the noisy copies that are predicted as the explained class, against the radius."""

    place = 5
    result: PredictionResult

    @override
    def rows(self, radii: Sequence[float]) -> list[dict[str, Any]]:
        result, (low, high) = self.result, self.result.interval()
        row: dict[str, Any] = {
            "level": 0,
            "num_pixels": result.height * result.width,
            "claim": _CLAIM,
            "claim_verdict": result.verdict,
            "claim_at_least": MAJORITY,
            "claim_lower": low,
            "claim_upper": high,
            "claim_radius": result.radius,
        }
        lows, highs = (ends.tolist() for ends in result.intervals(radii))
        row |= {column_at("claim_lower", radius): end for radius, end in zip(radii, lows, strict=True)}
        row |= {column_at("claim_upper", radius): end for radius, end in zip(radii, highs, strict=True)}
        return [row]

    @override
    def general(self) -> str:
        return (
            f"With probability at least {confidence(self.result.alpha)} per image, for all radii at once: under every "
            f"perturbation of the image with {self.result.change_budget.a_measure} up to a radius, the share of "
            "the noisy copies that are "
            "predicted as the explained class lies in the interval stated there. Above one half, the class is the "
            "prediction of the smoothed network."
        )

    @override
    def plain(self) -> str:
        return (
            "Where this page says that the prediction holds, the network keeps recognising the explained class in most "
            "noisy copies of the image, for every change of the image below a stated size."
        )

    @override
    def notes(self) -> list[str]:
        return [
            "A class without a majority may still be the most frequent prediction of the noisy copies.",
            "The prediction for an image without noise is not covered.",
        ]

    @override
    def summary(self) -> str:
        result = self.result
        if result.verdict == "holds":
            return f"the explained class is predicted under noise up to radius {at_least(result.radius)}"
        return f"that the explained class is predicted under noise is {result.verdict}"

    @override
    def tiles(self, rows: Rows, suffix: str) -> list[Tile]:
        verdicts = [row["claim_verdict"] for row in rows]
        holds, hidden = verdicts.count("holds"), verdicts.count("not shown")
        tiles = [Tile(percent(holds / len(verdicts)), f"of the images: the class is predicted under noise{suffix}")]
        if len(verdicts) > 1:
            counts = f"{holds} / {hidden} / {len(verdicts) - holds - hidden}"
            tiles.append(Tile(counts, f"images: the prediction holds / is not shown / is refuted{suffix}"))
        return tiles

    @override
    def sheet(self, names: Sequence[str]) -> Sheet:
        columns = [
            SheetColumn("at least", "claim_lower"),
            SheetColumn("at most", "claim_upper", form="upper"),
            SheetColumn("majority up to", "claim_radius", form="radius"),
        ]
        note = (
            "Share of the noisy copies that are predicted as the explained class, at the clean image, and up to which "
            "radius it is certified to stay above one half."
        )
        return Sheet("Certified prediction", columns, note)

    @override
    def plots(self, suffix: str) -> list[Plot]:
        def paint(axes: "Axes") -> None:
            radii = self.radii()
            low, high = self.result.intervals(radii)
            axes.plot(radii, low, color=draw.OVERLAP, linewidth=1.6)
            axes.plot(radii, high, color=draw.OVERLAP, linewidth=1.6)
            axes.fill_between(radii, low, high, color=draw.OVERLAP, alpha=0.12, linewidth=0)
            axes.axhline(MAJORITY, color=draw.FRAME, linewidth=1.0, linestyle="--")
            draw.style_curve(axes, "", "share predicted as the class", radii[-1], self.result.change_budget.unit)
            draw.title(axes, f"{_TITLE}{suffix}")

        return [paint]

    @override
    def radii(self) -> Array:
        """Up to three standard deviations of the noise, where little can be left."""
        return np.linspace(0, 3 * self.result.scale, 120)

    @override
    def trends(self, radii: Array) -> list[Array]:
        """Whether the class keeps its majority at each radius."""
        return [(self.result.intervals(radii)[0] > MAJORITY).astype(np.float64)[:, None]]

    @override
    def paint_trend(self, axes: "Axes", index: int, curves: Array, suffix: str) -> None:
        radii, held = self.radii(), curves[:, :, 0]
        low, high = np.array([clopper_pearson_interval(int(column.sum()), len(column)) for column in held.T]).T
        axes.fill_between(radii, low, high, color=draw.OVERLAP, alpha=0.16, linewidth=0)
        axes.plot(radii, held.mean(0), color=draw.OVERLAP, linewidth=1.7)
        draw.style_curve(
            axes, "", "share of the images for which it holds, 95 %", radii[-1], self.result.change_budget.unit
        )
        draw.title(axes, f"{_TITLE}{suffix}")


present.register(PredictionResult, PredictionPresentation)
