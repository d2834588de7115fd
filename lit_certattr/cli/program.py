"""How commands call themselves: ``certify.py`` in a checkout, ``lit-certattr certify`` where it is installed."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

INSTALLED = "lit-certattr"
"""Name of the command that comes with the package."""

_SCRIPTS = {f"{name}.py": f"{INSTALLED} {name}" for name in ("certify", "train")}
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
        text: A text that names ``certify.py`` and ``train.py``.
    """
    for script, command in _SCRIPTS.items() if _installed.get() else ():
        text = text.replace(f"python {script}", command).replace(script, command)
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
