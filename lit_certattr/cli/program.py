"""How commands call themselves: ``certify.py`` in a checkout, ``lit-certattr certify`` where it is installed.

Texts of the commands name the scripts. All other texts, which are also read by users of the Python functions and stand
on pages, name the installed command, which works everywhere. :func:`spoken` makes of either what the user has called.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

INSTALLED = "lit-certattr"
"""Name of the command that comes with the package."""

_SCRIPTS = {f"{name}.py": f"{INSTALLED} {name}" for name in ("certify", "train")}
"""The scripts of a checkout, and the same commands of the installed package."""
_installed = ContextVar("installed", default=False)


@contextmanager
def as_installed() -> Iterator[None]:
    """Within the block, texts name the installed command in place of the scripts of a checkout.

    Example:
        >>> with as_installed():
        ...     spoken("certify.py run --help")
        'lit-certattr certify run --help'
    """
    token = _installed.set(True)
    try:
        yield
    finally:
        _installed.reset(token)


def spoken(text: str) -> str:
    """A text for the user, with the names of the commands as he calls them.

    Args:
        text: A text that names ``certify.py`` and ``train.py``, or ``lit-certattr certify`` and ``lit-certattr train``.

    Example:
        >>> spoken("lit-certattr certify run --help")
        'certify.py run --help'
    """
    for script, command in _SCRIPTS.items():
        if _installed.get():
            text = text.replace(f"python {script}", command).replace(script, command)
        else:
            text = text.replace(command, script)
    return text


def typed_again(script: str, arguments: Sequence[str]) -> str:
    """The command line that runs a command again.

    Args:
        script: Name of the script, ``"certify.py"`` or ``"train.py"``.
        arguments: Its arguments.
    """
    if _installed.get():
        return f"{_SCRIPTS[script]} {shlex.join(arguments)}"
    path = sys.argv[0] if sys.argv[0].endswith(script) else script
    return shlex.join(["python", path, *arguments])
