"""Reading a checkpoint file, which is untrusted input: nothing in it is executed, and its size is bounded."""

import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lit_certattr.errors import InputError
from lit_certattr.files.address import as_address

_NO_CHECKPOINT = "is not a PyTorch checkpoint"
_HEADER_LIMIT = 16 * 2**20
"""Largest header of a safetensors file in bytes; those of networks with 10,000 tensors need one or two million."""
_SMALL = 16 * 2**20
"""Bytes; an archive that unpacks to fewer is never refused as a decompression bomb."""

_TEXTS = (
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with 'git lfs pull'"),
    (b"<", "a web page; download the file itself, not the page that links to it"),
    (b"{", "a JSON file; give the file that holds the tensors"),
)
_BINARIES = (
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file (Keras); convert its weights to a state dict of PyTorch"),
    (b"\x93NUMPY", "a NumPy array; save a state dict of tensors"),
)


class _Beside:
    """Placeholder for an object that is often saved beside weights; it ignores its arguments, so it can do no harm."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_NUMPY_TYPES = (
    *("Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "LongLong", "ULongLong"),
    *("Float16", "Float32", "Float64", "Complex64", "Complex128", "Str", "Bytes"),
)
_HARMLESS: list[Any] = [
    (_Beside, name)
    for name in (
        *(f"numpy.{core}.multiarray.{what}" for core in ("core", "_core") for what in ("scalar", "_reconstruct")),
        "numpy.ndarray",
        "numpy.dtype",
        *(f"numpy.dtypes.{name}DType" for name in _NUMPY_TYPES),
        "argparse.Namespace",
    )
]


@contextmanager
def harmless_objects() -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` skip NumPy numbers and the arguments of a script.

    They are not built: an empty object takes their place, so no code of NumPy processes what a hostile file says.
    """
    with torch.serialization.safe_globals(_HARMLESS):
        yield


def stands_in(value: object) -> bool:
    """Whether a value of a checkpoint is the placeholder of a NumPy object (or a similar one), which is not read.

    Args:
        value: A value from :func:`read_checkpoint`.
    """
    return isinstance(value, _Beside)


def _why_no_file(path: Path) -> str:
    if path.is_dir():
        return "it is a folder; name the file in it"
    if path.exists():
        return "it is no ordinary file"
    if as_address(path) is not None:
        return "addresses are not downloaded; download the file, and give its path"
    training = path.parent.name == "checkpoints"
    return "there is no such file" + ("; a training writes it: lit-certattr train fit" if training else "")


def read_checkpoint(path: Path, network_bytes: int | None = None) -> Mapping[Any, Any]:
    """The top-level mapping of a checkpoint, read without executing anything; tensors are on the CPU.

    The type of the file is detected from its content, not from its suffix.

    Args:
        path: A file of ``torch.save`` or of safetensors.
        network_bytes: Size in bytes of the network that it is for; a file that is far larger is not read. ``None`` for
            no such limit.

    Raises:
        InputError: If the file is missing, damaged, too large or no checkpoint, or holds pickled objects.
    """
    try:
        if not path.is_file():
            raise InputError(f"checkpoint {as_address(path) or path}: {_why_no_file(path)}")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except PermissionError as error:
        raise InputError(f"checkpoint {path} cannot be read: permission denied; change its permissions") from error
    except OSError as error:
        raise InputError(f"checkpoint {path} cannot be read: {error.strerror}") from error
    _check_size(path, size, network_bytes)
    content = _load(path, size, head, network_bytes)
    if not isinstance(content, Mapping):
        raise InputError(f"checkpoint {path} holds a {type(content).__name__}, not a state dict")
    return content


def _load(path: Path, size: int, head: bytes, network_bytes: int | None) -> object:
    if _is_safetensors(path, size, head):
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} {_NO_CHECKPOINT}, or it is damaged ({_first_line(error)})") from error
    something_else = _something_else(head)
    if something_else:
        raise InputError(f"{path} {_NO_CHECKPOINT} but {something_else}")
    if head.startswith(b"PK"):
        _check_archive(path, size, network_bytes)
    try:
        # An open file: of a path torch.load would look at the suffix.
        with harmless_objects(), warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # deprecations of old formats: the file is there, its author is not
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden is None:
            raise InputError(f"{path} {_NO_CHECKPOINT}, or it is damaged") from error
        raise InputError(
            f"checkpoint {path} holds a pickled object ({forbidden[1]}) that could run code: not loaded; "
            "save the state dict alone. If you trust the file, do it once: torch.save(torch.load(FILE, "
            "weights_only=False)['state_dict'], NEW), or of a whole network torch.save(network.state_dict(), NEW)"
        ) from error
    except MemoryError as error:
        raise InputError(f"checkpoint {path} needs more memory than is available; it may be damaged") from error
    except Exception as error:  # a hostile or damaged file can make the reader stumble in any way
        if "legacy .tar format" in str(error):
            raise InputError(
                f"checkpoint {path} is in the tar format of PyTorch 0.1, which cannot be read safely; if you trust it, "
                "save it anew: torch.save(torch.load(FILE, weights_only=False), NEW)"
            ) from error
        raise InputError(f"{path} {_NO_CHECKPOINT}, or it is damaged") from error


def _something_else(head: bytes) -> str | None:
    """What the file is if it is no checkpoint, and what to do about it."""
    if not head:
        return "an empty file; copy or download it again"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, kind in _TEXTS:
        if text.startswith(start):
            return kind
    for start, kind in _BINARIES:
        if head.startswith(start):
            return kind
    return None


def _is_safetensors(path: Path, size: int, head: bytes) -> bool:
    """Whether the file begins with the length of a JSON header and the header."""
    if len(head) < 9 or head[8:9] != b"{":
        return False
    (length,) = struct.unpack("<Q", head[:8])
    if length > min(size - 8, _HEADER_LIMIT):
        raise InputError(
            f"{path} {_NO_CHECKPOINT}, or it is damaged (its header says {length:,} bytes; at most "
            f"{_HEADER_LIMIT:,} are read, and the file has {size:,})"
        )
    return True


def _check_size(path: Path, size: int, network_bytes: int | None) -> None:
    """Refuse to read or unpack a file that is far larger than the network."""
    if network_bytes is not None and size > max(32 * network_bytes, 16 * _SMALL):
        raise InputError(
            f"checkpoint {path} holds {_megabytes(size)}, but the network only {_megabytes(network_bytes)}: not read; "
            "is it the checkpoint of another network? Else save the network's state dict alone"
        )


def _check_archive(path: Path, size: int, network_bytes: int | None) -> None:
    """Look at the table of contents of a zip archive, before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise InputError(f"{path} {_NO_CHECKPOINT}, or it is damaged") from error
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") or name == "constants.pkl" for name in names):
        raise InputError(
            f"{path} is a TorchScript archive, which is a program; if you trust it, save its weights: "
            "torch.save(torch.jit.load(FILE).state_dict(), NEW)"
        )
    if not any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        first = ", ".join(names[:2] + ["..."] * (len(names) > 2)) or "nothing"
        raise InputError(
            f"{path} {_NO_CHECKPOINT} but a zip archive of {first}; unpack it first and name the checkpoint in it"
        )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max(4 * size, _SMALL):  # torch.save does not compress
        raise InputError(
            f"checkpoint {path} would unpack from {_megabytes(size)} to {_megabytes(unpacked)}, which no file of "
            "torch.save does: not read; save the state dict anew"
        )
    _check_size(path, unpacked, network_bytes)
    _check_sums(path, entries)


def _check_sums(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Compare the entries of an archive with their CRC-32, which ``torch.load`` does not: bits may have been lost."""
    for entry in entries:
        if not entry.CRC:  # torch.save has been told to compute none
            continue
        try:
            with zipfile.ZipFile(path) as archive, archive.open(entry) as stream:
                while stream.read(_SMALL):
                    pass
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise InputError(
                f"checkpoint {path} is damaged: the checksum of {entry.filename} in it is wrong; copy or download the "
                "file again"
            ) from error


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
