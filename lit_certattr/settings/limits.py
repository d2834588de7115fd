"""Numbers of threads and processes that a machine can start."""

import os

from lit_certattr.errors import InputError

_MOST, _PER_CORE = 256, 4


def check_count(name: str, count: int) -> None:
    """Refuse more threads or processes than a machine can start: many of them end the process without a word.

    As many as another machine has are allowed, since their number is part of the settings that decide the bits.

    Args:
        name: The setting.
        count: Its value.

    Raises:
        InputError: If it is above 256 and above four per core.

    Example:
        >>> check_count("trainer.threads", 8)
    """
    most = max(_MOST, _PER_CORE * (os.cpu_count() or 1))
    if count > most:
        raise InputError(f"{name} must be at most {most} on this machine, got {count}")
