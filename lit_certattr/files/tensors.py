"""The content of a safetensors file that is in memory, e.g. a member of a ZIP: reading and writing it."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from lit_certattr.files.untrusted import MAX_TEXT, without_doubles

_TYPES = (
    (torch.bool, "BOOL"),
    (torch.uint8, "U8"),
    (torch.int8, "I8"),
    (torch.float8_e5m2, "F8_E5M2"),
    (torch.float8_e4m3fn, "F8_E4M3"),
    (torch.int16, "I16"),
    (torch.uint16, "U16"),
    (torch.float16, "F16"),
    (torch.bfloat16, "BF16"),
    (torch.int32, "I32"),
    (torch.uint32, "U32"),
    (torch.float32, "F32"),
    (torch.complex64, "C64"),
    (torch.float64, "F64"),
    (torch.int64, "I64"),
    (torch.uint64, "U64"),
)
_NAMES = dict(_TYPES)
_NOT_OF_NUMPY = (torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn)
_RANKS = {dtype: -rank for rank, (dtype, _) in enumerate(_TYPES)}  # the widest come first, so that all are aligned


def tensors_of(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The words in the header of a safetensors file, and its tensors.

    Args:
        data: The bytes of the file.

    Raises:
        Exception: One of :data:`~lit_certattr.files.untrusted.DAMAGE`, if these are no bytes of such a file.
    """
    length = int.from_bytes(data[:8], "little")
    if length > MAX_TEXT:
        raise ValueError(f"announces a header of {length:,} bytes, more than the {MAX_TEXT:,} allowed")
    tensors = load(data)  # the library checks the header
    header = json.loads(data[8 : 8 + length], object_pairs_hook=without_doubles)
    return dict(header.get("__metadata__") or {}), tensors


def bytes_of(tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file, those that ``safetensors.torch.save`` gives, for a fraction of its time.

    The library looks at each tensor for longer than it takes to write a small one, which counts where a run has many
    thousand images.

    Args:
        tensors: Tensors by name.
        words: Words in the header by key.

    Raises:
        KeyError: If the format has no name for the type of a tensor.
    """
    header: dict[str, Any] = {"__metadata__": dict(words)}
    parts, place = [], 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (_RANKS[item[1].dtype], item[0])):
        part = raw(tensor)
        end = place + part.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        parts.append(part)
        place = end
    start = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    start += b" " * (-len(start) % 8)
    return b"".join((len(start).to_bytes(8, "little"), start, *parts))


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a tensor in memory, row by row; no copy of those of a contiguous one on the CPU.

    Args:
        tensor: A tensor.
    """
    known = tensor.reshape(-1).view(torch.uint8) if tensor.dtype in _NOT_OF_NUMPY else tensor
    # NumPy takes a fraction of the time that PyTorch takes to look at a small tensor.
    return np.ascontiguousarray(known.numpy(force=True)).reshape(-1).view(np.uint8).data
