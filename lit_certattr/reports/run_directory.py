"""The directory that a certification run leaves behind, and from which a killed run goes on."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from lit_certattr.certificates import Result, load_results, save_results
from lit_certattr.errors import InputError
from lit_certattr.reports.table import RADII, rows, schema

SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_HEADER = "lit_certattr"
_SUFFIX = ".safetensors"


class Record(NamedTuple):
    """What a run directory holds of one image.

    Attributes:
        id: Id of the image.
        image: Float ``[C, H, W]`` in [0, 1], as it was certified.
        clean_map: Float ``[H, W]``: attribution map of the image without noise.
        facts: ``label`` (-1 without one) and ``prediction`` of the image.
        results: Certificates by name.
    """

    id: str
    image: Tensor
    clean_map: Tensor
    facts: dict[str, Any]
    results: dict[str, Result]


class RunDirectory:
    """Layout, atomic writing and resuming of a run.

    ``config.yaml``, ``provenance.json``, ``maps/<id>.safetensors`` (certificates, counts included),
    ``images/<id>.safetensors`` (image and clean map), ``results.parquet``, ``figures/`` and ``report.html``;
    beside them ``attack/``, what ``certify.py attack`` has found.

    Every file appears whole or not at all. The file under ``images/`` is written last and holds the digest of
    the one under ``maps/``; an image counts as finished only if both are undamaged. Times stand in
    ``provenance.json`` alone, so a run that was killed and resumed ends with the same bytes as one that was not.

    Args:
        path: The directory; made by :meth:`open`, not before.

    Example:
        >>> import tempfile
        >>> directory = RunDirectory(tempfile.mkdtemp() + "/run")
        >>> directory.open({"sigma": 0.25})
        >>> directory.finished()
        frozenset()
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.maps, self.images, self.figures = (self.path / name for name in ("maps", "images", "figures"))
        self.config, self.provenance_file = self.path / "config.yaml", self.path / "provenance.json"
        self.table, self.report = self.path / "results.parquet", self.path / "report.html"
        self.attack = self.path / "attack"

    def check(self, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        """Refuse a directory that holds something else; writes nothing.

        Args:
            settings: Everything that decides the results, as plain nested values.
            overwrite: Allow a run of other settings; :meth:`open` would delete it.

        Raises:
            InputError: If the directory holds a run with other settings (the first that differs is named), or
                files that are no run at all.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise InputError(f"{self.path} is a file; choose another --output")
        if not self.provenance_file.exists():
            if any(self.path.iterdir()):
                raise InputError(f"{self.path} is not empty and holds no run of ours; choose another --output")
            return
        if overwrite:
            return
        before = self.provenance().get("settings")
        difference = first_difference(before, json.loads(json.dumps(settings)))
        if difference is not None:
            raise InputError(
                f"{self.path} holds a run with other settings ({difference}); choose another --output, "
                "or --overwrite=true to delete it"
            )

    def open(
        self,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        config: str | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the directory, or go on with the run of the same settings that it holds.

        Args:
            settings: Everything that decides the results, as plain nested values.
            overwrite: Delete a run that is there.
            config: Resolved configuration as YAML, written to ``config.yaml``.
            provenance: Where and with what this session runs; kept beside the settings.

        Raises:
            InputError: See :meth:`check`; also if the directory cannot be written.
        """
        self.check(settings, overwrite)
        try:
            if overwrite and self.provenance_file.exists():
                self._delete()
            for folder in (self.maps, self.images, self.figures):
                folder.mkdir(parents=True, exist_ok=True)
            for leftover in [path for folder in (self.maps, self.images) for path in folder.glob(".*.partial")]:
                leftover.unlink()
            sessions = self.provenance().get("sessions", []) if self.provenance_file.exists() else []
            record = {
                "settings": settings,
                "fingerprint": fingerprint(settings),
                **(provenance or {}),
                "sessions": sessions,
            }
            self._write_json(record)
            write_whole(self.config, (config or yaml.safe_dump(dict(settings))).encode())
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror}") from None

    def _delete(self) -> None:
        # Only what a run consists of: a user's own files beside it are not ours to delete.
        for folder in (self.maps, self.images, self.figures, self.attack):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.table, self.report, self.config, self.provenance_file):
            file.unlink(missing_ok=True)

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
        save_results(maps, results)
        tensors = {
            "image": image.detach().cpu().contiguous(),
            "clean_map": clean_map.detach().cpu().contiguous(),
        }
        header = {
            "facts": dict(facts or {}),
            "maps": hashlib.blake2b(maps.read_bytes(), digest_size=16).hexdigest(),
            "tensors": tensors_digest(tensors),
        }
        write_whole(companion, to_safetensors(tensors, {_HEADER: json.dumps(header, sort_keys=True)}))

    def read(self, image_id: str) -> Record:
        """Everything about one image.

        Raises:
            InputError: If a file is missing, or a single bit of it is damaged.
        """
        maps, companion = self._files(image_id)
        try:
            with safe_open(companion, framework="pt") as file:
                header = json.loads((file.metadata() or {})[_HEADER])
                tensors = {name: file.get_tensor(name) for name in ("image", "clean_map")}
            whole = header["tensors"] == tensors_digest(tensors)
            whole &= header["maps"] == hashlib.blake2b(maps.read_bytes(), digest_size=16).hexdigest()
            facts = dict(header["facts"])
        except FileNotFoundError as error:
            raise InputError(f"{error.filename or companion}: no such file") from None
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
            raise InputError(f"{companion}: damaged ({error})") from None
        if not whole:
            raise InputError(f"{maps}: damaged; its digest is not the one that was recorded")
        return Record(image_id, tensors["image"], tensors["clean_map"], facts, load_results(maps))

    def finished(self) -> frozenset[str]:
        """Ids of the images whose files are all there and undamaged; the others are to be done (again)."""
        done = set()
        for file in self.images.glob(f"[!.]*{_SUFFIX}"):
            try:
                done.add(self.read(file.name.removesuffix(_SUFFIX)).id)
            except InputError:
                continue
        return frozenset(done)

    def records(self, ids: Iterable[str]) -> Iterator[Record]:
        """The images of ``ids`` in that order, read one at a time."""
        return (self.read(image_id) for image_id in ids)

    def write_table(self, ids: Sequence[str], radii: Sequence[float] = RADII) -> pa.Table:
        """Write ``results.parquet`` with the images of ``ids`` in that order.

        Returns:
            The table, see :func:`lit_certattr.reports.table.schema`.
        """
        entries = [row for record in self.records(ids) for row in rows(record.id, record.results, record.facts, radii)]
        table = pa.Table.from_pylist(entries, schema=schema(radii))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_whole(self.table, sink.getvalue().to_pybytes())
        return table

    def write_figure(self, name: str, data: bytes) -> None:
        """Write one picture under ``figures/``."""
        write_whole(self.figures / name, data)

    def write_report(self, html: str) -> None:
        """Write ``report.html``."""
        write_whole(self.report, html.encode())

    def provenance(self) -> dict[str, Any]:
        """The content of ``provenance.json``.

        Raises:
            InputError: If it is missing or damaged.
        """
        try:
            content = json.loads(self.provenance_file.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.provenance_file} cannot be read ({error}); choose another --output, or --overwrite=true"
            ) from None
        if not isinstance(content, dict):
            raise InputError(f"{self.provenance_file} is damaged; choose another --output, or --overwrite=true")
        return content

    def log_session(self, session: Mapping[str, Any], number: int | None = None) -> int:
        """Add a session to ``provenance.json``, or replace the one of this number; returns its number."""
        content = self.provenance()
        sessions = content.setdefault("sessions", [])
        if number is None:
            number = len(sessions)
            sessions.append(dict(session))
        else:
            sessions[number] = dict(session)
        self._write_json(content)
        return number

    def _files(self, image_id: str) -> tuple[Path, Path]:
        if not SAFE_ID.fullmatch(image_id):
            raise InputError(
                f"image id {image_id!r} cannot name a file: at most 200 letters, digits and ._-, no leading dot"
            )
        return self.maps / f"{image_id}{_SUFFIX}", self.images / f"{image_id}{_SUFFIX}"

    def _write_json(self, content: Mapping[str, Any]) -> None:
        write_whole(self.provenance_file, (json.dumps(content, indent=2) + "\n").encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)  # noqa: PTH105  (the name that says it is atomic)


def fingerprint(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, whatever the order of their keys.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Digest of named tensors: of their types, shapes and bytes."""
    state = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def first_difference(before: Any, now: Any, name: str = "") -> str | None:
    """The first setting that differs, as ``name was a, is b``."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*now, *(key for key in before if key not in now)]:
            below = f"{name}.{key}" if name else str(key)
            difference = first_difference(before.get(key), now.get(key), below)
            if difference is not None:
                return difference
        return None
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            difference = first_difference(old, new, f"{name}[{index}]")
            if difference is not None:
                return difference
        return None
    return None if before == now else f"{name or 'all settings'} was {_short(before)}, is {_short(now)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
