"""Digests of settings and of tensors."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lit_certattr.files.tensors import raw


def fingerprint(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, whatever the order of their keys.

    Args:
        settings: Plain nested values.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Digest of named tensors: of their types, shapes and bytes.

    Args:
        tensors: Tensors on the CPU.
    """
    state = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(raw(tensor))
    return state.hexdigest()
