"""Files that somebody else may have made: their type and size are checked before anything is parsed.

Reading a pipe would block, a device never ends, an alias in YAML expands a kilobyte into gigabytes, and a header can
announce more bytes than the machine has. Such files are refused in one line, with bounded memory and time.
"""

import json
import os
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from typing_extensions import override

from lit_certattr.errors import InputError

MAX_TEXT = 4 * 2**20
"""Largest size in bytes of a JSON or YAML file, or of the header of a safetensors file; usual are some kilobytes."""
MAX_TENSORS = 2**30
"""Largest size in bytes of a safetensors file."""
MAX_SCALAR = 4096
"""Largest number of characters of one value in a YAML file."""
_MARGIN = 2**16

DAMAGE = (
    SafetensorError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OSError,
    RecursionError,
    MemoryError,
    RuntimeError,  # of torch, for a type or a shape that it does not have
)
"""Exceptions that reading a damaged or manipulated safetensors file can raise."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(mode: int) -> str | None:
    """The type of a path that is no ordinary file, in words; ``None`` for an ordinary file.

    Args:
        mode: The path's ``os.stat_result.st_mode``.

    Example:
        >>> kind_of(Path("/").stat().st_mode)
        'a directory'
    """
    return next((name for test, name in _KINDS if test(mode)), None)


def check_file(path: Path, limit: int) -> None:
    """Refuse a path that is no ordinary file, or too large; the file is not opened.

    Args:
        path: The file; a link is followed.
        limit: Largest size in bytes.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If it is no ordinary file or too large; the message says what it is, or its size.
    """
    status = path.stat()
    if (kind := kind_of(status.st_mode)) is not None:
        raise InputError(f"{path}: is {kind}, not a file")
    if status.st_size > limit:
        raise InputError(f"{path}: has {status.st_size:,} bytes, more than the {limit:,} that such a file may have")


def read_whole(path: Path, limit: int) -> bytes:
    """The bytes of a file, after :func:`check_file`.

    Args:
        path: The file; a link is followed.
        limit: Largest size in bytes.
    """
    check_file(path, limit)
    with path.open("rb") as file:
        # To get memory for the limit takes longer than to read a small file; a file in /proc says that it is empty.
        return file.read(min(limit, os.fstat(file.fileno()).st_size + _MARGIN))


def check_tensors(path: Path) -> None:
    """Refuse a safetensors file whose size or header is too large; the library checks the rest.

    Args:
        path: The file; a link is followed.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file is no ordinary file, or it or its header is too large.
    """
    check_file(path, MAX_TENSORS)
    with path.open("rb") as file:
        announced = int.from_bytes(file.read(8), "little")
    if announced > MAX_TEXT:
        raise InputError(f"{path}: announces a header of {announced:,} bytes, more than the {MAX_TEXT:,} allowed")


def read_json(path: Path, limit: int = MAX_TEXT) -> Any:
    """The content of a JSON file.

    Args:
        path: The file; a link is followed.
        limit: Largest size in bytes.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is no JSON.
        InputError: If it has a key twice (readers differ in which one counts), is nested too deeply, no ordinary file,
            or too large.
    """
    try:
        return json.loads(read_whole(path, limit), object_pairs_hook=without_doubles)
    except _TwiceError as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None


class _TwiceError(ValueError):
    """A key that is there twice."""


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """What :func:`json.loads` makes of an object, if no key is there twice; its ``object_pairs_hook``.

    Args:
        pairs: Keys and values, in order.

    Raises:
        ValueError: If a key is there twice; readers differ in which one counts.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _TwiceError(f"has the key {_twice(key for key, _ in pairs)!r:.80} twice")
    return found


def _twice(keys: Iterable[Any]) -> Any:
    return next((key for key, count in Counter(keys).items() if count > 1), None)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, as plain values; aliases are refused, since this package writes none.

    Args:
        path: The file; a link is followed.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If it is no YAML, nested too deeply, holds an alias, a key twice or a value that is too long, is no
            ordinary file, or is too large.
    """
    try:
        return yaml.load(read_whole(path, MAX_TEXT), Loader=_PlainLoader)  # noqa: S506  (a safe loader)
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None


class _PlainLoader(yaml.SafeLoader):
    """The safe loader without aliases, keys that are there twice, and very long values."""

    @override
    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("holds an alias")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR:
            raise yaml.YAMLError(f"holds a value of more than {MAX_SCALAR:,} characters")
        return super().compose_node(parent, index)

    @override
    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        twice = _twice(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice is not None:
            raise yaml.YAMLError(f"has the key {twice!r:.80} twice")
        return node
