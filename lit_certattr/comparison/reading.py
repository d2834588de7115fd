"""Reads a run directory for a comparison: its settings, and the numbers of its images."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from lit_certattr.certificates import Result
from lit_certattr.certificates.capabilities import HasSmoothedMap
from lit_certattr.certificates.guarded import presentation_of
from lit_certattr.comparison.beside import Gap, read_gaps
from lit_certattr.comparison.gathered import Gathered, Image, means_of
from lit_certattr.comparison.likeness import Terms
from lit_certattr.comparison.measures import EFFORT, Measure, Nulls, length_of, levels_of, values_of
from lit_certattr.comparison.sameness import SameClass
from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_yaml
from lit_certattr.metrics.naming import PREFIX
from lit_certattr.records.ids import SAFE_ID
from lit_certattr.records.run_directory import Record, RunDirectory
from lit_certattr.records.stored_table import MAX_ROWS, read_table

_PARTS = ("checkpoint", "network", "data")


@attrs.define(eq=False)
class OpenedRun:
    """A finished run, of which the first image is read.

    Attributes:
        name: Name in the comparison.
        directory: The run.
        provenance: Content of its ``provenance.json``.
        ids: Ids of its images, in the order of its table.
        first: The first image.
        terms: What each certificate is about, by name.
        parts: Network, checkpoint and data of its ``config.yaml``; empty for a run from Python.
    """

    name: str
    directory: RunDirectory
    provenance: dict[str, Any]
    ids: list[str]
    first: Record
    terms: dict[str, Terms]
    parts: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that determine the results, and the parts that the configuration names."""
        network = self.provenance.get("network")
        about = network if isinstance(network, Mapping) else {}
        facts = {f"network {key}": about[key] for key in ("class", "parameters") if key in about}
        return {**self.parts, **facts, **self.provenance["settings"]}

    def reach(self) -> float:
        """The largest radius of the figures of this run; 0 if none has a radius."""
        ends = [presentation_of(one).radii() for one in self.first.results.values()]
        return max((float(one[-1]) for one in ends if one.size), default=0.0)


@attrs.frozen(eq=False)
class RunNumbers:
    """The numbers of a run.

    Attributes:
        name: Name in the comparison.
        path: Its directory.
        images: Its images, in the order of its table.
        values: Numbers by measure and image; measures are in the order in which they are shown.
        means: Means over the images, also of numbers that only curves show, of which no image is kept.
        nulls: What pure noise would reach, where it is known, as means over the images.
        whole: Numbers of the run as a whole.
        gaps: What its attacks leave unknown; empty without attacks.
        terms: What each certificate is about, by name.
    """

    name: str
    path: Path
    images: list[Image]
    values: Mapping[Measure, Mapping[Image, float]]
    means: Mapping[Measure, float]
    nulls: Mapping[Measure, float]
    whole: dict[Measure, float]
    gaps: list[Gap]
    terms: dict[str, Terms]


def open_run(path: str | Path, name: str) -> OpenedRun:
    """Read settings, ids and the first image of a finished run; files of the run are data, and no code is executed.

    Args:
        path: The run directory.
        name: Name in the comparison.

    Raises:
        InputError: If it is no run directory, is in use, is not finished, or a file is damaged.
    """
    directory = RunDirectory(path)
    directory.check_is_run()
    directory.lock.check()
    provenance = directory.provenance()
    if not isinstance(provenance.get("settings"), Mapping):
        raise InputError(f"{directory.provenance_file} holds no settings; certify again")
    ids = _ids(directory)
    first = directory.read(ids[0])
    with _readable(directory, first.id):
        terms = {
            key: Terms(one.kind, float(one.alpha), tuple(levels_of(one)), length_of(one))
            for key, one in first.results.items()
        }
    return OpenedRun(name, directory, provenance, ids, first, terms, _parts(directory))


def _ids(directory: RunDirectory) -> list[str]:
    """Ids of the images of a finished run."""
    try:
        table = read_table(directory.table, MAX_ROWS * (len(directory.image_files.stored()) + 1), only=["id"])
    except FileNotFoundError:
        again = "run the command that wrote it again to finish it"
        raise InputError(f"{directory.path} is not finished: there is no results.parquet; {again}") from None
    ids = list(map(str, table.column("id").unique().to_pylist()))
    if not ids:
        raise InputError(f"{directory.path} holds a run without images")
    if odd := next((one for one in ids if not SAFE_ID.fullmatch(one)), None):
        raise InputError(f"{directory.table} names an image {odd[:80]!r}, which no run has; certify again")
    return ids


def _parts(directory: RunDirectory) -> dict[str, Any]:
    try:
        config = read_yaml(directory.config)
    except FileNotFoundError:
        return {}
    if not isinstance(config, Mapping) or not isinstance(config.get("certifier"), Mapping):
        return {}  # of a run from Python: the same settings once more
    return {key: config[key] for key in _PARTS if config.get(key) is not None}


def read_run(
    opened: OpenedRun,
    radii: Sequence[float],
    curve: Sequence[float] = (),
    on_record: Callable[[Record], None] | None = None,
) -> RunNumbers:
    """Read the numbers of all images of a run, one image at a time.

    Numbers are derived again from the stored results, at any radii, whatever version wrote the table. Results are taken
    as they are; ``certify.py audit`` tells whether they are those of the recorded counts.

    Args:
        opened: The run.
        radii: Radii of the numbers that depend on a radius.
        curve: Further radii, at which only means are needed.
        on_record: Called with each image after its numbers are read.

    Raises:
        InputError: If a file is missing or damaged.
    """
    every, kept = sorted({*radii, *curve}), {None, *radii}
    gathered, known, maps = Gathered(), Nulls(), SameClass()
    for image_id in opened.ids:
        record = opened.first if image_id == opened.first.id else opened.directory.read(image_id)
        image = (record.id, digest(record))
        with _readable(opened.directory, record.id):
            for measure, value, null in values_of(record, every, known):
                gathered.add(image, measure, value, null, keep=measure.radius in kept)
            if (shown := _map_of(record.results.values())) is not None:
                maps.add(*shown)
        if on_record is not None:
            on_record(record)
    expected, whole = means_of(gathered.nulls), _cost(opened.provenance)
    for measure, (overlap, chance) in maps.numbers().items():
        whole[measure], expected[measure] = overlap, chance
    return RunNumbers(
        opened.name,
        opened.directory.path,
        list(gathered.places),
        gathered.columns,
        means_of(gathered.means),
        expected,
        whole,
        read_gaps(opened.directory, opened.provenance, len(opened.ids)),
        opened.terms,
    )


@contextmanager
def _readable(directory: RunDirectory, image_id: str) -> Iterator[None]:
    """Errors that manipulated numbers cause, in one line."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise InputError(
            f"{directory.path}: the certificates of image {image_id} cannot be used ({reason}); "
            "lit-certattr certify audit says what is wrong with them"
        ) from error


def digest(record: Record) -> str:
    """Digest of the pixels and the label of an image.

    Args:
        record: The image.
    """
    pixels = record.image.contiguous()
    state = hashlib.blake2b(
        f"{pixels.dtype} {tuple(pixels.shape)} {record.facts.get('label')}".encode(), digest_size=16
    )
    state.update(pixels.numpy().tobytes())
    return state.hexdigest()


def _map_of(results: Iterable[Result]) -> tuple[Any, int, float] | None:
    """The smoothed map of an image, its class, and the smallest K of its certificate."""
    for result in results:
        levels, target = levels_of(result), result.sampling.get("target")
        if isinstance(result, HasSmoothedMap) and levels and isinstance(target, int):
            return result.smoothed_map(), target, min(levels)
    return None


def _cost(provenance: Mapping[str, Any]) -> dict[Measure, float]:
    """Seconds per image, of the sessions that came to their end."""
    sessions = provenance.get("sessions")
    seconds, images = 0.0, 0
    for one in sessions if isinstance(sessions, list) else []:
        spent, count = (one.get(key) if isinstance(one, Mapping) else None for key in ("seconds", "images"))
        if isinstance(spent, int | float) and isinstance(count, int) and count > 0 and np.isfinite(spent):
            seconds, images = seconds + float(spent), images + count
    if not images:
        return {}
    measure = Measure(f"{PREFIX}seconds_per_image", "seconds per image", EFFORT, form="cost", better=-1)
    return {measure: seconds / images}
