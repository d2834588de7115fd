"""How claims are shown: a row, a sentence and a curve for each."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from lit_certattr.certificates import drawing as draw
from lit_certattr.certificates.claims_overlays import box_overlays, masks_overlays
from lit_certattr.certificates.claims_result import ClaimsResult
from lit_certattr.certificates.columns import column_at
from lit_certattr.certificates.presentation import (
    Array,
    Overlay,
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
from lit_certattr.statistics import clopper_pearson_interval
from lit_certattr.statistics.rounding import at_least, confidence, fixed_at_least, percent_at_least, percent_at_most

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ClaimsPresentation(Presentation):
    """The certified interval of each number against the radius, and up to which radius each claim holds."""

    place = 4
    result: ClaimsResult

    @property
    def claims(self) -> range:
        """Indices of the claims."""
        return range(len(self.result.names))

    @override
    def rows(self, radii: Sequence[float]) -> list[dict[str, Any]]:
        rows = []
        for claim in self.claims:
            result, (low, high) = self.result, self.result.interval(claim)
            row: dict[str, Any] = {
                "level": claim,
                "num_pixels": result.mean.numel(),
                "claim": result.names[claim],
                "claim_verdict": result.verdict(claim),
                "claim_at_least": _finite(result.at_least[claim]),
                "claim_at_most": _finite(result.at_most[claim]),
                "claim_lower": _finite(low),
                "claim_upper": _finite(high),
                "claim_covered": result.covered(claim),
            }
            if result.has_bounds(claim):
                row["claim_radius"] = result.radius(claim)
            lows, highs = (ends.tolist() for ends in result.intervals(claim, radii))
            row |= {column_at("claim_lower", radius): _finite(end) for radius, end in zip(radii, lows, strict=True)}
            row |= {column_at("claim_upper", radius): _finite(end) for radius, end in zip(radii, highs, strict=True)}
            rows.append(row)
        return rows

    @override
    def general(self) -> str:
        return (
            f"With probability at least {confidence(self.result.alpha)} per image, for all claims and all radii at "
            f"once: under every perturbation of the image with {self.result.change_budget.a_measure} up to a "
            f"radius, {self.result.about()} of "
            "each number of the map, over the noise, lies in the interval stated there."
        )

    @override
    def plain(self) -> str:
        return (
            f"For each number below, {self.result.about()} over noisy copies of the image stays between stated limits, "
            f"for every change of the image up to a stated size: {'; '.join(self.result.names)}."
        )

    @override
    def notes(self) -> list[str]:
        return [
            f"A claim is about {self.result.about()} over the noise, not about the number of a single map.",
            "A claim that is not shown may be true: more samples or less noise may show it.",
            *self.result.notes(),
        ]

    @override
    def summary(self) -> str:
        return "; ".join(
            f"{name}: " + (self._word(claim) if self.result.has_bounds(claim) else self._ends(claim))
            for claim, name in enumerate(self.result.names)
        )

    def _word(self, claim: int) -> str:
        verdict = self.result.verdict(claim)
        return f"holds up to radius {at_least(self.result.radius(claim))}" if verdict == "holds" else str(verdict)

    def _ends(self, claim: int) -> str:
        return f"at least {at_least(self.result.interval(claim).low)} at the clean image"

    @override
    def nothing(self) -> str:
        refuted = any(self.result.has_bounds(one) and self.result.verdict(one) != "not shown" for one in self.claims)
        if refuted or self.result.certified_count()[0]:
            return ""
        return f"no claim is shown ({self.summary()}): {remedy_of(self.result)}"

    @override
    def tiles(self, rows: Rows, suffix: str) -> list[Tile]:
        tiles = []
        for claim, name in enumerate(self.result.names):
            own = [row for row in rows if row["level"] == claim]
            if self.result.has_bounds(claim):
                tiles.append(
                    Tile(
                        percent(fmean((row["claim_radius"] or 0) > 0 for row in own)),
                        f"of the images: {name} holds{suffix}",
                    )
                )
                if len(own) > 1:
                    tiles.append(self._counts([row["claim_verdict"] for row in own], name, suffix))
            elif any(row["claim_lower"] is not None for row in own):
                tiles.append(
                    Tile(fixed_at_least(mean(own, "claim_lower")), f"mean certified lower end of {name}{suffix}")
                )
            else:
                tiles.append(Tile("none", f"certified lower end of {name}{suffix}"))
        return tiles

    def _counts(self, verdicts: Sequence[str], name: str, suffix: str) -> Tile:
        """How many images have each verdict, and for which share of such images the claim would hold."""
        holds, hidden = verdicts.count("holds"), verdicts.count("not shown")
        low, high = clopper_pearson_interval(holds, len(verdicts))
        return Tile(
            f"{holds} / {hidden} / {len(verdicts) - holds - hidden}",
            f"images: {name} holds / is not shown / is refuted{suffix}; if the images are a random sample, it is "
            f"certified for {percent_at_least(low)} to {percent_at_most(high)} % of such images (95 % confidence)",
        )

    @override
    def sheet(self, names: Sequence[str]) -> Sheet:
        columns = []
        for claim, name in enumerate(self.result.names):
            columns.append(SheetColumn(f"{name}: at least", "claim_lower", level=claim))
            columns.append(SheetColumn("at most", "claim_upper", level=claim, form="upper"))
            if self.result.has_bounds(claim):
                columns.append(SheetColumn("holds up to", "claim_radius", level=claim, form="radius"))
            if self.result.covered(claim) is not None:
                columns.append(SheetColumn("mask covers", "claim_covered", level=claim, form="share"))
        note = (
            f"Where {self.result.about()} of each number lies at the clean image, and up to which radius a claim holds."
        )
        return Sheet("Certified claims", columns, note)

    @override
    def pictures(self, suffix: str) -> list[Picture]:
        return [Picture(self._mean)]

    @override
    def overlays(self, suffix: str) -> list[Overlay]:
        return [*masks_overlays(self.result, suffix), *box_overlays(self.result, suffix)]

    def plots(self, suffix: str) -> list[Plot]:
        """The certified interval of each claim against the radius."""
        return [self._plot(claim, suffix) for claim in self.claims]

    def _plot(self, claim: int, suffix: str) -> Plot:
        def paint(axes: "Axes") -> None:
            radii, result = self.radii(), self.result
            low, high = result.intervals(claim, radii)
            finite = [end[np.isfinite(end)] for end in (low, high)]
            axes.plot(radii, low, color=draw.OVERLAP, linewidth=1.6)
            axes.plot(radii, high, color=draw.OVERLAP, linewidth=1.6)
            both = np.isfinite(low) & np.isfinite(high)
            axes.fill_between(radii, low, high, where=both, color=draw.OVERLAP, alpha=0.12, linewidth=0)
            if (covered := result.covered(claim)) is not None:
                axes.axhline(covered, color=draw.FRAME, linewidth=1.0, linestyle=":")
            for bound in (result.at_least[claim], result.at_most[claim]):
                if math.isfinite(bound):
                    axes.axhline(bound, color=draw.FRAME, linewidth=1.0, linestyle="--")
            draw.style_curve(axes, "", result.about(), radii[-1], result.change_budget.unit)
            ends = np.concatenate([*finite, [0.0]])
            if ends.min() < -0.02 or ends.max() > 1.02:
                axes.set_ylim(ends.min() - 0.02 * np.ptp(ends), ends.max() + 0.02 * np.ptp(ends))
            draw.title(axes, f"{result.names[claim]}{suffix}")

        return paint

    def radii(self) -> Array:
        """Up to three standard deviations of the noise, where little can be left."""
        return np.linspace(0, 3 * self.result.scale, 120)

    def trends(self, radii: Array) -> list[Array]:
        """Whether each claim holds at each radius; the lower end of the interval for one without bounds."""
        return [self._trend(claim, radii)[:, None] for claim in self.claims]

    def _trend(self, claim: int, radii: Array) -> Array:
        if self.result.has_bounds(claim):
            return np.array([self.result.holds(claim, radius) for radius in radii.tolist()], dtype=np.float64)
        low = self.result.intervals(claim, radii)[0]
        return np.where(np.isfinite(low), low, np.nan)

    @override
    def paint_trend(self, axes: "Axes", index: int, curves: Array, suffix: str) -> None:
        radii, values = self.radii(), curves[:, :, 0]
        known = ~np.isnan(values).any(0)  # where every image has an end
        label = "share of the images for which it holds, 95 %" if self.result.has_bounds(index) else self.result.about()
        if self.result.has_bounds(index):
            ends = [clopper_pearson_interval(int(column.sum()), len(column)) for column in values.T]
            low, high = np.array(ends).T
            axes.fill_between(radii, low, high, color=draw.OVERLAP, alpha=0.16, linewidth=0)
            axes.plot(radii, values.mean(0), color=draw.OVERLAP, linewidth=1.7)
        elif known.any():
            draw.paint_band(axes, radii[known], values[:, known], draw.OVERLAP, "")
        draw.style_curve(axes, "", label, radii[-1], self.result.change_budget.unit)
        if known.any() and values[:, known].max() > 1.02:
            axes.set_ylim(auto=True)
            axes.relim()
            axes.autoscale(axis="y")
        draw.title(axes, f"{self.result.names[index]}{suffix}")

    def _mean(self, axes: "Axes", slot: "Axes") -> None:
        draw.title(axes, "Smoothed, mean of scaled maps")
        values = self.result.mean.numpy()
        draw.paint_scores(axes, slot, values, bool((values < 0).any()), "score (clipped at 99.5 %)")


def _finite(value: float) -> float | None:
    """A number for the table; nothing for a bound that is none."""
    return value if math.isfinite(value) else None


present.register(ClaimsResult, ClaimsPresentation)
