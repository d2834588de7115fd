"""Host memory that each pass allocates and frees again."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for this process, if it is glibc.

    The activations of a batch are hundreds of megabytes, which glibc returns to the system after each pass and
    allocates again in the next; the system then clears every page again. Keeping them makes passes on a CPU several
    percent faster (``docs/performance.md``). The process keeps its peak memory until it ends. ``certify.py`` and
    ``train.py`` call this; in a process of your own, call it before the first pass.

    Returns:
        Whether the C library supports this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    # No trimming; no mapping of its own for a large allocation, which would be returned when it is freed.
    return mallopt is not None and bool(mallopt(_TRIM_THRESHOLD, -1)) and bool(mallopt(_MMAP_MAX, 0))
