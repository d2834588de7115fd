"""Memory of the host that is freed and asked for again, pass after pass."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for this process, where it can be asked (glibc).

    The activations of a batch are hundreds of megabytes, which glibc returns to the system after each pass and asks
    for again in the next; every page of them is then cleared anew. Keeping them makes passes on a CPU several percent
    faster (``docs/performance.md``). The process keeps its peak of memory until it ends. ``certify.py`` and
    ``train.py`` call this; in a process of your own call it before the first pass.

    Returns:
        Whether the C library could be asked.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    # No trimming; no mapping of its own for a large allocation, which would be returned when it is freed.
    return mallopt is not None and bool(mallopt(_TRIM_THRESHOLD, -1)) and bool(mallopt(_MMAP_MAX, 0))
