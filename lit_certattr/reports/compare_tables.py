"""The tables of a comparison, as a terminal, a page, Markdown, LaTeX and CSV show them."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from lit_certattr.comparison import Comparison, Difference, Mean, Measure
from lit_certattr.comparison.comparison import CONFIDENCE, FEW, NUM_DRAWS, SEED
from lit_certattr.comparison.measures import EFFORT, NETWORK, distinct_keys
from lit_certattr.reports.tabular import Entry, Grid
from lit_certattr.reports.upper_bounds import AT_MOST
from lit_certattr.statistics.rounding import (
    confidence,
    exact,
    fixed_at_least,
    fixed_at_most,
    percent_at_least,
    percent_at_most,
)

INTERVALS = (
    f"Intervals are {100 * CONFIDENCE:g} % intervals over images, each for itself: exact (Clopper and Pearson) for "
    f"shares of images, percentile bootstrap ({NUM_DRAWS:,} draws of whole images, seed {SEED}) for all other means. "
    "They say how far a mean would move with another random sample of images. They are no part of the certificates, "
    "each of which is about one image and holds with the confidence of its run."
)
FEW_IMAGES = f"With fewer than {FEW} images, bootstrap intervals are too narrow."
NULL = "Noise: what maps of independent pure noise, or chance, would reach."


def settings_grid(comparison: Comparison) -> Grid:
    """The settings that differ.

    Args:
        comparison: The runs.
    """
    rows = [[Entry(one.name, text=True), *map(_text, one.values)] for one in comparison.differing]
    return Grid("Settings that differ", ["setting", *(run.name for run in comparison.runs)], rows)


def overview(comparison: Comparison) -> Grid:
    """One row per run, best first: the number that orders them, and what belongs to no certificate.

    Args:
        comparison: The runs.
    """
    by = comparison.by
    beside = [one for one in comparison.measures if one.group in (NETWORK, EFFORT) and one != by]
    heads = ["run", by.title] + (["difference"] if len(comparison.runs) > 1 else [])
    rows = []
    for run in comparison.runs:
        row = [Entry(run.name, text=True), mean_entry(comparison, run.name, by)]
        if len(comparison.runs) > 1:
            row.append(_difference(comparison, run.name, by))
        rows.append([*row, *(mean_entry(comparison, run.name, one) for one in beside)])
    note = f"Ordered by the second column. Differences from {comparison.baseline}, over the images that both have."
    return Grid("Runs, best first", [*heads, *(one.head for one in beside)], rows, note if len(rows) > 1 else "")


def groups(comparison: Comparison) -> Iterator[Grid]:
    """One table for each kind of certified number, one row per run.

    Args:
        comparison: The runs.
    """
    every = [one for one in comparison.measures if one.group not in (NETWORK, EFFORT)]
    for group in dict.fromkeys(one.group for one in every):
        own = [one for one in every if one.group == group]
        having = [run for run in comparison.runs if any(one in comparison.means[run.name] for one in own)]
        rows = [[Entry(run.name, text=True), *(mean_entry(comparison, run.name, one) for one in own)] for run in having]
        note = "Shares of K, means over the images." if "important" in group else ""
        yield Grid(group, ["run", *(one.head for one in own)], rows, note)


def differences(comparison: Comparison) -> Grid:
    """Paired differences from the baseline, one row per run.

    Args:
        comparison: The runs.
    """
    own = [one for one in comparison.headline if one.radius is not None or one.group == NETWORK]
    own = [one for one in own if any(one in found for found in comparison.differences.values())]
    others = [run for run in comparison.runs if comparison.differences.get(run.name)]
    rows = [[Entry(run.name, text=True), *(_difference(comparison, run.name, one) for one in own)] for run in others]
    note = (
        "Run minus baseline on the same images, shares in percentage points, rounded towards zero, with bootstrap "
        "interval. Then how many images have more and how many less, and the two-sided p-value of the exact sign test. "
        "Each number is for itself, without a correction for many comparisons."
    )
    return Grid(f"Differences from {comparison.baseline}", ["run", *(one.title for one in own)], rows, note)


def gaps(comparison: Comparison) -> Grid:
    """Certified values of the runs that were attacked, and upper bounds from the attacks.

    Args:
        comparison: The runs.
    """
    rows = [
        [
            Entry(run.name, text=True),
            Entry(gap.what, text=True),
            *(Entry(text, value=repr(value)) for text, value in _sandwich(gap)),
        ]
        for run in comparison.runs
        for gap in run.gaps
        if gap.budget and not gap.what.startswith("unimportant")
    ]
    note = (
        'The true value is at least "certified" and at most "at most", with the confidence of both; means over the '
        f"attacked images. {AT_MOST} The figure also has unimportant pixels and budget 0."
    )
    return Grid(
        "Sandwich: certified, and at most under attack",
        ["run", "what", "budget", "certified", "at most", "gap", "images"],
        rows,
        note,
    )


def tables(comparison: Comparison) -> list[Grid]:
    """All tables that have a row, in the order of the page.

    Args:
        comparison: The runs.
    """
    every = [settings_grid(comparison), overview(comparison), *groups(comparison), differences(comparison)]
    return [grid for grid in [*every, gaps(comparison)] if grid.rows and len(grid.heads) > 1]


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know to read the numbers, one paragraph each.

    Args:
        comparison: The runs.
    """
    fewest = min(len(run.images) for run in comparison.runs)
    terms = {name: own for run in comparison.runs for name, own in run.terms.items()}
    alphas = {(name, own.alpha) for run in comparison.runs for name, own in run.terms.items()}
    parts = [f"{name}: {confidence(alpha)}" for name, alpha in sorted(alphas)]
    others = [f"those of {name} are lengths of {own.length}" for name, own in terms.items() if own.length != "l2"]
    lengths = "; ".join(["Radii are l2 lengths in pixel units of images in [0, 1]", *others])
    certified = (
        f"Certified numbers hold for each image with the confidence of its run ({', '.join(parts)}), for all radii and "
        "levels at once; their means are rounded down. Nothing was audited here: "
        "lit-certattr certify audit checks a run."
    )
    return [certified, f"{lengths}.", INTERVALS, *([FEW_IMAGES] if fewest < FEW else []), NULL]


def machine_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per run with all numbers in full, for ``compare.csv``.

    Args:
        comparison: The runs.
    """
    rows, keys = [], distinct_keys(comparison.measures)
    for run in comparison.runs:
        row: dict[str, Any] = {"run": run.name, "directory": str(run.path), "images": len(run.images)}
        for one, mean in comparison.means[run.name].items():
            parts = {"": mean.value, "_low": mean.low, "_high": mean.high, "_null": mean.null}
            row |= {f"{keys[one]}{end}": value for end, value in parts.items() if math.isfinite(value)}
        row |= {f"setting/{one.name}": _own(one.values, comparison, run.name) for one in comparison.differing}
        rows.append(row)
    return rows


def difference_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per run and number with its paired difference, for ``differences.csv``.

    Args:
        comparison: The runs.
    """
    keys = distinct_keys(comparison.measures)
    return [
        {"run": name, "baseline": comparison.baseline, "number": keys[one]}
        | {key: None if value != value else value for key, value in found._asdict().items()}
        for name, own in comparison.differences.items()
        for one, found in own.items()
    ]


def _own(values: list[str], comparison: Comparison, name: str) -> str:
    return values[next(place for place, run in enumerate(comparison.runs) if run.name == name)]


def mean_entry(comparison: Comparison, name: str, measure: Measure) -> Entry:
    """A mean with its interval and the value of pure noise, rounded to the safe side.

    Args:
        comparison: The runs.
        name: Name of the run.
        measure: The number; a run without it has an empty cell.
    """
    mean: Mean | None = comparison.means[name].get(measure)
    if mean is None:
        return Entry("")
    up = measure.better < 0 or measure.form == "cost"
    text = shown(measure, mean.value, up)
    interval = "" if math.isnan(mean.low) else f"[{_ends(measure, mean.low, mean.high)}]"
    null = "" if math.isnan(mean.null) else f"noise {shown(measure, mean.null, not up)}"
    return Entry(text, interval, null, repr(mean.value))


def _difference(comparison: Comparison, name: str, measure: Measure) -> Entry:
    if name == comparison.baseline:
        return Entry("baseline")
    found: Difference | None = comparison.differences[name].get(measure)
    if found is None:
        return Entry("")
    size = shown(measure, abs(found.value), up=False).replace("%", "points")
    sign = "" if not found.value else "+" if found.value > 0 else "-"
    interval = "" if math.isnan(found.low) else f"[{_ends(measure, found.low, found.high)}]"
    counts = f"{found.num_larger} : {found.num_smaller}, p = {fixed_at_most(found.p_value)}"
    return Entry(f"{sign}{size}", interval, counts, repr(found.value))


def _ends(measure: Measure, low: float, high: float) -> str:
    if measure.form in ("share", "images"):
        return f"{percent_at_least(low)}, {percent_at_most(high)}"
    return f"{fixed_at_least(low)}, {fixed_at_most(high)}"


def shown(measure: Measure, value: float, up: bool) -> str:
    """A number as text.

    Args:
        measure: What it is.
        value: The number.
        up: Whether it is rounded up, not down.
    """
    if measure.form in ("share", "images"):
        return f"{(percent_at_most if up else percent_at_least)(value)} %"
    if measure.form == "cost" and value == int(value):
        return f"{int(value):,}"
    rounded: Callable[[float], str] = fixed_at_most if up else fixed_at_least
    return rounded(value)


def _sandwich(gap: Any) -> list[tuple[str, float]]:
    return [
        (exact(gap.budget), gap.budget),
        (fixed_at_least(gap.certified), gap.certified),
        (fixed_at_most(gap.at_most), gap.at_most),
        (fixed_at_most(gap.gap), gap.gap),
        (str(gap.num_images), gap.num_images),
    ]


def _text(value: str) -> Entry:
    return Entry(value, text=True)
