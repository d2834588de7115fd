"""Base class of the directories that a job fills file by file, and from which a stopped job resumes."""

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import cannot_write, write_whole
from lit_certattr.records.lock import DirectoryLock
from lit_certattr.records.working import process_files

_FOREIGN = ("sources", "states")
"""Settings of :func:`~lit_certattr.settings.foreign.foreign_identity`."""


class JobDirectory(ABC):
    """A directory of files that are written completely or not at all; one of them, the record, contains the settings.

    The record is written first and deleted last. Whenever a process is killed, the directory therefore is empty or
    contains work with known settings that can be continued. A job deletes only files that a job wrote, see
    :meth:`own_files`; all other files stay.

    Args:
        path: The directory; ``~`` is the home directory. Created by :meth:`_start`, not before.

    Attributes:
        lock: The lock that the writing process holds; see :class:`~lit_certattr.records.lock.DirectoryLock`.

    Raises:
        InputError: If the path is empty or contains control characters.
    """

    kind: ClassVar[str]
    """What the directory contains, for messages, e.g. ``"run"``."""
    elsewhere: ClassVar[str] = "choose another --output"
    """Remedy for the user if the path cannot be used."""
    delete: ClassVar[str] = "choose another --output, or --overwrite=true to delete it"
    """Remedy for the user if the directory contains work with other settings."""

    record: Path
    """The file with the settings."""
    folders: Sequence[Path]
    """The folders with one or more files per image."""
    late_folders: Sequence[Path] = ()
    """Likewise, but they are not there before they are needed."""
    files: Sequence[Path]
    """All other files."""

    @property
    def a_kind(self) -> str:
        """:attr:`kind` with its article."""
        return f"{'an' if self.kind[0] in 'aeiou' else 'a'} {self.kind}"

    def __init__(self, path: str | Path) -> None:
        if not str(path).strip() or not str(path).isprintable():
            raise InputError(f"{str(path)!r} is no name for a directory")
        try:
            self.path = Path(path).expanduser()
        except RuntimeError:
            raise InputError(f"{path}: there is no such home directory") from None
        self.lock = DirectoryLock(self.path)

    @abstractmethod
    def stored_settings(self) -> Any:
        """The settings in the record.

        Raises:
            InputError: If the record is damaged.
        """

    @abstractmethod
    def finished(self) -> frozenset[str]:
        """Ids of the images whose results are stored and undamaged; all other images must be computed (again)."""

    @abstractmethod
    def own_files(self) -> Collection[Path]:
        """The files in :attr:`folders` that a job wrote, as their content shows; a name alone is not enough."""

    def check(self, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        """Refuse a directory that contains something else, is in use, or cannot be created; writes nothing.

        Args:
            settings: Everything that determines the results, as plain nested values.
            overwrite: Allow work with other settings; opening the directory would delete it.

        Raises:
            InputError: If the directory contains work with other settings (the message names the first difference) or
                files that no job wrote, if another process writes there, or if it is not writable.
        """
        self._check_place()
        self.lock.check()
        if not self.path.exists():
            return
        if not self.record.exists():
            if any(self._foreign()):
                raise InputError(f"{self.path} is not empty and holds no {self.kind}; {self.elsewhere}")
            return
        if overwrite:
            return
        difference = first_difference(self.stored_settings(), json.loads(json.dumps(settings)))
        if difference is not None:
            raise InputError(f"{self.path} holds {self.a_kind} with other settings ({difference}); {self.delete}")

    def _start(self, record: bytes, overwrite: bool) -> None:
        """Create the directory and write the record, after :meth:`check`.

        Args:
            record: Content of the file with the settings.
            overwrite: Delete existing work; files that no job wrote stay.

        Raises:
            InputError: If something cannot be written or deleted.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if overwrite and self.record.exists():
                self.clear()
            for leftover in self._left():
                leftover.unlink()
            write_whole(self.record, record)
            for folder in self.folders:
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def clear(self) -> None:
        """Delete the files that a job wrote, the record last; all other files stay, and so do their folders.

        Raises:
            OSError: If a file cannot be deleted; the record then still exists.
        """
        own = {*self.own_files(), *self._left()}
        for folder in reversed((*self.folders, *self.late_folders)):  # pictures before the data that they show
            if not folder.is_dir():
                continue
            if not folder.is_symlink() and own.issuperset(folder.iterdir()):
                shutil.rmtree(folder)
                continue
            for file in own.intersection(folder.iterdir()):
                file.unlink()
        for file in (*self.files, self.record):
            file.unlink(missing_ok=True)

    def _left(self) -> Iterator[Path]:
        """Files that a killed process left: incomplete ones, and those about the processes."""
        yield from process_files(self.path)
        whole = {path.name for path in (*self.files, self.record)}
        for path in self.path.glob(".*.partial"):
            if _whole_name(path) in whole:
                yield path
        for folder in (*self.folders, *self.late_folders):
            yield from (path for path in folder.glob(".*.partial") if _whole_name(path).endswith(_SUFFIXES))

    def _check_place(self) -> None:
        """Refuse a path at which the directory could not be written."""
        try:
            nearest = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        except OSError as error:
            raise cannot_write(self.path, error) from None
        if not nearest.is_dir():
            raise InputError(f"{nearest} is a file; {self.elsewhere}")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(f"{nearest} is not writable; {self.elsewhere}")

    def _foreign(self) -> Iterator[Path]:
        """Entries of the directory that a killed process cannot have left before it wrote its record."""
        for path in self.path.iterdir():
            if path in (*self.folders, *self.late_folders) and path.is_dir():
                yield from (below for below in path.iterdir() if not _is_partial(below))
            elif path != self.lock.path and not _is_partial(path):
                yield path


class PicturedDirectory(JobDirectory):
    """A directory with pictures."""

    figures: Path
    """The folder of the pictures."""

    def write_figure(self, name: str, data: bytes) -> None:
        """Write one picture.

        Args:
            name: File name.
            data: Content of the file.
        """
        write_whole(self.figures / name, data)


_SUFFIXES = (".safetensors", ".json", ".png", ".pdf", ".zip", ".parquet")


def _is_partial(path: Path) -> bool:
    """Whether a file may be an incomplete file that a killed process left."""
    return path.name.startswith(".") and path.suffix == ".partial"


def _whole_name(partial: Path) -> str:
    """Name that an incomplete file would have had in the end.

    Example:
        >>> _whole_name(Path("maps/.cat.safetensors.partial"))
        'cat.safetensors'
    """
    return partial.name.removeprefix(".").removesuffix(".partial")


def first_difference(before: Any, now: Any, name: str = "") -> str | None:
    """The first setting that differs, as ``name was a, is b``; ``None`` if all are equal.

    Args:
        before: Settings of a record: plain nested values.
        now: Present settings.
        name: Name of these settings, if they are a part of all settings.
    """
    if name in _FOREIGN and before != now:
        return _foreign_difference(name, before or {}, now or {})
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
    if before == now or (before != before and now != now):  # NaN, as a setting, is no other than NaN
        return None
    old_text, new_text = _excerpts(str(before), str(now))
    return f"{name or 'all settings'} was {old_text}, is {new_text}"


def _foreign_difference(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The first difference between classes outside this package, in words, since a reader cannot compare digests."""
    one = next(key for key in [*now, *before] if before.get(key) != now.get(key))
    if name == "states":
        return f"{one} holds other attributes than before, beside its settings"
    if one not in before:
        return f"the record does not hold the source of {one}, as older versions did not"
    return f"the source of {one} has changed" if one in now else f"{one} is no longer used"


def _excerpts(one: str, two: str) -> tuple[str, str]:
    """Two texts, at most 60 characters of each, from shortly before the first character that differs.

    Example:
        >>> _excerpts("a" * 80 + "b", "a" * 80 + "c")
        ('...aaaaaaaaaaaaaaaaaaaab', '...aaaaaaaaaaaaaaaaaaaac')
    """
    pairs = enumerate(zip(one, two, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), min(len(one), len(two)))
    return _excerpt(one, same), _excerpt(two, same)


def _excerpt(text: str, same: int) -> str:
    start = max(0, same - 20) if same > 40 else 0
    text = ("..." if start else "") + text[start:]
    return text if len(text) <= 60 else f"{text[:57]}..."
