"""Writing files completely or not at all, and a one-line error if a file cannot be written."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from lit_certattr.errors import InputError

REMEDIES = {
    errno.ENOSPC: "free some space, then run the same command again to resume",
    errno.EDQUOT: "free some space, then run the same command again to resume",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), then run the same command again to resume",
    errno.EMFILE: "raise the limit on open files (ulimit -n), then run the same command again to resume",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""Remedy for an error of the operating system, by its number."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file completely or not at all; once written, it survives a power failure.

    Args:
        path: The file; an existing one is replaced.
        data: New content of the file.

    Raises:
        InputError: If it cannot be written (no space, no permission); an existing file is then unchanged, and the
            message names the remedy.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with suppress(OSError):
            partial.unlink()


def cannot_write(path: Path, error: OSError | ValueError) -> InputError:
    """The error to raise if a file or directory cannot be written.

    Args:
        path: The file or directory.
        error: The error of the operating system.
    """
    reason = getattr(error, "strerror", None) or str(error)
    remedy = REMEDIES.get(getattr(error, "errno", None) or 0, "choose a directory that can be written")
    return InputError(f"{path} cannot be written: {reason}; {remedy}")
