"""Where a benchmark runs: the CPU, or the accelerator of this machine."""

import torch

from lit_certattr.records.provenance import machine


def device_kind(accelerator: str = "auto") -> str:
    """``"cuda"`` or ``"cpu"``.

    Args:
        accelerator: One of these; ``auto`` takes the accelerator if there is one.
    """
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return accelerator


def device_name(kind: str) -> str:
    """What a column of a table is about: the card and its memory, or the kind of CPU, and the version of torch.

    Args:
        kind: Result of :func:`device_kind`.
    """
    if kind == "cuda":
        card = torch.cuda.get_device_properties(0)
        device = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
    else:
        device = f"CPU, {machine()['cpu']}"
    return f"{device}, torch {torch.__version__.partition('+')[0]}"
