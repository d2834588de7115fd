"""Numbers of threads and processes that a machine can start."""

import os

from lit_certattr.errors import InputError

_MOST, _PER_CORE = 256, 4


def check_count(name: str, count: int) -> None:
    """Refuse more threads or processes than a machine can start: too many end the process without a message.

    Numbers above the number of cores are allowed, since the number of threads affects the bits of a result.

    Args:
        name: Name of the setting.
        count: Its value.

    Raises:
        InputError: If it is above 256 and above four per core.

    Example:
        >>> check_count("trainer.threads", 8)
    """
    most = max(_MOST, _PER_CORE * (os.cpu_count() or 1))
    if count > most:
        raise InputError(f"{name} must be at most {most} on this machine, got {count}")
