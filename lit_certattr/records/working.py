"""What each of several processes of a run has done: a small file for each, which is there while they work."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lit_certattr.files.untrusted import read_json
from lit_certattr.files.whole_file import write_whole
from lit_certattr.records.lock import Holder, may_run, this_process

_NAME = re.compile(r"\.{1,2}process-\d{1,4}\.json(\.partial)?")
_LONGEST = 4096  # bytes of such a file
_MOST = 10_000  # processes
_PATIENCE = 1.0  # seconds between two writings


class Working(NamedTuple):
    """A process of a run, and what it has done since the latest start.

    Attributes:
        rank: Its rank.
        holder: The process.
        images: Number of images that it has certified.
        rate: Images per second up to its latest image; ``None`` before the first one.
    """

    rank: int
    holder: Holder
    images: int
    rate: float | None


class ProcessFile:
    """The file of this process, which tells others how far it is.

    Args:
        folder: The directory of the run.
        rank: Rank of this process.
        first: The first process, which holds the lock of the directory: it tells the files of the present run from
            those of one that was killed.

    Example:
        >>> import tempfile
        >>> folder, first = Path(tempfile.mkdtemp()), this_process()
        >>> file = ProcessFile(folder, 1, first)
        >>> file.count(0)
        >>> [(one.rank, one.images) for one in working(folder, first, 2)], file.remove(), working(folder, first, 2)
        ([(1, 0)], None, [])
    """

    def __init__(self, folder: Path, rank: int, first: Holder) -> None:
        self.path = folder / f".process-{rank}.json"
        self._content: dict[str, Any] = {"first": first._asdict(), "process": this_process()._asdict()}
        self._since, self._images, self._written = time.time(), 0, 0.0

    def count(self, images: int) -> None:
        """Add images that are certified; the file is written at most once per second.

        Args:
            images: Their number.
        """
        self._images += images
        if (now := time.monotonic()) - self._written < _PATIENCE and self._written:
            return
        self._written = now
        content = self._content | {"images": self._images, "seconds": time.time() - self._since}
        write_whole(self.path, json.dumps(content).encode(), lasting=False)

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


def working(folder: Path, first: Holder, processes: int) -> list[Working]:
    """The processes that work in a directory, by rank; those that tell nothing, or have ended, are left out.

    Args:
        folder: The directory of a run, whose files may be anybody's.
        first: The process that holds its lock.
        processes: Number of processes of the run.
    """
    found = (_read(folder / f".process-{rank}.json", rank, first) for rank in range(min(processes, _MOST)))
    return [one for one in found if one is not None]


def process_files(folder: Path) -> Iterator[Path]:
    """The files of processes in a directory, also those that a killed process has left, whole or not.

    Args:
        folder: The directory of a run.
    """
    return (path for path in folder.glob(".*process-*") if _NAME.fullmatch(path.name) and not path.is_dir())


def _read(path: Path, rank: int, first: Holder) -> Working | None:
    """What the file of a process says; ``None`` if it is none of the present run, or damaged."""
    try:
        content = read_json(path, _LONGEST)
        process, images, seconds = Holder(**content["process"]), content["images"], content["seconds"]
        if content["first"] != first._asdict():
            return None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    told = type(process.pid) is int and type(process.host) is str and type(process.started) in (str, type(None))
    if not told or type(images) is not int or images < 0 or type(seconds) is not float or process.pid < 1:
        return None
    if not may_run(process):
        return None
    return Working(rank, process, images, images / seconds if images and seconds > 0 else None)
