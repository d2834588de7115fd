"""A lock, so that only one process at a time writes to a directory."""

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import cannot_write

_LONGEST = 4096  # bytes of a lock file


class Holder(NamedTuple):
    """The process that holds a lock.

    Attributes:
        pid: Its process id.
        host: Name of its machine.
        started: Start time in the kernel's ticks; it distinguishes processes with the same id, since ids are used
            again. ``None`` if the system does not provide it.
    """

    pid: int
    host: str
    started: str | None


class DirectoryLock:
    """The file ``.lock`` of a directory, which names the one process that writes there.

    If a killed process left its lock, the lock is recognised as abandoned (the process has ended, or its id belongs to
    another one) and taken. Only the first process of a Trainer takes the lock.

    Args:
        folder: The directory; :meth:`take` creates it.

    Example:
        >>> import tempfile
        >>> lock = DirectoryLock(Path(tempfile.mkdtemp()) / "run")
        >>> lock.take()
        >>> lock.path.exists(), lock.release(), lock.path.exists()
        (True, None, False)
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"

    def check(self) -> None:
        """Refuse a directory to which another process writes.

        Raises:
            InputError: If there is such a process; the message names it and its machine.
        """
        with suppress(FileNotFoundError, NotADirectoryError), self._opened(os.O_RDONLY) as file:
            self._refuse(_holder(file))

    def holder(self) -> Holder | None:
        """The process that writes to the directory, as far as is known; ``None`` if there is none, or it has ended."""
        with suppress(OSError, InputError), self._opened(os.O_RDONLY) as file:
            found = _holder(file)
            return found if found is not None and may_run(found) else None
        return None

    def take(self) -> None:
        """Take the lock, and create the directory if it does not exist.

        Raises:
            InputError: If another process holds the lock, or the directory is not writable.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._guarded() as file:
                self._refuse(_holder(file))
                try:
                    os.ftruncate(file, 0)
                    os.pwrite(file, json.dumps(this_process()._asdict()).encode(), 0)
                    os.fsync(file)
                except OSError:
                    self.path.unlink()  # it names nobody
                    raise
        except OSError as error:
            raise cannot_write(self.path.parent, error) from None

    def release(self) -> None:
        """Release the lock, if this process holds it."""
        with suppress(OSError), self._opened(os.O_RDONLY) as file:
            if _holder(file) == this_process():
                self.path.unlink()

    def _refuse(self, holder: Holder | None) -> None:
        if holder is None or holder == this_process() or not may_run(holder):
            return
        elsewhere = "" if holder.host == socket.gethostname() else f"; if that process is gone, delete {self.path}"
        raise InputError(
            f"{self.path.parent} is in use by process {holder.pid} on {holder.host}; wait until it has ended{elsewhere}"
        )

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        # The directory may be anybody's: a link, a pipe or a device of that name is not opened.
        file = os.open(self.path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise InputError(f"{self.path} is no regular file; delete it")
            yield file
        finally:
            os.close(file)

    @contextmanager
    def _guarded(self) -> Iterator[int]:
        """The file, opened so that no two processes find the same lock abandoned and take it."""
        while True:
            with self._opened(os.O_RDWR | os.O_CREAT) as file:
                _wait_for(file)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file), self.path.lstat()):  # not released while we waited
                        yield file
                        return


def _wait_for(file: int) -> None:
    """Wait until no other process looks at the file; until it is closed no other one will."""
    try:
        import fcntl
    except ImportError:  # not a Unix
        return
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX)


def this_process() -> Holder:
    """The present process, as a lock names it."""
    return Holder(os.getpid(), socket.gethostname(), _started(os.getpid()))


def _holder(file: int) -> Holder | None:
    """The process that a lock file names; ``None`` if the file is incomplete or not a lock of this package."""
    try:
        content = json.loads(os.pread(file, _LONGEST, 0))
        pid, host, started = content["pid"], content["host"], content["started"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if type(pid) is not int or pid < 1 or type(host) is not str or type(started) not in (str, type(None)):
        return None
    return Holder(pid, host, started)


def may_run(holder: Holder) -> bool:
    """Whether a process may still be running; always true for another machine, about which nothing is known.

    Args:
        holder: The process.
    """
    if holder.host != socket.gethostname():
        return True
    if holder.started is not None:
        return _started(holder.pid) == holder.started
    try:
        os.kill(holder.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str | None:
    """Start time of a process, in ticks since the machine started; ``None`` if it has ended, or without ``/proc``."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
