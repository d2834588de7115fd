"""Audit of a run directory: every certificate again from its stored counts, every file against the others."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from lit_certattr.certificates import Result, load_results
from lit_certattr.data import NO_LABEL, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.reports.consistency import (
    Finding,
    at,
    check_provenance,
    check_settings,
    check_slack,
    name_list,
    read_config,
    show,
)
from lit_certattr.reports.provenance import data_hash
from lit_certattr.reports.run_directory import RunDirectory
from lit_certattr.reports.table import RADII, rows, schema

_SUFFIX = ".safetensors"
_HALF = ("16-true", "bf16-true")


class Tally(NamedTuple):
    """What became of the certificates of one name.

    Attributes:
        kind: Their kind of result.
        num_equal: How many re-derive to what is stored, in every field.
        num_certificates: How many there are.
    """

    kind: str
    num_equal: int
    num_certificates: int


@attrs.frozen
class Audit:
    """What :func:`audit_run` found.

    Attributes:
        ids: Ids of the images, in the order of the table.
        tallies: By name of the certificate.
        findings: Everything that is not as it must be; empty for an honest run.
        notes: What could not be checked, and why.
    """

    ids: list[str]
    tallies: dict[str, Tally]
    findings: list[Finding]
    notes: list[str]

    @property
    def num_certificates(self) -> int:
        """Certificates of all images."""
        return sum(tally.num_certificates for tally in self.tallies.values())


def audit_run(directory: RunDirectory) -> Audit:
    """Re-derive everything in a run directory that can be derived; reads only, and runs nothing from the files.

    Each certificate is computed again from its counts by the function that certified, and compared field by field,
    bit by bit. The table is computed again from the certificates, the hash of the images from the images, the
    fingerprint from the settings; settings, certificates and ``config.yaml`` must say the same; no file may be
    missing or too many.

    Args:
        directory: A run.

    Raises:
        InputError: If it is no run at all.
    """
    if not directory.provenance_file.exists():
        raise InputError(f"{directory.path} holds no run: there is no provenance.json")
    provenance = directory.provenance()
    settings = provenance.get("settings")
    if not isinstance(settings, Mapping):
        raise InputError(f"{directory.provenance_file} holds no settings")
    findings = list(check_provenance(provenance, settings))
    config, faults = read_config(directory.config, settings)
    findings += faults
    table, ids, faults = _read_table(directory)
    findings += faults
    findings += _check_files(directory, ids)

    stored = {path.name.removesuffix(_SUFFIX) for path in directory.maps.glob(f"[!.]*{_SUFFIX}")}
    counts: dict[str, list[bool]] = {}
    kinds: dict[str, str] = {}
    derived_rows: list[dict[str, Any]] = []
    schedules: dict[str, str] = {}
    labels: dict[str, int] = {}
    for image_id in [*ids, *sorted(stored - set(ids))]:
        if image_id not in stored:
            continue  # named by the check of the files; an id of the table alone never becomes a path
        facts: dict[str, Any] = {}
        record = None
        try:
            record = directory.read(image_id)
            results, facts = record.results, record.facts
            labels[image_id] = int(facts.get("label", NO_LABEL))
        except (InputError, TypeError, ValueError) as error:
            findings.append(Finding(image_id, str(error)))
            try:
                results = load_results(directory.maps / f"{image_id}{_SUFFIX}")
            except InputError:
                continue
        derived = {}
        for name, result in results.items():
            faults, again = _check_result(image_id, name, result)
            findings += faults
            findings += check_settings(image_id, name, result, settings, facts)
            if record is not None:
                findings += check_slack(image_id, name, result, settings, record.image.numel())
            counts.setdefault(name, []).append(not faults)
            kinds[name] = result.kind
            derived[name] = again
            schedules.setdefault(str(result.sampling.get("looks")), f"{image_id}, {name}")
        expected = settings.get("certificates")
        if isinstance(expected, Mapping) and set(expected) != set(results):
            findings.append(Finding(image_id, "certificates", name_list(results), name_list(expected)))
        if image_id in ids:
            radii = config.get("radii", RADII)
            derived_rows += rows(image_id, derived, facts, radii)
    if len(schedules) > 1:
        (one, _), (other, place) = list(schedules.items())[:2]
        findings.append(Finding(place, "looks are not those of the other certificates", other, one))
    if table is not None:
        findings += _check_table(table, derived_rows, config.get("radii", RADII))
    notes = ["report.html and figures/ only show these numbers; pictures are not compared."]
    if directory.attack.exists():
        notes.append("attack/ holds attacks on these certificates, not certificates; it is not looked at.")
    versions = provenance.get("versions")
    written = versions.get("lit-certattr") if isinstance(versions, Mapping) else None
    if written is not None and written != version("lit-certattr"):
        notes.append(f"Written by lit-certattr {written}, audited by {version('lit-certattr')}.")
    findings += _check_images(directory, ids, labels, settings, notes)
    tallies = {name: Tally(kinds[name], sum(equal), len(equal)) for name, equal in counts.items()}
    return Audit(ids, tallies, findings, notes)


def differences(stored: Result, derived: Result) -> Iterator[Finding]:
    """The fields in which two results of one kind differ, each with its first place; ``place`` is left empty.

    Args:
        stored: What a file holds.
        derived: What follows from its counts.
    """
    for field in attrs.fields(type(stored)):
        one, two = getattr(stored, field.name), getattr(derived, field.name)
        if isinstance(one, Tensor):
            yield from _tensor_difference(field.name, one, two)
        elif one != two and not (one != one and two != two):  # NaN equals NaN here
            yield Finding("", field.name, show(one), show(two))


def _tensor_difference(name: str, stored: Tensor, derived: Tensor) -> Iterator[Finding]:
    if stored.shape != derived.shape or stored.dtype != derived.dtype:
        yield Finding("", name, *(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in (stored, derived)))
        return
    differ = stored != derived
    if stored.is_floating_point():
        differ &= ~(stored.isnan() & derived.isnan())
    if bool(differ.any()):
        where = differ.nonzero()
        index = tuple(where[0].tolist())
        count = f" ({len(where)} of {stored.numel()} differ)"
        yield Finding("", name + at(index) + count, show(stored[index].item()), show(derived[index].item()))


def _check_result(image_id: str, name: str, result: Result) -> tuple[list[Finding], Result]:
    """Findings about one certificate, and its derived form (the stored one where there is none)."""
    place = f"{image_id}, {name}"
    try:
        derived = result.rederive()
    except NotImplementedError:
        return [Finding(place, f"a {type(result).__name__} cannot be re-derived")], result
    except (InputError, ValueError, TypeError, ArithmeticError, LookupError, RuntimeError) as error:
        return [Finding(place, f"cannot be re-derived: {' '.join(str(error).split())}")], result
    return [finding._replace(place=place) for finding in differences(result, derived)], derived


def _read_table(directory: RunDirectory) -> tuple[pa.Table | None, list[str], list[Finding]]:
    try:
        table = pq.read_table(directory.table)
        ids = list(dict.fromkeys(str(image_id) for image_id in table.column("id").to_pylist()))
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = "is missing: the run is not finished" if isinstance(error, FileNotFoundError) else "cannot be read"
        ids = sorted(path.name.removesuffix(_SUFFIX) for path in directory.images.glob(f"[!.]*{_SUFFIX}"))
        return None, ids, [Finding("results.parquet", reason)]
    return table, ids, []


def _check_table(table: pa.Table, derived: Sequence[Mapping[str, Any]], radii: Sequence[float]) -> Iterator[Finding]:
    """The table cell by cell against the rows that follow from the certificates."""
    columns = schema(radii).names
    if table.column_names != columns:
        odd = sorted(set(table.column_names) ^ set(columns)) or ["order"]
        yield Finding("results.parquet", f"columns ({', '.join(odd[:5])})", str(table.num_columns), str(len(columns)))
    held = {(row["id"], row.get("certificate"), row.get("level")): row for row in table.to_pylist()}
    if len(held) < table.num_rows:
        yield Finding("results.parquet", "holds a row twice", str(table.num_rows), str(len(held)))
    for row in derived:
        key = (row["id"], row["certificate"], row.get("level"))
        place = f"results.parquet, {key[0]}, {key[1]}, level {key[2]}"
        if (stored := held.pop(key, None)) is None:
            yield Finding(place, "row is missing")
            continue
        for name in (name for name in columns if name in stored):
            one, two = stored[name], row.get(name)
            if one != two and not (one != one and two != two):
                yield Finding(place, name, show(one), show(two))
    for image_id, name, level in held:
        yield Finding(f"results.parquet, {image_id}, {name}, level {level}", "row belongs to no certificate")


def _check_files(directory: RunDirectory, ids: Sequence[str]) -> Iterator[Finding]:
    """Files that are missing, and files that no run leaves."""
    named = (directory.config, directory.provenance_file, directory.table, directory.report)
    folders = (directory.maps, directory.images, directory.figures)
    top = {path.name for path in (*named, *folders, directory.attack, directory.lock.path)}
    tensors = {f"{image_id}{_SUFFIX}" for image_id in ids}
    pictures = {"summary.pdf", "summary.png"} | {f"{image_id}.png" for image_id in ids}
    wanted = {directory.maps: tensors, directory.images: tensors}
    if not directory.report.exists():
        yield Finding("report.html", "is missing")
    for folder in folders:
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        for name in sorted(wanted.get(folder, set()) - there):
            yield Finding(f"{folder.name}/{name}", "is missing")
        for name in sorted(there - wanted.get(folder, pictures)):
            yield Finding(f"{folder.name}/{name}", "belongs to no image of the run")
    for path in sorted(directory.path.iterdir()):
        if path.name not in top:
            yield Finding(path.name, "is no file of a run")


class _StoredImages:
    """The images of a run, read one at a time."""

    def __init__(self, directory: RunDirectory, ids: Sequence[str]) -> None:
        self.directory, self.ids = directory, ids

    def __getitem__(self, index: int, /) -> Tensor:
        return self.directory.read(self.ids[index]).image


def _check_images(
    directory: RunDirectory,
    ids: Sequence[str],
    labels: Mapping[str, int],
    settings: Mapping[str, Any],
    notes: list[str],
) -> Iterator[Finding]:
    """The hash of the images, from the images."""
    if settings.get("precision") in _HALF:
        notes.append("The images are stored in half precision: their hash, taken before, cannot be derived.")
        return
    if not ids or "images" not in settings:
        notes.append("The settings hold no hash of the images.")
        return
    if len(labels) < len(ids) or set(labels) - set(ids):
        yield Finding("images/", "do not have the recorded hash, since files are missing, damaged or too many")
        return
    try:
        samples = SampleSet(_StoredImages(directory, ids), [labels[image_id] for image_id in ids], list(ids))
        derived = data_hash(samples)
    except (InputError, RuntimeError) as error:
        yield Finding("images/", f"cannot be hashed: {error}")
        return
    if derived != settings["images"]:
        yield Finding("images/", "hash of the images, labels and their order", show(settings["images"]), derived)
