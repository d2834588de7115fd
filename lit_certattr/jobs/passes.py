"""What a map costs in forward and backward passes of the network, counted by its arithmetic."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from typing_extensions import override


class OutOfTime(BaseException):
    """The block took longer than it may; no ``Exception``, so that nothing on the way takes it for a fault."""


class CountedPasses(TorchDispatchMode):
    """Within the block, adds up the arithmetic of convolutions, products of matrices and attention.

    What an autograd node computes is that of a backward pass, all else that of a forward pass. Divided by the
    arithmetic of one forward pass of one image, these are the passes that a method makes, also where it evaluates only
    some layers.

    Args:
        seconds: Time after which the next operation raises :class:`OutOfTime`; ``None`` sets no limit.

    Attributes:
        forward: Floating-point operations of forward passes.
        backward: Those of backward passes.

    Example:
        >>> layer, image = torch.nn.Linear(4, 2, bias=False).requires_grad_(False), torch.rand(1, 4, requires_grad=True)
        >>> with CountedPasses() as counted:
        ...     gradient = torch.autograd.grad(layer(image).sum(), image)
        >>> counted.forward, counted.backward
        (16, 16)
    """

    def __init__(self, seconds: float | None = None) -> None:
        super().__init__()
        self.forward = self.backward = 0
        self._end = None if seconds is None else time.perf_counter() + seconds

    @override
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if self._end is not None and time.perf_counter() > self._end:
            raise OutOfTime
        given = dict(kwargs or {})
        result = func(*args, **given)
        if (count := flop_registry.get(func.overloadpacket)) is not None:
            number = int(count(*args, **given, out_val=result))
            if torch._C._current_autograd_node() is None:
                self.forward += number
            else:
                self.backward += number
        return result
