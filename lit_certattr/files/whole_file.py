"""Files that appear whole or not at all, and one line about one that cannot be written."""

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
"""What helps against an error of the system, by its number."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, and is still there after a power failure.

    Args:
        path: The file; what is there is replaced.
        data: Its content.

    Raises:
        InputError: If it cannot be written (no space, no permission), naming the remedy; then nothing has changed.
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
    """What to raise where something cannot be written.

    Args:
        path: What should be written.
        error: What the system said.
    """
    reason = getattr(error, "strerror", None) or str(error)
    remedy = REMEDIES.get(getattr(error, "errno", None) or 0, "choose a directory that can be written")
    return InputError(f"{path} cannot be written: {reason}; {remedy}")
