"""Where the words of a command go, and what it does when nobody reads them any more."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_UNREAD = 141
"""128 plus the number of SIGPIPE: the status that a shell gives to ``git log`` in ``git log | head``."""


@contextmanager
def somewhere_to_write() -> Iterator[None]:
    """Let output go nowhere if the program was started without it (``>&-``, some daemons)."""
    with ExitStack() as stack:
        for name, redirect in (("stdout", redirect_stdout), ("stderr", redirect_stderr)):
            if getattr(sys, name) is None:
                stack.enter_context(redirect(stack.enter_context(Path(os.devnull).open("w"))))
        yield


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """End the command quietly if the reader of its output is gone, as in ``lit-certattr configs list | head``.

    A broken pipe to anything else, such as a worker, is an error like any other.

    Raises:
        SystemExit: With status 141 if something could not be written because its reader is gone.
    """
    try:
        yield
    except BrokenPipeError:
        if not _unread():
            raise
        raise SystemExit(_UNREAD) from None
    finally:
        _unread()  # what is still buffered would fail when the interpreter ends, with a traceback


def _unread() -> bool:
    """Whether the reader of stdout or stderr is gone; what else is written there goes nowhere."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _is_unread(stream)]
    for stream in gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return bool(gone)


def _is_unread(stream: TextIO) -> bool:
    try:
        stream.flush()
        watch = select.poll()  # a failed write may leave nothing to flush
        watch.register(stream.fileno(), 0)
        return bool(watch.poll(0))  # only errors and the end of a pipe are reported for no events
    except BrokenPipeError:
        return True
    except (AttributeError, OSError, ValueError):  # no such call on this system, or a stream without a file
        return False


def on_stdout(**settings: Any) -> "Console":
    """Rich's console on stdout. It breaks no line by itself, and leaves a broken pipe to :func:`reader_may_leave`.

    Args:
        **settings: Settings of the console.
    """
    from rich.console import Console  # here, because some commands answer without it

    class OnStdout(Console):
        def on_broken_pipe(self) -> None:
            raise

    return OnStdout(**{"file": sys.stdout, "highlight": False, "soft_wrap": True, **settings})
