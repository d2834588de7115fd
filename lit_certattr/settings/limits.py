"""Numbers of threads and processes that a machine can start."""

import os

from lit_certattr.errors import InputError

_MOST, _PER_CORE = 256, 4
_MOST_PROCESSES = 16


def check_processes(name: str, count: int) -> None:
    """Refuse more processes than a machine can hold, each of which imports all libraries (hundreds of megabytes).

    Args:
        name: Name of the setting.
        count: Its value.

    Raises:
        InputError: If it is below 1, or above 16 and above four per core.

    Example:
        >>> check_processes("trainer.devices", 2)
    """
    if count < 1:
        raise InputError(f"{name} must be at least 1 or auto, got {count}")
    _refuse_above(max(_MOST_PROCESSES, _PER_CORE * (os.cpu_count() or 1)), name, count)


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
    _refuse_above(max(_MOST, _PER_CORE * (os.cpu_count() or 1)), name, count)


def _refuse_above(most: int, name: str, count: int) -> None:
    if count > most:
        raise InputError(f"{name} must be at most {most} on this machine, got {count}")
