"""How a process learns that another one has died."""

import re

from torch import distributed

_CLOSED = re.compile(r"gloo|NCCL|Connection (closed|reset) by peer|Broken pipe|TCPStore", re.I)


def lost_process(error: BaseException) -> bool:
    """Whether an error of ``torch.distributed`` says that another process, or the way to it, is gone.

    Args:
        error: Any error.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return False
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and _CLOSED.search(str(error)) is not None
    )
