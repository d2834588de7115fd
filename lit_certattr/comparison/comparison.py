"""Means of the numbers of several runs, their order, and paired differences from one of them."""

import html
import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import attrs
import numpy as np

from lit_certattr.comparison.gathered import Image
from lit_certattr.comparison.likeness import Setting
from lit_certattr.comparison.measures import IMPORTANT, Measure, distinct_keys
from lit_certattr.comparison.reading import RunNumbers
from lit_certattr.errors import InputError
from lit_certattr.settings.extras import extra
from lit_certattr.statistics import bootstrap_intervals, clopper_pearson_interval, sign_test

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE, NUM_DRAWS, SEED, FEW = 0.95, 2000, 0, 20
"""Confidence of the intervals, number and seed of the bootstrap samples, and number of images below which they warn."""


class Mean(NamedTuple):
    """The mean of a number over the images of a run.

    Attributes:
        value: The mean.
        low: Lower end of its interval over images; NaN if there is none.
        high: Upper end.
        null: The mean for maps of pure noise; NaN where it is unknown.
        num_images: Number of images that have the number; 0 for a number of the run as a whole.
    """

    value: float
    low: float
    high: float
    null: float
    num_images: int


class Difference(NamedTuple):
    """The difference of a run from the baseline, over the images that both have.

    Attributes:
        value: Mean of the differences, run minus baseline.
        low: Lower end of its bootstrap interval; NaN if there is none.
        high: Upper end.
        num_larger: Number of images whose number is larger in the run.
        num_smaller: Number of images whose number is smaller.
        num_images: Number of images that both have.
        p_value: Two-sided p-value of the exact sign test.
    """

    value: float
    low: float
    high: float
    num_larger: int
    num_smaller: int
    num_images: int
    p_value: float


@attrs.define(slots=False, eq=False, repr=False)
class Comparison:
    """Several runs, best first.

    Intervals are about the data set: how far a mean would move with another random sample of images. Means of 0 and 1
    have exact intervals (Clopper & Pearson), others bootstrap intervals. Certificates are about each image, and need no
    interval.

    Attributes:
        runs: The runs, ordered by :attr:`by`; runs without this number are last.
        baseline: Name of the run from which differences are taken.
        by: The number by which the runs are ordered.
        radii: Radii of the tables.
        differing: Settings that differ, with a value for each run in the order of :attr:`runs`.
        shared: Settings that all runs share.
        forced: Reasons against this order, which the user overruled.
    """

    runs: list[RunNumbers]
    baseline: str
    by: Measure
    radii: tuple[float, ...]
    differing: list[Setting] = attrs.field(factory=list)
    shared: list[Setting] = attrs.field(factory=list)
    forced: list[str] = attrs.field(factory=list)

    @cached_property
    def measures(self) -> list[Measure]:
        """Everything that at least one run has and that the tables show, in their order."""
        shown = [one for one in measures_of(self.runs) if one.radius is None or one.radius in self.radii]
        return [one for group in dict.fromkeys(one.group for one in shown) for one in shown if one.group == group]

    @cached_property
    def means(self) -> dict[str, dict[Measure, Mean]]:
        """The means of each run by its name."""
        return {run.name: _means(run, self.measures) for run in self.runs}

    @cached_property
    def differences(self) -> dict[str, dict[Measure, Difference]]:
        """The differences of each other run from the baseline; measures without common images are left out."""
        base = next(run for run in self.runs if run.name == self.baseline)
        return {run.name: _differences(run, base, self.measures) for run in self.runs if run is not base}

    @property
    def headline(self) -> list[Measure]:
        """One number of each kind: those with a radius at the radius of :attr:`by`, or at the smallest one."""
        radius = self.by.radius if self.by.radius is not None else min(self.radii)
        return [one for one in self.measures if one.radius in (None, radius)]

    def frame(self) -> "pd.DataFrame":
        """The means as a table: one row per run, best first, and one column per number, named as in the loggers."""
        with extra("reports", "frame"):
            import pandas as pd

        rows = [[_plain_mean(run, one) for one in self.measures] for run in self.runs]
        names = pd.Index([run.name for run in self.runs], name="run")
        return pd.DataFrame(rows, index=names, columns=list(distinct_keys(self.measures).values()))

    def __repr__(self) -> str:
        order = ", ".join(f"{run.name} ({self._by(run)})" for run in self.runs)
        return f"Comparison by {self.by.key}, best first: {order}"

    def _repr_html_(self) -> str:
        """What notebooks show: the headline numbers, one row per run."""
        names = distinct_keys(self.measures)
        shown = self.frame()[[names[one] for one in self.headline]]
        head = f"{len(self.runs)} runs, best by <code>{html.escape(self.by.key)}</code> first"
        return f"<p>{head}</p>{shown.T.to_html(na_rep='–', float_format='{:.3g}'.format)}"

    def _by(self, run: RunNumbers) -> str:
        value = _plain_mean(run, self.by)
        return f"{value:.3g}" if math.isfinite(value) else "has none"

    def curve(self, run: RunNumbers, measure: Measure) -> tuple[list[float], list[float], list[float]]:
        """Radii, means over the images, and means of pure noise of a number that depends on a radius.

        Args:
            run: The run.
            measure: The number, at any radius.
        """
        own = sorted((one for one in run.means if one._replace(radius=None) == measure._replace(radius=None)), key=_at)
        return [_at(one) for one in own], [run.means[one] for one in own], [run.nulls.get(one, math.nan) for one in own]


def measures_of(runs: Iterable[RunNumbers]) -> list[Measure]:
    """Everything that at least one run has, in order of first appearance.

    Args:
        runs: The runs.
    """
    return list(dict.fromkeys(one for run in runs for one in (*run.values, *run.whole)))


def choose(runs: Sequence[RunNumbers], by: str | None, radii: Sequence[float]) -> Measure:
    """The number by which runs are ordered.

    Args:
        runs: The runs.
        by: Name for machines or for readers; ``None`` takes certified important pixels at the smallest positive radius
            and the middle one of the levels of K at which something is certified, or else a number that all runs have.
        radii: Radii of the tables.

    Raises:
        InputError: If no run has such a number.
    """
    known = [one for one in measures_of(runs) if one.radius is None or one.radius in radii]
    if by is not None:
        keys = distinct_keys(known)
        found = next((one for one in known if by in (keys[one], one.title)), None)
        if found is None:
            every = list(keys.values())
            close = get_close_matches(by, every, n=1, cutoff=0.5)
            raise InputError(
                f"--by: no run has {by!r}" + (f" (did you mean {close[0]}?)" if close else "") + f"; there are "
                f"{', '.join(every)}"
            )
        return found

    def rank(one: Measure) -> tuple[int, ...]:
        having = sum(one in run.values for run in runs)
        some = any(any(run.values.get(one, {}).values()) for run in runs)
        important, positive = one.label == IMPORTANT, one.radius is not None and one.radius > 0
        return (-having, -some, -important, -(one.radius is not None), -positive)

    order = sorted(known, key=rank)  # a stable sort: the first of equals is the one of the first certificate
    best = [one for one in order if rank(one) == rank(order[0])]
    first = min(best, key=_at)
    levels = [one for one in best if one.radius == first.radius and one.of == first.of]
    return levels[len(levels) // 2]


def ordered(runs: Sequence[RunNumbers], by: Measure) -> list[RunNumbers]:
    """The runs, best first; runs of equal value keep their order, and runs without the number are last.

    Args:
        runs: The runs.
        by: The number.
    """

    def place(run: RunNumbers) -> tuple[bool, float]:
        mean = _plain_mean(run, by)
        return math.isnan(mean), -by.better * mean if math.isfinite(mean) else 0.0

    return sorted(runs, key=place)


def _at(measure: Measure) -> float:
    return math.inf if measure.radius is None else measure.radius


def _plain_mean(run: RunNumbers, measure: Measure) -> float:
    return run.whole.get(measure, run.means.get(measure, math.nan))


def _means(run: RunNumbers, measures: Sequence[Measure]) -> dict[Measure, Mean]:
    own = [one for one in measures if one in run.values]
    places = _places(chain(run.images, *(run.values[one] for one in own)))
    matrix = np.full((len(places), len(own)), np.nan)
    for column, one in enumerate(own):
        for image, value in run.values[one].items():
            matrix[places[image], column] = value
    lows, highs = bootstrap_intervals(matrix, CONFIDENCE, NUM_DRAWS, SEED)
    found = {one: Mean(value, math.nan, math.nan, run.nulls.get(one, math.nan), 0) for one, value in run.whole.items()}
    for one, low, high in zip(own, lows.tolist(), highs.tolist(), strict=True):
        values, count = run.values[one], len(run.values[one])
        if one.form == "images":
            low, high = clopper_pearson_interval(round(math.fsum(values.values())), count, CONFIDENCE)
        found[one] = Mean(_plain_mean(run, one), low, high, run.nulls.get(one, math.nan), count)
    return {one: found[one] for one in measures if one in found}


def _differences(run: RunNumbers, base: RunNumbers, measures: Sequence[Measure]) -> dict[Measure, Difference]:
    both = [one for one in measures if one in run.values and one in base.values]
    both = [one for one in both if any(image in base.values[one] for image in run.values[one])]
    places = _places(image for one in both for image in run.values[one] if image in base.values[one])
    matrix = np.full((len(places), len(both)), np.nan)
    for column, one in enumerate(both):
        theirs = base.values[one]
        for image, value in run.values[one].items():
            if image in theirs:
                matrix[places[image], column] = value - theirs[image]
    lows, highs = bootstrap_intervals(matrix, CONFIDENCE, NUM_DRAWS, SEED)
    found = {}
    for one, apart, low, high in zip(both, matrix.T, lows.tolist(), highs.tolist(), strict=True):
        values = apart[~np.isnan(apart)]
        larger, smaller = int((values > 0).sum()), int((values < 0).sum())
        mean = round(math.fsum(values) / len(values), 12) + 0.0  # thirds do not cancel to the last digit: no -0.0
        found[one] = Difference(mean, low, high, larger, smaller, len(values), sign_test(larger, smaller))
    return found


def _places(images: Iterable[Image]) -> dict[Image, int]:
    """The row of each image in a matrix, in order of first appearance."""
    places: dict[Image, int] = {}
    for image in images:
        places.setdefault(image, len(places))
    return places
