"""Writing files completely or not at all, and a one-line error if a file cannot be written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lit_certattr.errors import InputError

AGAIN = ", then run the same command again to resume"
"""End of the remedies after which a job goes on where it was stopped."""
REMEDIES = {
    errno.ENOSPC: f"free some space{AGAIN}",
    errno.EDQUOT: f"free some space{AGAIN}",
    errno.EFBIG: f"raise the limit on the size of files (ulimit -f){AGAIN}",
    errno.EMFILE: f"raise the limit on open files (ulimit -n){AGAIN}",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""Remedy for an error of the operating system, by its number."""


def write_whole(path: Path, data: bytes, lasting: bool = True) -> None:
    """Write a file completely or not at all; once written, it survives a power failure.

    Args:
        path: The file; an existing one is replaced.
        data: New content of the file.
        lasting: Whether to wait until the disk has it. Without, it survives the end of the process, but a power failure
            soon afterwards may leave it damaged: only for files whose readers recognise damage.

    Raises:
        InputError: If it cannot be written (no space, no permission); an existing file is then unchanged, and the
            message names the remedy.
    """
    with _replacing(path, lasting) as partial:
        partial.write_bytes(data)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file to write piece by piece; it appears when the block ends without an error, or not at all.

    Args:
        path: The file; an existing one is replaced.

    Raises:
        InputError: As for :func:`write_whole`.
    """
    with _replacing(path) as partial, partial.open("wb") as file:
        yield file


@contextmanager
def _replacing(path: Path, lasting: bool = True) -> Iterator[Path]:
    """The file to write in the block, which then takes the place of the other one."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        if lasting:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from None
        raise


def cannot_write(path: Path, error: OSError | ValueError) -> InputError:
    """The error to raise if a file or directory cannot be written.

    Args:
        path: The file or directory.
        error: The error of the operating system.
    """
    reason = getattr(error, "strerror", None) or str(error)
    remedy = REMEDIES.get(getattr(error, "errno", None) or 0, "choose a directory that can be written")
    return InputError(f"{path} cannot be written: {reason}; {remedy}")
