"""A disk with a fault: a chosen change of the files of a process fails, or is the last thing that the process does.

Changes are counted where Python asks the system for them: a file is opened to be written, bytes are written, the disk
is waited for, something gets another name, is made or deleted. Only what lies below a folder counts, so that a number
means the same change in every process that does the same. What a library in C writes by itself is not seen.
"""

import builtins
import errno
import hashlib
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

_MAKES = os.O_CREAT | os.O_TRUNC


class Change(NamedTuple):
    """A change that is about to be made.

    Attributes:
        number: Its number, from 1.
        frees: Whether it takes no space.
        half: Makes half of it, if it is a write.
    """

    number: int
    frees: bool
    half: Callable[[], object]


@dataclass(frozen=True)
class Killed:
    """The process is killed in place of a change; half of a write is done.

    Attributes:
        at: Number of the change.
    """

    at: int

    def __call__(self, change: Change) -> None:
        """Kill the process, if it is that change."""
        if change.number == self.at:
            change.half()
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Full:
    """No space is left for a change and all after it; half of a write is done.

    Attributes:
        at: Number of the first change that fails.
    """

    at: int

    def __call__(self, change: Change) -> None:
        """Fail, if it is that change or a later one that takes space."""
        if change.number >= self.at and not change.frees:
            change.half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Disk:
    """The changes below a folder so far.

    Args:
        folder: The folder.
        fault: Is told of each change before it is made, and may prevent it.

    Attributes:
        changes: Their number.
        whole: SHA-256 of each file that got its name from another one, so that it appeared whole.
    """

    def __init__(self, folder: Path, fault: Callable[[Change], None] | None = None) -> None:
        self.folder, self.fault = folder.resolve(), fault
        self.changes = 0
        self.whole: set[str] = set()

    def change(self, frees: bool = False, half: Callable[[], object] = lambda: None) -> None:
        """Count a change that is about to be made."""
        self.changes += 1
        if self.fault is not None:
            self.fault(Change(self.changes, frees, half))

    def holds(self, place: Any) -> bool:
        """Whether a path, or an open file, lies below the folder."""
        if isinstance(place, int):
            try:
                place = Path(f"/proc/self/fd/{place}").readlink()
            except OSError:  # no such file, or a system without /proc
                return False
        return Path(os.fsdecode(place)).absolute().is_relative_to(self.folder)


@contextmanager
def faulty(disk: Disk) -> Iterator[None]:
    """Within the block, what this process changes below the folder of the disk is counted, and may fail.

    Args:
        disk: The disk.
    """
    before, plain = {name: getattr(os, name) for name in _CALLS}, io.open

    def counted(name: str, frees: bool) -> Callable[..., Any]:
        def call(place: Any, *args: Any, **kwargs: Any) -> Any:
            if "dir_fd" not in kwargs and disk.holds(place) and (name != "open" or args[0] & _MAKES):
                disk.change(frees)
                if name in ("replace", "rename") and Path(place).is_file():
                    disk.whole.add(hashlib.sha256(Path(place).read_bytes()).hexdigest())
            return before[name](place, *args, **kwargs)

        return call

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set("wxa") or not disk.holds(file):
            return plain(file, mode, *args, **kwargs)
        disk.change()
        buffered = io.BufferedWriter(_File(disk, file, mode.replace("b", "").replace("t", "")))
        if "b" in mode:
            return buffered
        words = dict(zip(("buffering", "encoding", "errors", "newline"), args, strict=False)) | kwargs
        words.pop("buffering", None)
        return io.TextIOWrapper(buffered, **words)

    with ExitStack() as patches:
        for name, frees in _CALLS.items():
            patches.enter_context(mock.patch.object(os, name, counted(name, frees)))
        for module in (io, builtins):
            patches.enter_context(mock.patch.object(module, "open", opened))
        yield


class _File(io.FileIO):
    """A file whose writes count."""

    def __init__(self, disk: Disk, file: Any, mode: str) -> None:
        super().__init__(file, mode)
        self.disk = disk

    def write(self, data: Any) -> int:
        """Write, unless the disk prevents it."""
        view = memoryview(data).cast("B")
        self.disk.change(half=lambda: super(_File, self).write(view[: len(view) // 2]))
        return super().write(view)


_CALLS = {
    "open": False,
    "pwrite": False,
    "ftruncate": True,
    "fsync": False,
    "replace": False,
    "rename": False,
    "mkdir": False,
    "unlink": True,
    "remove": True,
    "rmdir": True,
}
"""Calls of the system that change files, and whether they take no space."""
