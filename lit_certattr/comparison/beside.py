"""What stands beside the certificates of a run: the gaps that its attacks leave, and evaluations of its network."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pyarrow as pa

from lit_certattr.certificates.drawing import name_of
from lit_certattr.comparison.gathered import Gathered, Image, means_of
from lit_certattr.comparison.measures import Measure
from lit_certattr.errors import InputError
from lit_certattr.records.evaluation_directory import EvaluationDirectory
from lit_certattr.records.job_directory import first_difference
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.records.stored_table import read_table
from lit_certattr.records.table_rows import PIECE
from lit_certattr.statistics.exact_mean import ExactMean

ATTACKED, PLAIN = "Maps under attack, not certified", "Maps without noise, not certified"
"""Headings of the numbers of an evaluation."""

_OWN = ("network", "structure")
_SHOWN = ("top_k_intersection", "kendall", "spearman", "cosine")
_FACTS = ("id", "prediction", "correct", "adversarial_correct")
_ENDINGS = ("_chance", "_centre", "_empty")  # what stands beside a number
_LESS = ("random_logit",)


class Gap(NamedTuple):
    """What the attacks of a run leave unknown about one quantity at one budget, as means over the attacked images.

    Attributes:
        what: The quantity, with its certificate and K.
        budget: Largest length of a change.
        certified: Certified lower bound.
        at_most: Upper confidence bound under the worst change that was found. A share of K can exceed 1: pixels that
            fresh noise leaves undecided are counted, too.
        num_images: Number of attacked images.
    """

    what: str
    budget: float
    certified: float
    at_most: float
    num_images: int

    @property
    def gap(self) -> float:
        """``at_most`` minus ``certified``."""
        return self.at_most - self.certified


def read_gaps(run: RunDirectory, provenance: Mapping[str, Any], num_images: int) -> list[Gap]:
    """The gaps of finished attacks in ``attack/``; none without attacks.

    Args:
        run: The run.
        provenance: Content of its ``provenance.json``.
        num_images: Number of its images.

    Raises:
        InputError: If the attacks are damaged, or are those of another run.
    """
    try:
        table = run.attacks.read_table(num_images)
    except (FileNotFoundError, NotADirectoryError):
        return []
    settings = run.attacks.settings() or {}
    if settings.get("run") != provenance.get("fingerprint"):
        raise InputError(f"{run.attack} holds attacks on another run; attack again with --overwrite, or move it away")
    groups: dict[tuple[str, float], tuple[ExactMean, ExactMean]] = {}
    for row in _rows(table):
        numbers: list[Any] = [row.get(key) for key in ("budget", "certified", "attacked_upper")]
        level = row.get("top_k")
        if not all(_real(one) is not None for one in (*numbers, 1.0 if level is None else level)):
            raise InputError(f"{run.attacks.table} holds a row without numbers; attack again with --overwrite")
        budget, certified, attacked = map(float, numbers)
        low, high = groups.setdefault((_what(row), budget), (ExactMean(), ExactMean()))
        low.add(certified)
        high.add(attacked)
    return [
        Gap(what, budget, low.value, high.value, low.count)
        for (what, budget), (low, high) in sorted(groups.items(), key=lambda entry: entry[0][1])
    ]


def _what(row: Mapping[str, Any]) -> str:
    claim = "" if row.get("claim") is None else f"{row['claim']}, "
    level = "" if row.get("top_k") is None else f", K = {name_of(row['top_k'])}"
    return f"{claim}{row.get('quantity')}{level} ({row.get('certificate')})"


@attrs.frozen(eq=False)
class EvaluationNumbers:
    """The numbers of an evaluation.

    Attributes:
        path: Its directory.
        settings: Its settings.
        values: Numbers by measure and image; the second part of the key of an image is the hash of all images.
        means: Their means over the images.
        nulls: Chance levels, where they are known, as means over the images.
    """

    path: Path
    settings: dict[str, Any]
    values: Mapping[Measure, Mapping[Image, float]]
    means: Mapping[Measure, float]
    nulls: Mapping[Measure, float]

    def belongs_to(self, settings: Mapping[str, Any]) -> bool:
        """Whether network and method are those of a run.

        Args:
            settings: Settings of the run.
        """
        return all(self.settings.get(key) == settings.get(key) for key in (*_OWN, "attribution"))


def read_evaluation(path: str | Path) -> EvaluationNumbers:
    """Read the directory of a finished evaluation.

    Args:
        path: Output directory of ``certify.py evaluate``.

    Raises:
        InputError: If it is none, is in use, is not finished, or a file is damaged.
    """
    directory = EvaluationDirectory(path)
    if not directory.settings_file.exists():
        raise InputError(f"{directory.path} holds no evaluation: there is no settings.json")
    directory.lock.check()
    settings = directory.stored_settings()
    if not isinstance(settings, dict):
        raise InputError(f"{directory.settings_file} is damaged; evaluate again with --overwrite")
    try:
        table = read_table(directory.images, 10**7)
    except FileNotFoundError:
        again = "run the command that wrote it again to finish it"
        raise InputError(f"{directory.path} is not finished: there is no images.parquet; {again}") from None
    gathered, hashed = Gathered(), str(settings.get("images"))
    for row in _rows(table):
        for measure, value, beside in _numbers(row):
            gathered.add((str(row["id"]), hashed), measure, value, math.nan if beside is None else beside)
    means, chance = means_of(gathered.means), means_of(gathered.nulls)
    return EvaluationNumbers(directory.path, settings, gathered.columns, means, chance)


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for piece in table.to_batches(PIECE):
        yield from piece.to_pylist()


def unlike_evaluations(found: Sequence[EvaluationNumbers]) -> list[str]:
    """Why the numbers of evaluations must not be ranked, one line each.

    Args:
        found: The evaluations.
    """
    plain = [{key: value for key, value in one.settings.items() if key not in _OWN} for one in found]
    pairs = zip(found[1:], plain[1:], strict=True)
    differences = [(one.path, first_difference(plain[0], own)) for one, own in pairs]
    return [f"evaluation {path}: {difference}" for path, difference in differences if difference is not None]


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[Measure, float, float | None]]:
    for column, label in (("correct", "natural accuracy"), ("adversarial_correct", "adversarial accuracy")):
        if isinstance(row.get(column), bool):
            name = f"evaluate/{label.replace(' ', '_')}"
            yield Measure(name, label, ATTACKED, form="images"), float(row[column]), None
    searched = {name for name in row if name.startswith("attack_")}
    searched |= {name for name in row if name.startswith("random_") and f"attack_{name[7:]}" in searched}
    other = [name for name in row if name not in _FACTS and name not in searched and not name.endswith(_ENDINGS)]
    for column in (*(f"attack_{name}" for name in _SHOWN), *other):
        if (value := _real(row.get(column))) is not None:
            label = column.removeprefix("attack_").replace("_", " ")
            measure = Measure(
                f"evaluate/{column}",
                label,
                PLAIN if column in other else ATTACKED,
                better=-1 if column in _LESS else 1,
            )
            yield measure, value, _real(row.get(f"{column}_chance"))


def _real(value: Any) -> float | None:
    return value if isinstance(value, float) and math.isfinite(value) else None
