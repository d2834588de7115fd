"""SIGTERM, Ctrl+C and a closed terminal end a command properly; its last line says how to resume."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from lightning.pytorch.utilities import rank_zero_only

from lit_certattr.cli.program import spoken

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
QUEUE_SIGNALS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""What queues send before the time of a job ends."""
_SAME = 1.0  # seconds: timeout(1) sends its signal to the process and again to its group


class Stopped(SystemExit):
    """The command was ended by a signal.

    The exit status is 128 plus the number of the signal, as in a shell: 130 for SIGINT, 143 for SIGTERM.

    Args:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)


@contextmanager
def stop_on_signals(program: str, advice: Callable[[], str], also: Sequence[int] = ()) -> Iterator[None]:
    """End the block properly after a first signal, and the process at once after a second one.

    The first signal raises :class:`Stopped` in the main thread, so that ``finally`` clauses and ``on_exception`` of
    callbacks run. The Trainer calls this handler after its own, which sends the signal to the other processes.
    Whatever exception leaves the block after a signal, the exit status belongs to the signal, and stderr gets the line
    ``program: stopped by SIGTERM. `` with the advice.

    Use it inside :func:`lit_certattr.cli.errors.one_line_errors`. It does nothing outside the main thread, where Python
    allows no handlers.

    Args:
        program: Name of the command, e.g. ``"train.py"``.
        advice: Called after the signal; returns one line that says what is kept and which command resumes.
        also: Further signals that end the block, such as :data:`QUEUE_SIGNALS`.

    Raises:
        SystemExit: With 128 plus the number of the signal.

    Example:
        >>> with stop_on_signals("train.py", lambda: "Nothing was written."):  # doctest: +SKIP
        ...     signal.raise_signal(signal.SIGTERM)
        train.py: stopped by SIGTERM. Nothing was written.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    first, owner = 0.0, os.getpid()

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal first
        forked = os.getpid() != owner  # a worker, which its parent ends with SIGTERM
        if forked or received:
            if signum != signal.SIGINT if forked else time.monotonic() - first > _SAME:
                signal.signal(signum, signal.SIG_DFL)
                signal.raise_signal(signum)
            return
        received.append(signum)
        first = time.monotonic()
        trainers = signal.getsignal(signal.SIGTERM)
        if signum != signal.SIGTERM and trainers is not stop and callable(trainers):
            trainers(signal.SIGTERM, frame)  # a Trainer passes only SIGTERM on to its other processes
        raise Stopped(signum)

    before = {signum: signal.getsignal(signum) for signum in (*_SIGNALS, *also)}
    for signum in before:
        if signum in (signal.SIGINT, signal.SIGTERM) or before[signum] is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(signum, stop)
    try:
        yield
    except BaseException:
        if not received:
            raise
        if getattr(rank_zero_only, "rank", 0) == 0:
            line = f"{program}: stopped by {signal.Signals(received[0]).name}. {advice()}\n"
            sys.stderr.write(spoken(line))
        raise Stopped(received[0]) from None
    finally:
        for signum, handler in before.items():
            if handler is not None:
                signal.signal(signum, handler)
