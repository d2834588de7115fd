"""The numbers of one image that runs are compared by: certified ones at each radius, and those of the network."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from lit_certattr.budgets import LpBudget
from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import HasNull, LabelsPixels
from lit_certattr.certificates.claims_certificate import claim_words
from lit_certattr.certificates.columns import column_at
from lit_certattr.certificates.drawing import name_of
from lit_certattr.certificates.guarded import in_order, presentation_of
from lit_certattr.data import NO_LABEL
from lit_certattr.metrics.naming import PREFIX, column_word, free_prefix, metric_name
from lit_certattr.records.run_directory import Record
from lit_certattr.statistics.rounding import exact

COMPARED_RADII = (0.0, 0.1, 0.25)
"""Radii of a comparison, unless the user chooses others; loggers get the numbers at these in any case."""
IMPORTANT = "Certified important"
"""Label of the certified-important share of K."""
NETWORK, EFFORT = "Network and maps", "Effort"
"""Headings of the numbers that belong to no certificate."""


class Measure(NamedTuple):
    """A number that every image of a run may have, at one radius if it depends on a radius.

    Attributes:
        name: Name for machines, without the radius, e.g. ``"certified/one_share_k25"``.
        label: Name for readers, without the radius.
        group: Heading under which it is shown.
        radius: Radius, in the unit of the budget; ``None`` for a number without one.
        form: ``"share"`` is shown in percent; ``"images"`` is 0 or 1, so that its mean is a share of the images;
            ``"number"`` is rounded down, ``"cost"`` up.
        better: 1 if more is better, -1 if less is.
        of: Name of the certificate; empty for a number that belongs to none.
    """

    name: str
    label: str
    group: str
    radius: float | None = None
    form: Literal["share", "images", "number", "cost"] = "number"
    better: int = 1
    of: str = ""

    @property
    def key(self) -> str:
        """Name for machines with the radius: that of the metric which loggers get."""
        return self.name + metric_name("", self.radius)

    @property
    def head(self) -> str:
        """What distinguishes it from the others of its group, for the head of a column."""
        if self.radius is None:
            return self.label
        at = "radius → 0" if self.radius == 0 else f"radius {exact(self.radius)}"
        return at if self.group.startswith(self.label) else f"{self.label}, {at}"

    @property
    def title(self) -> str:
        """The whole name for readers."""
        if self.group in (NETWORK, EFFORT):
            return self.label
        group = self.group if self.radius is None or not self.group.startswith(self.label) else ""
        return f"{group}: {self.head}" if group else f"{self.group}, {self.head}"


def distinct_keys(measures: Iterable[Measure]) -> dict[Measure, str]:
    """Names for machines, each once: two numbers of different budgets under one name also say what they are about.

    Args:
        measures: Different measures.
    """
    measures = list(measures)
    keys = Counter(one.key for one in measures)
    seen: set[str] = set()
    named = {}
    for one in measures:
        named[one] = one.key if keys[one.key] == 1 or one.key not in seen else f"{one.key}[{one.group}]"
        seen.add(one.key)
    return named


class Value(NamedTuple):
    """A number of one image.

    Attributes:
        measure: What it is.
        value: The number.
        null: The same number of maps of pure noise; NaN where it is unknown.
    """

    measure: Measure
    value: float
    null: float = math.nan


Nulls = dict[tuple[Any, ...], list[list[float]]]
"""Null baselines, ``[radius][level]``, by all that they depend on."""


def length_of(result: Result) -> str:
    """The budget in which the radii of a result are lengths: two results may be compared if this is equal.

    Args:
        result: The result of one image.

    Returns:
        ``"l2"`` for a norm; the noise law with all its settings for another budget, which depends on them.

    Raises:
        InputError: If the noise law is not known here.
    """
    budget = result.change_budget
    if not isinstance(budget, LpBudget):
        return result.law_in_words()
    return budget.norm if budget.levels is None else f"{budget.norm}, {budget.levels} grey levels"


def levels_of(result: Result) -> list[float]:
    """The levels of K of a result, as the user gave them; empty without levels.

    Args:
        result: The result of one image.
    """
    top_k = getattr(result, "top_k", None)
    if top_k is None:
        return []
    return [float(one) for one in top_k] if isinstance(top_k, Sequence) else [float(top_k)]


def values_of(record: Record, radii: Sequence[float], nulls: Nulls) -> Iterator[Value]:
    """All numbers of one image that a comparison can show.

    Args:
        record: The image.
        radii: Radii of the numbers that depend on a radius.
        nulls: Null baselines that are already known; new ones are added.
    """
    taken: set[str] = set()
    prefixes = {
        name: free_prefix(name, one.kind, claim_words(getattr(one, "names", ())), taken)
        for name, one in record.results.items()
    }
    for name in in_order(record.results):
        yield from _of_certificate(name, record.results[name], prefixes[name], radii, nulls)
    results = list(record.results.values())
    accuracy = next((one.noisy_accuracy for one in results if one.noisy_accuracy is not None), None)
    if accuracy is not None:
        yield Value(Measure(f"{PREFIX}noisy_accuracy", "noisy accuracy", NETWORK, form="share"), accuracy)
    label, prediction = record.facts.get("label"), record.facts.get("prediction")
    if isinstance(label, int) and label != NO_LABEL and isinstance(prediction, int):
        yield Value(Measure(f"{PREFIX}accuracy", "accuracy", NETWORK, form="images"), float(label == prediction))
    drawn = max(one.num_samples for one in results)
    yield Value(Measure(f"{PREFIX}num_samples", "samples per image", EFFORT, form="cost", better=-1), float(drawn))


class _Place(NamedTuple):
    """Where the numbers of a row of a result belong.

    Attributes:
        certificate: Name of the certificate.
        prefix: What the names of its metrics begin with.
        top_k: Level of K of the row; ``None`` without levels.
    """

    certificate: str
    prefix: str
    top_k: float | None

    def named(self, word: str) -> str:
        """The name of a number, as loggers get it."""
        return self.prefix + metric_name(word, top_k=self.top_k)


def _of_certificate(name: str, result: Result, prefix: str, radii: Sequence[float], nulls: Nulls) -> Iterator[Value]:
    presentation, length = presentation_of(result), length_of(result)
    own = [key for key, kind in presentation.columns(radii).items() if kind is float]
    remark = "" if length == "l2" else f", {length}"
    rows = presentation.rows(radii)
    baseline = _null(result, radii, nulls)
    words = iter(claim_words(getattr(result, "names", ())))
    for place, row in enumerate(rows):
        top_k = None if row.get("top_k") is None else float(row["top_k"])
        at = _Place(name, prefix, top_k)
        about = f"{'' if top_k is None else f', K = {name_of(top_k)}'}{remark} ({name})"
        if row.get("one_share") is not None:
            group = f"{IMPORTANT}{about}"
            null = [shares[place] for shares in baseline]
            yield from _at(row, "one_share", at.named("one_share"), IMPORTANT, group, radii, at, null)
            yield from _numbers(row, group, at, {"mean_radius": "mean radius"}, result)
        elif row.get("overlap") is not None:
            group = f"Certified overlap{about}"
            word = column_word("overlap", result.kind)
            yield from _at(row, "overlap", at.named(word), "Certified overlap", group, radii, at)
            halves = {"half_radius": "radius of 50 %", "lp_half_radius": f"{result.radius_norm} radius of 50 %"}
            yield from _numbers(row, group, at, halves, result)
        elif row.get("norm") is not None:
            group = f"Certified cosine{about}"
            yield from _at(row, "cosine", at.named("cosine"), "Certified cosine", group, radii, at, form="number")
            yield from _numbers(row, group, at, {"cosine90_radius": "radius of 0.9"}, result)
        elif row.get("claim") is not None:
            word = next(words, result.kind)
            yield from _claim(row, word, f"Claims{remark} ({name})", radii, at)
        yield from _numbers(row, f"{presentation.family}{about}", at, {key: _words(key) for key in own}, result)


def _at(
    row: Mapping[str, Any],
    column: str,
    name: str,
    label: str,
    group: str,
    radii: Sequence[float],
    place: _Place,
    null: Sequence[float] = (),
    form: Literal["share", "number"] = "share",
) -> Iterator[Value]:
    """A number at each radius."""
    for index, radius in enumerate(radii):
        if (value := _real(row.get(column_at(column, radius)))) is not None:
            measure = Measure(name, label, group, radius, form, of=place.certificate)
            yield Value(measure, value, null[index] if null else math.nan)


def _numbers(
    row: Mapping[str, Any], group: str, place: _Place, labels: Mapping[str, str], result: Result
) -> Iterator[Value]:
    """Numbers without a radius."""
    for column, label in labels.items():
        if (value := _real(row.get(column))) is not None:
            name = place.named(column_word(column, result.kind, result.radius_norm))
            yield Value(Measure(name, label, group, of=place.certificate), value)


def _claim(row: Mapping[str, Any], word: str, group: str, radii: Sequence[float], place: _Place) -> Iterator[Value]:
    """Whether a claim holds at each radius, and the certified end of its number at the clean image."""
    name, of = str(row["claim"]), place.certificate
    if (reach := _real(row.get("claim_radius"))) is not None:
        for radius in radii:
            holds = Measure(place.named(word), f"{name} holds", group, radius, "images", of=of)
            yield Value(holds, float(reach > radius))
        yield Value(Measure(place.named(f"{word}_radius"), f"{name}, mean radius", group, of=of), reach)
    if (lower := _real(row.get("claim_lower"))) is not None:
        yield Value(Measure(place.named(f"{word}_at_least"), f"{name}, number at least", group, of=of), lower)


def _null(result: Result, radii: Sequence[float], nulls: Nulls) -> list[list[float]]:
    """Shares of K that pure noise would reach, ``[radius][level]``; empty for a kind without them."""
    if not (isinstance(result, HasNull) and isinstance(result, LabelsPixels)):
        return []
    pixels = result.labels_at(0.0)[0].numel()
    threshold = getattr(result, "threshold", None)
    key: tuple[Any, ...] = (type(result), result.num_samples, result.noise, result.scale, threshold, result.spent_alpha)
    key += (pixels, tuple(result.sizes), tuple(radii), getattr(result, "level", None), result.noise_settings)
    if key not in nulls:
        nulls[key] = [
            [float(one) * pixels / size for one, size in zip(shares["one"], result.sizes, strict=True)]
            for shares in map(result.null_shares, radii)
        ]
    return nulls[key]


def _real(value: Any) -> float | None:
    """A finite number; ``None`` for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _words(column: str) -> str:
    return re.sub(r"_+", " ", column)
