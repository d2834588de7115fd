"""Paths that begin with ``~``."""

from pathlib import Path


def at_home(path: str | Path) -> Path:
    """A path with the home directory in place of ``~``; unchanged where there is no such user or home.

    No shell puts it into ``--checkpoint=~/a.ckpt``, nor into a configuration.

    Args:
        path: Any path.

    Example:
        >>> at_home("a/~b").as_posix()
        'a/~b'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
