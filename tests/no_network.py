"""No test asks for another machine: connections and names are refused, except those of this machine.

Everything that the tests need is part of the repository or of a package. The hook sees all sockets of Python in this
process; processes that a test starts, and libraries that open sockets in C, are not seen.
"""

import socket
import sys
from typing import Any

_HERE = frozenset({"", "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname()})
_WATCHED = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")


class NetworkRefused(RuntimeError):
    """A test has asked for another machine; no ``OSError``, which clients take for a bad connection and try again."""


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _WATCHED:
        return
    asked = arguments[0] if event.startswith("socket.get") else arguments[1]
    if not isinstance(asked, tuple) and event in ("socket.connect", "socket.sendto"):
        return  # a socket of the file system
    host = asked[0] if isinstance(asked, tuple) else asked
    name = host.decode() if isinstance(host, bytes) else str("" if host is None else host)
    if name not in _HERE:
        raise NetworkRefused(f"{event}: tests need no network, but {name!r} was asked for")


def install() -> None:
    """Refuse other machines for the rest of this process; hooks of this kind cannot be taken back."""
    sys.addaudithook(_refuse)
