"""Files that somebody else may have made: their kind and size are checked before anything is parsed.

A pipe would block, a device never ends, an alias of YAML unfolds a kilobyte into gigabytes, and a header can announce
more than the machine holds. Whatever cannot be an honest file is refused in one line, in bounded memory and time.
"""

import json
import stat
from pathlib import Path
from typing import Any

import yaml

from lit_certattr.errors import InputError

MAX_TEXT = 4 * 2**20
"""Bytes of a JSON or YAML file, or of the header of a file of tensors; honest ones hold some kilobytes."""
MAX_TENSORS = 2**30
"""Bytes of a file of tensors."""
MAX_SCALAR = 4096
"""Characters of one value in a YAML file."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(mode: int) -> str | None:
    """What a path is instead of a file, in words; ``None`` for an ordinary file.

    Args:
        mode: ``st_mode`` of its status.

    Example:
        >>> kind_of(Path("/").stat().st_mode)
        'a directory'
    """
    return next((name for test, name in _KINDS if test(mode)), None)


def check_file(path: Path, limit: int) -> None:
    """Refuse what is no ordinary file, and files that are too large; nothing is opened.

    Args:
        path: The file; a link is followed.
        limit: Largest size in bytes.

    Raises:
        FileNotFoundError: If there is none.
        InputError: Saying what it is, or how large.
    """
    status = path.stat()
    if (kind := kind_of(status.st_mode)) is not None:
        raise InputError(f"{path}: is {kind}, not a file")
    if status.st_size > limit:
        raise InputError(f"{path}: has {status.st_size:,} bytes, more than the {limit:,} that such a file may have")


def read_whole(path: Path, limit: int) -> bytes:
    """The bytes of a file; see :func:`check_file`."""
    check_file(path, limit)
    with path.open("rb") as file:
        return file.read(limit)


def check_tensors(path: Path) -> None:
    """Refuse a file whose size or header no honest safetensors file has; the library checks the rest.

    Raises:
        FileNotFoundError: If there is none.
        InputError: Saying what is wrong.
    """
    check_file(path, MAX_TENSORS)
    with path.open("rb") as file:
        announced = int.from_bytes(file.read(8), "little")
    if announced > MAX_TEXT:
        raise InputError(f"{path}: announces a header of {announced:,} bytes, more than the {MAX_TEXT:,} allowed")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no JSON, or nested too deeply.
        InputError: See :func:`check_file`.
    """
    try:
        return json.loads(read_whole(path, MAX_TEXT))
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, as plain values; aliases are refused, as nothing here writes any.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no YAML, nested too deeply, or holds an alias or an endless value.
        InputError: See :func:`check_file`.
    """
    try:
        return yaml.load(read_whole(path, MAX_TEXT), Loader=_PlainLoader)  # noqa: S506  (a safe loader)
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from None


class _PlainLoader(yaml.SafeLoader):
    """The safe loader without what unfolds or never ends."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """See :class:`yaml.composer.Composer`."""
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("holds an alias")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR:
            raise yaml.YAMLError(f"holds a value of more than {MAX_SCALAR:,} characters")
        return super().compose_node(parent, index)
