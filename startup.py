"""Signals before a command has begun: the imports take seconds, and end without a traceback.

Imported first by the scripts beside it; ``lit_certattr.cli.signals`` takes over when the command begins.
"""

import signal
import sys
from pathlib import Path
from types import FrameType

from lit_certattr.cli.refusing import launched_rank


def _stop(signum: int, frame: FrameType | None) -> None:
    if launched_rank() == 0:
        name = signal.Signals(signum).name
        sys.stderr.write(
            f"{Path(sys.argv[0]).name}: stopped by {name}. Nothing was begun; run the same command again.\n"
        )
    sys.exit(128 + signum)


for _signum in (signal.SIGINT, signal.SIGTERM):
    signal.signal(_signum, _stop)
