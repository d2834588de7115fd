"""What all directories have in common that a job fills file by file, and from which a stopped job resumes."""

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

_FOREIGN = ("sources", "states")
"""Settings of :func:`~lit_certattr.settings.foreign.foreign_identity`."""


class JobDirectory(ABC):
    """A directory of files that appear whole or not at all; one of them, the record, holds the settings.

    The record is written first and deleted last. So whenever a process is killed, the directory holds nothing, or work
    of known settings that can be continued. Only files that a job wrote itself are ever deleted, see
    :meth:`own_files`; whatever else lies there stays.

    Args:
        path: The directory; ``~`` is the home directory. Made by :meth:`_start`, not before.

    Attributes:
        lock: To be held by the process that writes; see :class:`~lit_certattr.records.lock.DirectoryLock`.

    Raises:
        InputError: If the path is empty or cannot be printed.
    """

    kind: ClassVar[str]
    """What the directory holds: ``"a run"``."""
    elsewhere: ClassVar[str] = "choose another --output"
    """What a user can do about a place that cannot be used."""
    delete: ClassVar[str] = "choose another --output, or --overwrite=true to delete it"
    """What a user can do about a directory with other settings."""

    record: Path
    """The file with the settings."""
    folders: Sequence[Path]
    """The folders that are filled."""
    files: Sequence[Path]
    """The other files."""

    @property
    def a_kind(self) -> str:
        """What the directory holds, with its article."""
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
        """Ids of the images whose work is there and undamaged; the others are to be done (again)."""

    @abstractmethod
    def own_files(self) -> Collection[Path]:
        """The files in :attr:`folders` that a job wrote: their content says so, not their name alone."""

    def check(self, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        """Refuse a directory that holds something else, is in use, or cannot be made; writes nothing.

        Args:
            settings: Everything that decides the results, as plain nested values.
            overwrite: Allow work of other settings; opening the directory would delete it.

        Raises:
            InputError: If the directory holds work of other settings (the first that differs is named) or files that
                are not ours, another process writes there, or it cannot be written.
        """
        self._check_place()
        self.lock.check()
        if not self.path.exists():
            return
        if not self.record.exists():
            if any(self._foreign()):
                raise InputError(f"{self.path} is not empty and holds no {self.kind} of ours; {self.elsewhere}")
            return
        if overwrite:
            return
        difference = first_difference(self.stored_settings(), json.loads(json.dumps(settings)))
        if difference is not None:
            raise InputError(f"{self.path} holds {self.a_kind} with other settings ({difference}); {self.delete}")

    def _start(self, record: bytes, overwrite: bool) -> None:
        """Make the directory and write the record, after :meth:`check`.

        Args:
            record: Content of the file with the settings.
            overwrite: Delete what is there, but for files that are not ours.

        Raises:
            InputError: If something cannot be written or deleted.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if overwrite and self.record.exists():
                self.clear()
            for leftover in self._partials():
                leftover.unlink()
            write_whole(self.record, record)
            for folder in self.folders:
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def clear(self) -> None:
        """Delete what the job wrote, the record last; files that it did not write stay, and the folders they lie in.

        Raises:
            OSError: If something cannot be deleted; the record is still there then.
        """
        own = {*self.own_files(), *self._partials()}
        for folder in reversed(self.folders):  # what is drawn goes before that from which it is drawn
            if not folder.is_dir():
                continue
            if not folder.is_symlink() and own.issuperset(folder.iterdir()):
                shutil.rmtree(folder)
                continue
            for file in own.intersection(folder.iterdir()):
                file.unlink()
        for file in (*self.files, self.record):
            file.unlink(missing_ok=True)

    def _partials(self) -> Iterator[Path]:
        """Files of ours that a killed process was writing."""
        whole = {path.name for path in (*self.files, self.record)}
        for path in self.path.glob(".*.partial"):
            if _whole_name(path) in whole:
                yield path
        for folder in self.folders:
            yield from (path for path in folder.glob(".*.partial") if _whole_name(path).endswith(_SUFFIXES))

    def _check_place(self) -> None:
        """Find what would make the directory impossible to write."""
        try:
            nearest = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        except OSError as error:
            raise cannot_write(self.path, error) from None
        if not nearest.is_dir():
            raise InputError(f"{nearest} is a file; {self.elsewhere}")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(f"{nearest} may not be written; {self.elsewhere}")

    def _foreign(self) -> Iterator[Path]:
        """What lies in the directory and is not what a killed process may have left before its record."""
        for path in self.path.iterdir():
            if path in self.folders and path.is_dir():
                yield from (below for below in path.iterdir() if not _is_partial(below))
            elif path != self.lock.path and not _is_partial(path):
                yield path


_SUFFIXES = (".safetensors", ".json", ".png", ".pdf")


def _is_partial(path: Path) -> bool:
    """Whether a file may be one of ours that was being written."""
    return path.name.startswith(".") and path.suffix == ".partial"


def _whole_name(partial: Path) -> str:
    """Name of the file that was being written.

    Example:
        >>> _whole_name(Path("maps/.cat.safetensors.partial"))
        'cat.safetensors'
    """
    return partial.name.removeprefix(".").removesuffix(".partial")


def first_difference(before: Any, now: Any, name: str = "") -> str | None:
    """The first setting that differs, as ``name was a, is b``.

    Args:
        before: Settings of a record: plain nested values.
        now: Settings of today.
        name: What they are called, if they are a part of all settings.
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
    if before == now:
        return None
    old_text, new_text = _excerpts(str(before), str(now))
    return f"{name or 'all settings'} was {old_text}, is {new_text}"


def _foreign_difference(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What is not the same of classes outside this package, in words: digests say nothing to a reader."""
    one = next(key for key in [*now, *before] if before.get(key) != now.get(key))
    if name == "states":
        return f"{one} holds other attributes than before, beside its settings"
    if one not in before:
        return f"the record does not hold the source of {one}, as older versions did not"
    return f"the source of {one} has changed" if one in now else f"{one} is not used any more"


def _excerpts(one: str, two: str) -> tuple[str, str]:
    """Two texts, at most 60 letters of each, from shortly before the first letter that differs.

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
