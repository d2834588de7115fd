"""Every ReLU of a network, whether a module or a function calls it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_RELUS: frozenset[Any] = frozenset(
    (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.hardtanh, F.hardtanh_)
)


class ReluCalls(TorchFunctionMode):
    """Inside the block, the result of every ReLU or ReLU6 is replaced by a function of it.

    Calls are detected when Python makes them, so no module is changed, a module that runs twice is detected twice, and
    nothing remains after the block. A scripted or compiled network makes no such calls.

    Args:
        after: Function from the result of a ReLU to its replacement.

    Example:
        >>> with ReluCalls(lambda result: result + 10):
        ...     torch.nn.ReLU()(torch.tensor([-1.0, 1.0]))
        tensor([10., 11.])
    """

    def __init__(self, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.after = after

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func not in _RELUS or (func in (F.hardtanh, F.hardtanh_) and not _is_relu6(*args, **kwargs)):
            return result
        return self.after(result)


def _is_relu6(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> bool:
    """``nn.ReLU6`` runs as a clipped identity; only one that begins at 0 is a ReLU."""
    return min_val == 0
