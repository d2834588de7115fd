"""A refusal is printed once, however many processes of a launcher find it.

Until the processes of a launcher meet, each of them does what the first one does, so all of them find the same mistake.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

from lit_certattr.cli.program import spoken

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # in Lightning's order
_AT_LEAST = 30.0  # seconds
_BEGAN = time.monotonic()


def launched_rank() -> int:
    """Rank of this process among those of its launcher, or of the Trainer that has started it; 0 without any."""
    known = (os.environ[name] for name in _RANKS if name in os.environ)
    return next((int(rank) for rank in known if rank.isdecimal()), 0)


def has_met() -> bool:
    """Whether this process has met the others, and now does work of its own."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def refuse(program: str, line: str, together: bool = False) -> NoReturn:
    """Print why the command ends, and end it with status 2.

    A process other than the first gives the first one the time to say the same, in which a launcher ends it. So its
    line, which names its rank, stands there only if the first process goes on, or is left alone by its launcher.

    Args:
        program: Name of the command, e.g. ``"certify.py"``.
        line: What is wrong.
        together: Whether all processes are known to end with the same message; then the first one alone prints it.

    Raises:
        SystemExit: With status 2.
    """
    rank = launched_rank()
    if together and rank:
        raise SystemExit(2)
    of_a_trainer = "LOCAL_RANK" in os.environ and "RANK" not in os.environ  # started after the first had come so far
    if rank and not of_a_trainer and not has_met():
        _let_the_first_speak()
    sys.stderr.write(spoken(f"{program}: error: {f'process {rank}: ' if rank else ''}{line}\n"))
    raise SystemExit(2)


def _let_the_first_speak() -> None:
    """Wait as long again as this process needed to get here; a signal ends it without a word."""
    with suppress(ValueError):  # outside the main thread
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
    time.sleep(max(_AT_LEAST, time.monotonic() - _BEGAN))
