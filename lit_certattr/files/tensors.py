"""The content of a safetensors file that is in memory already, e.g. a member of a ZIP."""

import json
from typing import Any

from safetensors.torch import load
from torch import Tensor

from lit_certattr.files.untrusted import MAX_TEXT, without_doubles


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
