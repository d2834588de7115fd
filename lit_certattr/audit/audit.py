"""Audit of a run directory: derives every certificate again from its counts, and compares the files."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import attrs
import pyarrow as pa
from torch import Tensor

from lit_certattr.audit.binding import check_class_names, derive, facts_faults, together_faults
from lit_certattr.audit.consistency import check_provenance, read_config
from lit_certattr.audit.derived_rows import DerivedRows
from lit_certattr.audit.files import check_files, odd_kinds
from lit_certattr.audit.finding import Finding, name_list, show
from lit_certattr.audit.foreign import TRUSTED, foreign_classes
from lit_certattr.audit.pages import check_page
from lit_certattr.audit.recorded import Recorded, is_function, is_known_method, read_settings
from lit_certattr.audit.table import check_table
from lit_certattr.certificates import Result, UnknownResult
from lit_certattr.certificates.guarded import own_columns
from lit_certattr.certificates.result import results_of
from lit_certattr.data import NO_LABEL, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.records.provenance import data_hash
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.records.stored_table import MAX_ROWS, read_table
from lit_certattr.records.table import RADII, rows
from lit_certattr.reports.chosen import Excerpt, is_large

_HALF = ("16-true", "bf16-true")
_PANELS = 16


class Tally(NamedTuple):
    """Outcome of the audit for the certificates of one name.

    Attributes:
        kind: Their kind of result.
        num_equal: Number of certificates whose derived fields all equal the stored ones.
        num_certificates: Number of certificates.
    """

    kind: str
    num_equal: int
    num_certificates: int


@attrs.frozen
class Audit:
    """Result of :func:`audit_run`.

    Attributes:
        ids: Ids of the images, in the order of the table.
        tallies: Outcomes by name of the certificate.
        findings: Every inconsistency, and every unknown kind; empty for an unaltered run of known kinds.
        notes: What could not be checked, and why.
        unaudited: The findings that only report an unknown kind.
    """

    ids: list[str]
    tallies: dict[str, Tally]
    findings: list[Finding]
    notes: list[str]
    unaudited: list[Finding] = attrs.field(factory=list)

    @property
    def faults(self) -> list[Finding]:
        """Findings that report an inconsistency."""
        return [finding for finding in self.findings if finding not in self.unaudited]

    @property
    def num_certificates(self) -> int:
        """Number of certificates of all images."""
        return sum(tally.num_certificates for tally in self.tallies.values())


def audit_run(directory: RunDirectory, pages: bool = True, packages: Sequence[str] = TRUSTED) -> Audit:
    """Derive everything in a run directory again that can be derived; writes nothing and executes no code of the run.

    The function that computed a certificate computes it again from its counts, the settings, the image and the noise
    law; the result is compared field by field, bit by bit. The audit also derives the table, the figures and the page
    from the certificates, the hash of the images from the images, and the fingerprint from the settings. Settings,
    certificates and ``config.yaml`` must agree, no file may be missing, and no unknown file may exist.

    Args:
        directory: A run directory.
        pages: Whether to draw the figures and the page again, which takes most of the time.
        packages: Packages whose classes the user allows; a note names other classes of ``config.yaml``.

    Raises:
        InputError: If the directory is not a run directory.
    """
    directory.check_is_run()
    if odd := odd_kinds(directory):
        return Audit([], {}, odd, [])
    provenance = directory.provenance()
    settings = provenance.get("settings")
    if not isinstance(settings, Mapping):
        raise InputError(f"{directory.provenance_file} holds no settings")
    findings = list(check_provenance(provenance, settings))
    config, faults = read_config(directory.config, settings)
    findings += faults
    recorded, lines = read_settings(settings)
    findings += [Finding("provenance.json", line) for line in lines]
    table, ids, faults = _read_table(directory)
    findings += faults
    panels = config.get("max_panels", _PANELS)
    findings += check_files(directory, ids, _panels(table, ids, panels))
    findings += _check_ids(config.get("ids"), ids)
    if recorded is None:
        return Audit(ids, {}, findings, [])

    radii = config.get("radii", RADII)
    if radii is None:  # a configuration that leaves them to the law
        radii = RADII if recorded.noise is None else recorded.noise.budget.usual_radii(RADII)
    derived = _Derived(directory, settings, recorded, radii)
    there = directory.image_files.stored() | directory.image_files.loose(directory.maps)
    listed = set(ids)
    for image_id in [*ids, *sorted(there - listed)]:
        if image_id in there:  # an id of the table alone never becomes a path
            derived.add(image_id, image_id in listed)
    findings += derived.findings
    unknown = derived.unknown_kinds()
    if table is not None:
        findings += check_table(table, derived.rows, derived.rows.schema, derived.skipped)
    notes = _notes(directory, provenance, config, packages)
    findings += _check_images(directory, ids, derived.labels, settings, notes)
    if unknown:
        notes.append("report.html and figures/ show certificates of an unknown kind and were therefore not checked.")
    elif pages and table is not None and not findings:
        faults, more = check_page(directory, ids, table, panels)
        findings += faults
        notes += more
    unknown += _unknown_parts(settings, recorded)
    findings += unknown
    tallies = {name: Tally(derived.kinds[name], sum(equal), len(equal)) for name, equal in derived.equal.items()}
    return Audit(ids, tallies, findings, notes, unknown)


class _Derived:
    """Collects the values that are derived from the certificates, image by image."""

    def __init__(
        self, directory: RunDirectory, settings: Mapping[str, Any], recorded: Recorded, radii: Sequence[float]
    ) -> None:
        self.directory, self.settings, self.recorded, self.radii = directory, settings, recorded, radii
        self.findings: list[Finding] = []
        self.equal: dict[str, list[bool]] = {}
        self.kinds: dict[str, str] = {}
        self.labels: dict[str, int] = {}
        self.rows = DerivedRows(radii)
        self.skipped: list[tuple[str, str]] = []
        self._unknown = dict(recorded.unknown)
        self._class_names: dict[int, str] = {}

    def add(self, image_id: str, listed: bool) -> None:
        """Check one image; any error that manipulated numbers cause is a finding."""
        try:
            self._add(image_id, listed)
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            self.findings.append(Finding(image_id, f"cannot be checked ({reason})"))

    def _add(self, image_id: str, listed: bool) -> None:
        try:
            record = self.directory.read(image_id)
        except InputError as error:
            self.findings.append(Finding(image_id, str(error)))
            for name, result in _what_is_left(self.directory, image_id).items():
                self._skip(image_id, name, result)
            return
        self.findings += facts_faults(record, self.settings)
        self.findings += check_class_names(record, self._class_names)
        label = record.facts.get("label", NO_LABEL)
        self.labels[image_id] = label if isinstance(label, int) else NO_LABEL
        again: dict[str, Result] = {}
        for name, result in record.results.items():
            if isinstance(result, UnknownResult):
                self._unknown.setdefault(name, result.type_name)
            if isinstance(result, UnknownResult) or name in self.recorded.unknown:
                self._skip(image_id, name, result)
                continue
            faults, derived = derive(record, name, self.settings, self.recorded)
            self.findings += faults
            self.equal.setdefault(name, []).append(not faults)
            self.kinds[name] = result.kind
            if derived is None:
                self.skipped.append((image_id, name))
            else:
                again[name] = derived
        expected = self.recorded.certificates
        if set(expected) != set(record.results):
            self.findings.append(Finding(image_id, "certificates", name_list(record.results), name_list(expected)))
        self.findings += together_faults(record, self.recorded)
        if listed:
            self.rows.add(rows(image_id, again, record.facts, self.radii), own_columns(again.values(), self.radii))

    def _skip(self, image_id: str, name: str, result: Result) -> None:
        """Count a certificate that cannot be derived."""
        self.kinds[name] = result.kind
        self.equal.setdefault(name, []).append(False)
        self.skipped.append((image_id, name))

    def unknown_kinds(self) -> list[Finding]:
        """One finding for each certificate of a kind that was not imported."""
        return [_unknown(name, kind) for name, kind in self._unknown.items()]


def _unknown_parts(settings: Mapping[str, Any], recorded: Recorded) -> Iterator[Finding]:
    """One finding each for a noise law and a method of a kind that was not imported."""
    if recorded.noise is None:
        yield _unknown("noise", settings.get("noise"))
    method = str(settings.get("attribution"))
    if not is_known_method(method) and not is_function(method):
        yield _unknown("attribution", method)


def _unknown(place: str, kind: Any) -> Finding:
    advice = "audit again with --import and the name of the package that defines it"
    return Finding(place, f"unknown kind, not audited: {show(kind)}; {advice}")


def _what_is_left(directory: RunDirectory, image_id: str) -> dict[str, Result]:
    """The certificates of an image whose file in ``images/`` is damaged."""
    files = directory.image_files
    try:
        return results_of(files.read(directory.maps, image_id), files.place(directory.maps, image_id))
    except (OSError, InputError):
        return {}


def _read_table(directory: RunDirectory) -> tuple[pa.Table | None, list[str], list[Finding]]:
    there = directory.image_files.stored()
    try:
        table = read_table(directory.table, MAX_ROWS * (len(there) + 1))
    except FileNotFoundError:
        return None, sorted(there), [Finding("results.parquet", "is missing: the run is not finished")]
    except InputError as error:
        return None, sorted(there), [Finding("results.parquet", f"cannot be read ({error})")]
    return table, list(dict.fromkeys(str(image_id) for image_id in table.column("id").to_pylist())), []


def _panels(table: pa.Table | None, ids: Sequence[str], most: int) -> Sequence[str]:
    """Ids of the images with a panel."""
    if not is_large(ids) or table is None:
        return ids[: max(0, most)]
    try:
        return list(Excerpt.of(table, ids, most).panels)
    except (LookupError, ValueError, TypeError):  # a table without the columns of a run, as other findings say
        return ()


def _check_ids(asked: Any, ids: Sequence[str]) -> Iterator[Finding]:
    """Compare the ids in ``config.yaml``, if there are any, with the certified images."""
    if asked is None:
        return
    names = set(map(str, asked)) if isinstance(asked, list) else set()
    for image_id in sorted(names ^ set(ids)):
        yield Finding(
            "config.yaml", f"ids: {show(image_id)} is {'not certified' if image_id in names else 'no such id'}"
        )


def _notes(
    directory: RunDirectory,
    provenance: Mapping[str, Any],
    config: Mapping[str, Any],
    packages: Sequence[str],
) -> list[str]:
    """What was not checked, and why."""
    notes = []
    if is_function(method := str(provenance["settings"].get("attribution"))):
        notes.append(f"The method is a function, of which the settings record only the name: {show(method)}.")
    if classes := [path for path in foreign_classes(config) if path.partition(".")[0] not in packages]:
        notes.append(
            f"config.yaml names classes outside of this package, torch, torchvision and timm: {', '.join(classes)}. "
            "lit-certattr certify attack and audit --fresh import them if you give --trust, or --import with "
            "their package."
        )
    if directory.attack.exists():
        notes.append("attack/ contains attacks on these certificates: only the names of its files are checked.")
    versions = provenance.get("versions")
    written = versions.get("lit-certattr") if isinstance(versions, Mapping) else None
    if written is not None and written != version("lit-certattr"):
        notes.append(f"Written by lit-certattr {show(written)}, audited by {version('lit-certattr')}.")
    return notes


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
    """Compare the recorded hash of the images with the hash of the stored images."""
    if settings.get("precision") in _HALF:
        notes.append(
            "The images are stored in half precision: their hash, of the unrounded images, cannot be verified."
        )
        return
    if not ids:
        yield Finding("images/", "the run holds no image")
        return
    if len(labels) < len(ids) or set(labels) - set(ids):
        yield Finding("images/", "their hash cannot be verified: files are missing, damaged or unexpected")
        return
    try:
        samples = SampleSet(_StoredImages(directory, ids), [labels[image_id] for image_id in ids], list(ids))
        derived = data_hash(samples)
    except (InputError, RuntimeError, TypeError) as error:
        yield Finding("images/", f"cannot be hashed: {error}")
        return
    if derived != settings.get("images"):
        yield Finding("images/", "hash of the images, labels and their order", show(settings.get("images")), derived)
