"""Many small files in one uncompressed ZIP: each keeps its bytes, and any program that reads ZIPs finds it.

The layout is fixed, so that equal files give equal bytes: members one after another without gaps, without compression,
dates and comments. Such a ZIP may be anybody's: another layout is refused, nothing is extracted to disk, and no more is
read than one member.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import check_file, read_whole
from lit_certattr.files.whole_file import whole_file

MAX_MEMBERS = 4096
"""Largest number of members of one ZIP."""
_MAX_DIRECTORY = 2**20
_MAX_SIZE = 2**42
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can hold
_LOCAL = struct.Struct("<4s2B4HL2L2H")  # header in front of a member, before its name
_END, _END_64, _POINTER_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), 20
_UNREADABLE = (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OverflowError, EOFError, MemoryError)


class Member(NamedTuple):
    """Where a member of a ZIP lies.

    Attributes:
        start: Position of the header in front of it.
        size: Its number of bytes.
        crc: Its CRC-32.
    """

    start: int
    size: int
    crc: int


def write_packed(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a ZIP completely or not at all; its members are taken one at a time.

    Args:
        path: The ZIP; an existing one is replaced.
        members: Name and content of each member.

    Raises:
        InputError: If it cannot be written.
    """
    with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for name, content in members:
            about = zipfile.ZipInfo(name, _DATE)
            about.create_system, about.external_attr = 3, 0o644 << 16
            packed.writestr(about, content)


def members_of(path: Path) -> dict[str, Member]:
    """The members of a ZIP by name, in their order; their content is not read.

    Args:
        path: The ZIP; a link is followed.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If it is no ZIP that :func:`write_packed` can have written, or cut off.
    """
    check_file(path, _MAX_SIZE)
    status = path.stat()
    return dict(_members(path, status.st_mtime_ns, status.st_size))


def read_member(path: Path, name: str, limit: int) -> bytes:
    """The content of one member of a ZIP.

    Args:
        path: The ZIP; a link is followed.
        name: Name of the member.
        limit: Largest size in bytes.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If there is no such member, it is too large, or its checksum is another one.
    """
    check_file(path, _MAX_SIZE)
    status = path.stat()
    member = _members(path, status.st_mtime_ns, status.st_size).get(name)
    if member is None:
        raise InputError(f"{path}: holds no {name}")
    if member.size > limit:
        raise InputError(f"{path}: {name} has {member.size:,} bytes, more than the {limit:,} that it may have")
    with path.open("rb") as file:
        file.seek(member.start)
        signature, *_, length, more = _LOCAL.unpack(file.read(_LOCAL.size))
        known = signature == b"PK\3\4" and not more and file.read(length) == name.encode()
        content = file.read(member.size) if known else b""
    if not known or len(content) != member.size or zlib.crc32(content) != member.crc:
        raise InputError(f"{path}: {name} is damaged; its checksum differs from the recorded checksum")
    return content


def read_loose_or_packed(path: Path, limit: int) -> bytes:
    """The content of a file, or, if there is none, of the member of that name of a ZIP in its folder.

    Args:
        path: The file; a link is followed.
        limit: Largest size in bytes.

    Raises:
        FileNotFoundError: If neither exists.
        InputError: If it is no ordinary file, too large or damaged.
    """
    try:
        return read_whole(path, limit)
    except FileNotFoundError:
        for packed in sorted(path.parent.glob("[!.]*.zip")):
            if path.name.encode() in _tail(packed):  # which is cheaper than to read the whole directory of each
                return read_member(packed, path.name, limit)
        raise


def _tail(path: Path) -> bytes:
    check_file(path, _MAX_SIZE)
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MAX_DIRECTORY))
        return file.read(_MAX_DIRECTORY)


@lru_cache(maxsize=16)
def _members(path: Path, modified: int, size: int) -> dict[str, Member]:
    """The members of a ZIP; date and size are those of the file that is meant."""
    try:
        with path.open("rb") as file:
            _check_directory(file, size)
            with zipfile.ZipFile(file) as packed:
                return _in_order(packed)
    except _UNREADABLE as error:
        raise InputError(f"{path}: no ZIP of a run, or damaged ({' '.join(str(error).split())[:160]})") from None


def _check_directory(file: IO[bytes], size: int) -> None:
    """Refuse a directory that announces more than one of ours can have, before a byte of it is read."""
    file.seek(max(0, size - _END.size))
    signature, _, _, _, count, length, _, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\5\6" or comment:
        raise ValueError("it does not end as a ZIP")
    file.seek(max(0, size - _END.size - _POINTER_64 - _END_64.size))
    if (large := file.read(_END_64.size + 4))[-4:] == b"PK\6\7":  # of a file of more than 2 GiB
        *_, count, length, _ = _END_64.unpack(large[:-4])
    if count > MAX_MEMBERS or length > _MAX_DIRECTORY:
        raise ValueError(f"it announces {count:,} members in a directory of {length:,} bytes")


def _in_order(packed: zipfile.ZipFile) -> dict[str, Member]:
    """The members, if they lie one after another and are what we write."""
    found: dict[str, Member] = {}
    place = 0
    for one in packed.infolist():
        plain = one.compress_type == zipfile.ZIP_STORED and one.compress_size == one.file_size
        if not plain or one.flag_bits or one.comment or one.date_time != _DATE or not one.filename.isascii():
            raise ValueError(f"member {one.filename[:80]!r} is not as a run writes it")
        if one.header_offset != place or one.filename in found:
            raise ValueError(f"member {one.filename[:80]!r} is there twice, or not where the one before it ends")
        found[one.filename] = Member(place, one.file_size, one.CRC)
        place += _LOCAL.size + len(one.filename) + one.file_size
    if place != packed.start_dir or not found:
        raise ValueError("it holds bytes of no member, or no member at all")
    return found
