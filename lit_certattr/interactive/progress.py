"""A progress bar with the time left, in a terminal and in a notebook."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_QUIET = 1.0
"""Seconds before a bar appears: short work needs none."""


@contextmanager
def sampling_bar(total: int, shown: bool = True) -> Iterator[Callable[[int], None] | None]:
    """A bar that counts samples; it disappears at the end.

    Where the output is neither a terminal nor a notebook there is no bar.

    Args:
        total: Number of samples.
        shown: Whether there is a bar at all.

    Yields:
        A function to call with the number of samples of each finished block; ``None`` without a bar.
    """
    if not shown or not (_in_notebook() or _in_terminal()):
        yield None
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")  # a bar of text will do
        from tqdm.auto import tqdm

    with tqdm(total=total, desc="certifying", unit="sample", delay=_QUIET, leave=False, dynamic_ncols=True) as bar:
        yield lambda samples: bar.update(samples) and None


def _in_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()  # a program without a console has no stderr


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules
