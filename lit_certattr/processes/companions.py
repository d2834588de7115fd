"""The processes that this one has started: if one dies, the command ends, with one line."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_SAID = 2  # status of a process that has said itself what was wrong, or leaves it to the first one
_TO_END = 5.0  # seconds
_BY_SIGNAL = {128 + number for number in (signal.SIGINT, signal.SIGTERM)} | {129}


def end_with(started: Sequence["subprocess.Popen[bytes]"], kept: str, last: Callable[[], None]) -> None:
    """End this process as soon as one of those that it has started dies; they would wait for each other for ever.

    This process may be anywhere, also in a computation of minutes, and a launcher would kill it without a word. So a
    thread says what has happened, ends the other processes, and ends this one with status 2. A process that a signal
    has ended properly is left to whoever sent the signal.

    Args:
        started: The processes, by their rank from 1 on.
        kept: What is kept, and how to go on; the end of the line.
        last: Called before this process ends, e.g. to release a lock.
    """
    first = threading.Lock()
    for rank, process in enumerate(started, start=1):
        threading.Thread(target=_watch, args=(rank, process, started, first, kept, last), daemon=True).start()


def _watch(
    rank: int,
    process: "subprocess.Popen[bytes]",
    started: Sequence["subprocess.Popen[bytes]"],
    first: threading.Lock,
    kept: str,
    last: Callable[[], None],
) -> None:
    status = process.wait()
    if status == 0 or status in _BY_SIGNAL or -status in (signal.SIGINT, signal.SIGTERM):
        return
    if not first.acquire(blocking=False):  # another one was first, and this one was ended with it
        return
    if status == _SAID:
        time.sleep(_TO_END)  # this process may be about to say itself why all of them end
    else:
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        line = f"process {rank} of {len(started) + 1} has ended ({how}); {kept}"
        sys.stderr.write(f"{Path(sys.argv[0]).name}: error: {line}\n")
        sys.stderr.flush()
    for other in started:
        if other.poll() is None:
            other.kill()
    last()
    os._exit(2)  # the main thread may be inside a computation, and would not hear of an exception
