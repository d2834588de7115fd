"""The directory that a certification run writes, and from which an interrupted run resumes."""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import yaml
from torch import Tensor
from typing_extensions import override

from lit_certattr.certificates import Result
from lit_certattr.certificates.guarded import own_columns
from lit_certattr.certificates.result import results_as_bytes, results_of
from lit_certattr.errors import InputError
from lit_certattr.files.tensors import bytes_of, tensors_of
from lit_certattr.files.untrusted import DAMAGE, kind_of, read_json
from lit_certattr.files.whole_file import write_whole
from lit_certattr.models import same_answers
from lit_certattr.records.attack_directory import AttackDirectory
from lit_certattr.records.digests import fingerprint, tensors_digest
from lit_certattr.records.groups import Groups, ImageRows, parts_in
from lit_certattr.records.ids import check_ids
from lit_certattr.records.image_files import GROUP_SIZE, ImageFiles
from lit_certattr.records.job_directory import PicturedDirectory
from lit_certattr.records.table import RADII, rows
from lit_certattr.records.tensor_files import HEADER, SUFFIX, own_ids

_PATIENCE = 1.0  # seconds
EDGE = "+edge-"
"""Between an id and the number of a picture in names of files; no id contains it."""


class Record(NamedTuple):
    """What a run directory contains about one image.

    Attributes:
        id: Id of the image.
        image: The certified image, float ``[C, H, W]`` in [0, 1].
        clean_map: Attribution map of the image without noise, float ``[H, W]``.
        facts: ``label`` (-1 if there is none) and ``prediction`` of the image.
        results: Certificates by name.
    """

    id: str
    image: Tensor
    clean_map: Tensor
    facts: dict[str, Any]
    results: dict[str, Result]


class RunDirectory(PicturedDirectory):
    """Layout, atomic writing and resuming of a run.

    ``config.yaml``, ``provenance.json``, ``maps/<id>.safetensors`` (certificates with their counts),
    ``images/<id>.safetensors`` (image and clean map), ``results.parquet``, ``figures/`` and ``report.html``;
    in addition ``attack/`` with the results of ``certify.py attack``.

    Every file is written completely or not at all. The file in ``images/`` is written last and contains the digest of
    the file in ``maps/``; an image counts as finished only if both are undamaged. Only ``provenance.json`` contains
    times, so a run that was killed and resumed produces the same bytes as an uninterrupted run.

    Of a run of many images, the files of each 256 images that are finished lie in two ZIPs, ``maps/00000.zip`` and
    ``images/00000.zip``, with the same names and bytes (:mod:`~lit_certattr.records.image_files`); until the run is
    finished, ``results/`` holds their rows of the table.

    Args:
        path: The directory; created by :meth:`open`, not before.

    Raises:
        InputError: If the path is empty or contains control characters.

    Example:
        >>> import tempfile
        >>> directory = RunDirectory(tempfile.mkdtemp() + "/run")
        >>> directory.open({"sigma": 0.25})
        >>> directory.finished()
        frozenset()
    """

    kind = "run"

    group_size: int = GROUP_SIZE
    """Number of images that share two ZIPs."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.maps, self.images, self.figures = (self.path / name for name in ("maps", "images", "figures"))
        self.config, self.provenance_file = self.path / "config.yaml", self.path / "provenance.json"
        self.table, self.report = self.path / "results.parquet", self.path / "report.html"
        self.attacks = AttackDirectory(self)
        self.attack = self.attacks.path
        self.record = self.provenance_file
        self.parts = self.path / "results"
        self.folders, self.late_folders = (self.maps, self.images, self.figures), (self.parts,)
        self.files = (self.table, self.report, self.config)
        self.image_files = ImageFiles(self.maps, self.images)
        self._lasting = -_PATIENCE  # when an image was last written so that it survives a power failure

    @override
    def stored_settings(self) -> Any:
        return self.provenance().get("settings")

    @override
    def own_files(self) -> list[Path]:
        ids = own_ids((self.maps, self.images)) | self.image_files.packed().keys()
        figures = {"summary.pdf", "summary.png"} | {f"{image_id}.png" for image_id in ids}
        figures |= {path.name for path in self.figures.glob(f"*{EDGE}*.png") if path.name.split(EDGE)[0] in ids}
        parts = [path for path in parts_in(self.parts) if _is_part(path)]
        return [*self.image_files.own(), *parts, *(self.figures / name for name in figures)]

    def clear(self) -> None:
        """Delete the run, and the attacks on its certificates, which are meaningless without it."""
        self.attacks.clear()
        if self.attack.is_dir() and not any(self.attack.iterdir()):
            self.attack.rmdir()
        super().clear()
        self.image_files = ImageFiles(self.maps, self.images)

    @override
    def check(self, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self._check_place()  # before anything is asked of a path that may be impossible
        if self.record.exists() and not overwrite and "structure" in settings:
            check_structure(self.stored_settings(), self.path, self.delete)
        super().check(settings, overwrite)

    def open(
        self,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        config: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        extension: Mapping[str, Any] | None = None,
    ) -> None:
        """Create the directory, or continue the run with the same settings that it contains.

        Args:
            settings: Everything that determines the results, as plain nested values.
            overwrite: Delete an existing run.
            config: Resolved configuration as YAML, written to ``config.yaml``.
            provenance: Machine, versions and network, see :func:`~lit_certattr.records.provenance.provenance`; stored
                with the settings.
            extension: Images that are added to the run, which then may hold another hash of images: ``before``, the
                hash so far, and the numbers of images; see :func:`~lit_certattr.records.resuming.check_resume`.

        Raises:
            InputError: See :meth:`check`; also if the directory cannot be written.
        """
        self.check(settings if extension is None else {**settings, "images": extension["before"]}, overwrite)
        kept = self.record.exists() and not overwrite
        before = self.provenance() if kept else {}
        added = [*before.get("extended", []), *([] if extension is None else [dict(extension)])]
        content = {
            "settings": settings,
            "fingerprint": fingerprint(settings),
            **(provenance or {}),
            **({"wandb_run": before["wandb_run"]} if "wandb_run" in before else {}),
            **({"extended": added} if added else {}),
            "sessions": before.get("sessions", []),
        }
        if kept:
            check_answers(self.provenance(), content, f"{self.path} holds a run of another network", self.delete)
        self._start(_as_json(content), overwrite)
        if extension is not None:  # they are about fewer images: an interrupted extension is an interrupted run
            for file in (self.table, self.report):
                file.unlink(missing_ok=True)
        plain = json.loads(json.dumps(settings))  # no value twice in memory: YAML would write an alias
        write_whole(self.config, (config or yaml.safe_dump(plain)).encode())

    def write(
        self,
        image_id: str,
        results: Mapping[str, Result],
        image: Tensor,
        clean_map: Tensor,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Write one image. Several processes may write different images at the same time.

        Args:
            image_id: Id of the image, which names its files.
            results: Its certificates by name.
            image: Image ``[C, H, W]``.
            clean_map: Attribution map ``[H, W]`` without noise.
            facts: Plain values about the image: ``label`` and ``prediction``.

        Raises:
            InputError: If the id is not safe as a file name.
        """
        maps, companion = self._files(image_id)
        content = results_as_bytes(results)
        # To wait for the disk may take longer than to certify a small image. A file that a power failure damages is
        # recognised by its digest, and its image certified again.
        if lasting := time.monotonic() - self._lasting >= _PATIENCE:
            self._lasting = time.monotonic()
        write_whole(maps, content, lasting)
        tensors = {"image": image, "clean_map": clean_map}
        header = {
            "facts": dict(facts or {}),
            "maps": hashlib.blake2b(content, digest_size=16).hexdigest(),
            "tensors": tensors_digest(tensors),
        }
        write_whole(companion, bytes_of(tensors, {HEADER: json.dumps(header, sort_keys=True)}), lasting)

    def read(self, image_id: str) -> Record:
        """Read everything about one image.

        Args:
            image_id: Id of the image.

        Raises:
            InputError: If a file is missing or damaged, be it in a single bit.
        """
        check_ids([image_id])
        files = self.image_files
        try:
            words, tensors = tensors_of(files.read(self.images, image_id))
            header = json.loads(words[HEADER])
            if odd := sorted({*tensors, *words} - {"image", "clean_map", HEADER}):
                raise InputError(f"it also holds {', '.join(odd[:3])}, which no run writes")
            image, clean_map = tensors["image"], tensors["clean_map"]
            whole = header["tensors"] == tensors_digest(tensors)
            content = files.read(self.maps, image_id)
            whole &= header["maps"] == hashlib.blake2b(content, digest_size=16).hexdigest()
            facts = dict(header["facts"])
        except FileNotFoundError as error:
            raise InputError(f"{error.filename}: no such file") from None
        except DAMAGE as error:
            raise self._damaged(image_id, error) from None
        if not whole:
            place, remedy = files.place(self.maps, image_id), files.remedy(image_id)
            raise InputError(f"{place}: damaged; its digest differs from the recorded digest{remedy}")
        return Record(image_id, image, clean_map, facts, results_of(content, files.place(self.maps, image_id)))

    def _damaged(self, image_id: str, error: BaseException) -> InputError:
        place, remedy = self.image_files.place(self.images, image_id), self.image_files.remedy(image_id)
        return InputError(f"{place}: damaged ({' '.join(str(error).split())}){remedy}")

    def facts(self, image_id: str) -> dict[str, Any]:
        """What :meth:`read` calls the facts of an image, without reading and checking anything else.

        Args:
            image_id: Id of the image.

        Raises:
            InputError: If the file is missing or damaged.
        """
        check_ids([image_id])
        try:
            words, _ = tensors_of(self.image_files.read(self.images, image_id))
            return dict(json.loads(words[HEADER])["facts"])
        except FileNotFoundError as error:
            raise InputError(f"{error.filename}: no such file") from None
        except DAMAGE as error:
            raise self._damaged(image_id, error) from None

    @override
    def finished(self) -> frozenset[str]:
        done = set(self.image_files.packed())  # an audit looks into them; their ZIPs are whole
        for image_id in self.image_files.loose(self.images) - done:
            with suppress(InputError):
                done.add(self.read(image_id).id)
        return frozenset(done)

    def records(self, ids: Iterable[str]) -> Iterator[Record]:
        """Read several images, one at a time.

        Args:
            ids: Ids of the images, in the order of the result.
        """
        return (self.read(image_id) for image_id in ids)

    def groups(self, ids: Sequence[str], radii: Sequence[float] = RADII) -> Groups:
        """The images in groups, to pack them and to write their table.

        Args:
            ids: Ids of the images, in the order of the table.
            radii: Radii of the columns, in pixel l2 units.
        """
        return Groups(self.image_files, self.parts, ids, radii, lambda one: self._rows(one, radii), self.group_size)

    def write_table(self, ids: Sequence[str], radii: Sequence[float] = RADII) -> None:
        """Write ``results.parquet``, see :func:`lit_certattr.records.table.schema`.

        Args:
            ids: Ids of the images, in the order of the rows.
            radii: Radii of the columns, in pixel l2 units.
        """
        groups = self.groups(ids, radii)
        groups.write_table(self.table)
        groups.clear()

    def _rows(self, image_id: str, radii: Sequence[float]) -> ImageRows:
        record = self.read(image_id)
        return image_rows(image_id, record.results, record.facts, radii)

    def write_report(self, html: str) -> None:
        """Write ``report.html``.

        Args:
            html: Content of the file.
        """
        write_whole(self.report, html.encode())

    def check_is_run(self) -> None:
        """Refuse a directory that holds no run.

        Raises:
            InputError: If the directory or its ``provenance.json`` does not exist.
        """
        wanted = "give the output directory of lit-certattr certify run, or of jobs.run in Python"
        if not self.path.is_dir():
            reason = "it is a file, not a folder" if self.path.exists() else "there is no such folder"
            raise InputError(f"{self.path}: {reason}; {wanted}")
        if not self.provenance_file.exists() and not self.provenance_file.is_symlink():
            raise InputError(f"{self.path} holds no run: there is no provenance.json in it; {wanted}")

    def provenance(self) -> dict[str, Any]:
        """The content of ``provenance.json``.

        Raises:
            InputError: If it is missing or damaged.
        """
        remedy = "restore it from a copy, or certify again with --overwrite (overwrite=True in Python)"
        try:
            content = read_json(self.provenance_file)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.provenance_file} cannot be read ({error}); {remedy}") from None
        if not isinstance(content, dict):
            raise InputError(f"{self.provenance_file} is damaged; {remedy}")
        return content

    def log_session(self, session: Mapping[str, Any], number: int | None = None) -> int:
        """Add a session to ``provenance.json``, or replace one.

        Args:
            session: Plain values about the session: times, images, processes.
            number: Number of the session to replace; ``None`` adds one.

        Returns:
            Number of the session.
        """
        content = self.provenance()
        sessions = content.setdefault("sessions", [])
        if number is None:
            number = len(sessions)
            sessions.append(dict(session))
        else:
            sessions[number] = dict(session)
        write_whole(self.provenance_file, _as_json(content))
        return number

    def log_wandb(self, run_id: str) -> None:
        """Record in ``provenance.json`` which run of Weights & Biases shows this run.

        Args:
            run_id: Id of the run of W&B.
        """
        write_whole(self.provenance_file, _as_json(self.provenance() | {"wandb_run": run_id}))

    def _files(self, image_id: str) -> tuple[Path, Path]:
        check_ids([image_id])
        return self.maps / f"{image_id}{SUFFIX}", self.images / f"{image_id}{SUFFIX}"


def image_rows(
    image_id: str, results: Mapping[str, Result], facts: Mapping[str, Any], radii: Sequence[float]
) -> ImageRows:
    """The rows of one image in the table.

    Args:
        image_id: Id of the image.
        results: Its results by name.
        facts: ``label`` and ``prediction`` of the image.
        radii: Radii of the columns, in pixel l2 units.
    """
    stored = dict(sorted(results.items()))  # the order in which a file gives them
    entries = list(rows(image_id, stored, dict(facts), radii))
    return ImageRows(entries, own_columns(results.values(), radii))


def check_structure(settings: Any, path: Path, remedy: str) -> None:
    """Refuse the settings of a run that an older version wrote and that do not identify the network.

    Args:
        settings: Settings of the run.
        path: The run directory, for the message.
        remedy: Remedy, the end of the message.

    Raises:
        InputError: If the settings lack the structure of the network.
    """
    if isinstance(settings, Mapping) and "network" in settings and "structure" not in settings:
        raise InputError(
            f"{path} was written by an older version, which recorded the weights of the network but not its classes "
            f"and arguments; {remedy}"
        )


def check_answers(before: Mapping[str, Any], now: Mapping[str, Any], complaint: str, remedy: str) -> None:
    """Refuse a network with the same structure and weights but other logits for the fixed images.

    Args:
        before: Provenance of a run.
        now: Provenance of the present network.
        complaint: Beginning of the message.
        remedy: Remedy, the end of the message.

    Raises:
        InputError: If both provenances contain logits, and these differ by more than rounding errors.
    """
    old, new = ((place.get("network") or {}).get("probe") for place in (before, now))
    if old is not None and new is not None and not same_answers(old, new):
        raise InputError(
            f"{complaint}: structure and weights are the same, but its logits for fixed images are not (another "
            f"forward, or another version of its code); {remedy}"
        )


def _is_part(path: Path) -> bool:
    """Whether a file is a part of a table, as its columns show."""
    if kind_of(path.lstat().st_mode) is not None:
        return False
    try:
        return {"id", "certificate", "radius_norm"} <= set(pq.read_schema(path).names)
    except (OSError, ValueError):
        return False


def _as_json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
