"""The numbers of one run as a table: means over the images, or one row per image."""

import math
from collections.abc import Sequence
from typing import Any, overload

from lit_certattr.comparison import Comparison, Measure
from lit_certattr.comparison.reading import RunNumbers
from lit_certattr.reports.compare_tables import mean_entry, notes, shown
from lit_certattr.reports.tabular import Entry, Grid, comma_separated, escape_markdown, latex, markdown, printable


def means_grid(comparison: Comparison) -> Grid:
    """One row per number: its mean, its interval over images, and pure noise.

    Args:
        comparison: A comparison of one run.
    """
    (run,) = comparison.runs
    rows = []
    for measure, mean in comparison.means[run.name].items():
        entry = mean_entry(comparison, run.name, measure)
        null = entry.null.removeprefix("noise ")
        count = str(mean.num_images) if mean.num_images else ""
        rows.append([Entry(measure.title, text=True), *map(Entry, (entry.shown, entry.interval, null, count))])
    title = f"{run.name}: means over {len(run.images)} image{'' if len(run.images) == 1 else 's'}"
    return Grid(title, ["number", "mean", "95 % interval over images", "noise", "images"], rows)


def image_grids(comparison: Comparison) -> list[Grid]:
    """One table for each kind of number, one row per image.

    Args:
        comparison: A comparison of one run.
    """
    (run,) = comparison.runs
    own = [one for one in comparison.measures if one in run.values]
    grids = []
    for group in dict.fromkeys(one.group for one in own):
        columns = [one for one in own if one.group == group]
        heads = ["image", *(one.head for one in columns)]
        grids.append(Grid(f"{run.name}: {group}", heads, _ImageRows(run, columns)))
    return grids


class _ImageRows(Sequence[list[Entry]]):
    """A row for each image, made when it is read: the cells of all images would take more memory than the file."""

    def __init__(self, run: RunNumbers, measures: Sequence[Measure]) -> None:
        self._run, self._measures = run, measures

    def __len__(self) -> int:
        return len(self._run.images)

    @overload
    def __getitem__(self, place: int) -> list[Entry]: ...
    @overload
    def __getitem__(self, place: slice) -> list[list[Entry]]: ...
    def __getitem__(self, place: int | slice) -> list[Entry] | list[list[Entry]]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        image = self._run.images[place]
        cells = (_cell(one, self._run.values[one].get(image)) for one in self._measures)
        return [Entry(image[0], text=True), *cells]


def _cell(measure: Measure, value: float | None) -> Entry:
    if value is None:
        return Entry("")
    if measure.form == "images":
        return Entry("yes" if value else "no", value=repr(value))
    return Entry(shown(measure, value, measure.better < 0), value=repr(value))


def export_text(comparison: Comparison, form: str, per_image: bool = False) -> str:
    """The table of a run as text.

    Args:
        comparison: A comparison of one run.
        form: ``"latex"``, ``"markdown"`` or ``"csv"``; the last one has all digits.
        per_image: One row per image, instead of one row per number.
    """
    if form == "csv":
        return _images_as_csv(comparison) if per_image else comma_separated(_mean_rows(comparison))
    grids = image_grids(comparison) if per_image else [means_grid(comparison)]
    told = notes(comparison)
    if form == "latex":
        return "\n".join([*(f"% {printable(note)}" for note in told), latex(grids)])
    return "\n".join([markdown(grids), *(f"{escape_markdown(note)}\n" for note in told)])


def _mean_rows(comparison: Comparison) -> list[dict[str, Any]]:
    (run,) = comparison.runs
    return [
        {"number": measure.key, "mean": mean.value}
        | {end: None if math.isnan(value := getattr(mean, end)) else value for end in ("low", "high", "null")}
        | {"images": mean.num_images or None}
        for measure, mean in comparison.means[run.name].items()
    ]


def _images_as_csv(comparison: Comparison) -> str:
    (run,) = comparison.runs
    own = [one for one in comparison.measures if one in run.values]
    rows = ({"image": image[0]} | {one.key: run.values[one].get(image) for one in own} for image in run.images)
    return comma_separated(rows, list(dict.fromkeys(["image", *(one.key for one in own)])))
