"""A network compiled as one graph, for blocks of one size: what ``torch.compile`` may change, and what it may not."""

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Literal
from weakref import WeakSet

import attrs
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override

from lit_certattr.errors import InputError, single_line
from lit_certattr.models.denoised import Denoised

CompileMode = Literal["default", "reduce-overhead"]
"""Modes of ``torch.compile``. ``max-autotune`` is none of them: it times kernels and takes the fastest, so the next
process may round otherwise, and a run that is resumed would not repeat its bits."""


class CompiledNetwork(nn.Module):
    """A network in eval mode, compiled as one graph for single images and for batches of one size.

    A batch is evaluated in pieces of ``batch_size`` images; the last piece is filled up with zeros, whose outputs are
    dropped. So each of the four graphs (one image or a piece, with a gradient to the images or without) is compiled at
    most once, with fixed shapes, and which of them evaluates an image does not depend on what was evaluated before.

    The weights are those of the network, not copies. A graph gets a copy of the images, and its outputs and gradients
    are copied: those of a CUDA graph are overwritten when it runs again.

    Args:
        network: The network; its modules are shared. Its output must be one tensor with a row for each image.
        mode: ``"default"``, or ``"reduce-overhead"``, which replays CUDA graphs on an accelerator.
        batch_size: Number of images of a piece.
        memory_format: Layout of the images that the graphs get.

    Raises:
        InputError: When called, if the network cannot be compiled as one graph, if ``torch.compile`` is turned off, or
            if the output is no tensor with a row for each image.
    """

    def __init__(
        self, network: nn.Module, mode: CompileMode, batch_size: int, memory_format: torch.memory_format
    ) -> None:
        super().__init__()
        self.network, self.mode, self.batch_size, self.memory_format = network, mode, batch_size, memory_format
        self.training = False  # itself alone: the mode of the network is that of its owner
        self._graphs = _Graphs(compiled(_traced(network), mode))

    def forward(self, images: Tensor) -> Tensor:
        """The output of the network for images ``[B, C, H, W]``, in new memory."""
        if torch.is_grad_enabled() and images.requires_grad:
            outputs: Tensor = _Pass.apply(images, self)
            return outputs
        with torch.no_grad():
            return _together([self.evaluate(self.piece(part))[: len(part)].clone() for part in self.parts(images)])

    def parts(self, images: Tensor) -> tuple[Tensor, ...]:
        """The images in pieces of at most ``batch_size``."""
        parts: tuple[Tensor, ...] = images.split(self.batch_size)
        return parts

    def piece(self, images: Tensor) -> Tensor:
        """A copy of at most ``batch_size`` images, in the layout of the graphs; several are filled up with zeros."""
        size = 1 if len(images) == 1 else self.batch_size
        copy = torch.empty(
            (size, *images.shape[1:]), dtype=images.dtype, device=images.device, memory_format=self.memory_format
        )
        with torch.no_grad():
            copy[: len(images)] = images
            copy[len(images) :] = 0
        return copy

    def evaluate(self, piece: Tensor) -> Tensor:
        """The output of a graph for a piece; it may be overwritten by the next one.

        Args:
            piece: Images that :meth:`piece` returned.

        Raises:
            InputError: See the class.
        """
        name = type(self.network).__name__
        if self.mode == "reduce-overhead" and not _pending:
            torch.compiler.cudagraph_mark_step_begin()  # nothing in the memory of the graphs is needed any more
        with compiler_errors(name):
            output = self._graphs.run(piece)
        if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != len(piece):
            got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(
                f"{name} must return one tensor with a row per image to be compiled, got {got} for {len(piece)} images"
            )
        return output


def compile_network(
    network: nn.Module, mode: CompileMode, batch_size: int, memory_format: torch.memory_format
) -> nn.Module:
    """The compiled network; of a denoised one both parts are compiled, so that methods still see the split.

    Nothing is compiled before the first call.

    Args:
        network: See :class:`CompiledNetwork`.
        mode: See there.
        batch_size: See there.
        memory_format: See there.

    Example:
        >>> whole = Denoised(nn.Identity(), nn.Flatten())
        >>> type(compile_network(whole, "default", 8, torch.channels_last).network).__name__
        'CompiledNetwork'
    """
    if not isinstance(network, Denoised):
        return CompiledNetwork(network, mode, batch_size, memory_format)
    denoiser, classifier = (
        CompiledNetwork(part, mode, batch_size, memory_format) for part in (network.denoiser, network.network)
    )
    whole = Denoised(denoiser, classifier, network.explain_at)
    whole.training = False
    return whole


def uncompiled(network: nn.Module) -> nn.Module:
    """The network that was compiled by :func:`compile_network`; any other is returned as it is.

    Args:
        network: The network.
    """
    if isinstance(network, CompiledNetwork):
        return network.network
    if isinstance(network, Denoised) and isinstance(network.network, CompiledNetwork):
        whole = Denoised(uncompiled(network.denoiser), uncompiled(network.network), network.explain_at)
        whole.training = False
        return whole
    return network


class LastCompiled:
    """Keeps the last network that was compiled, so that it is compiled once for all images of a run.

    A compiled network holds the network itself, so a cache that ends with the network would never end: this one holds
    one, and ends with its owner. Copies of the owner share it, except in another process.
    """

    def __init__(self) -> None:
        self._last: tuple[tuple[Any, ...], nn.Module] | None = None

    def __call__(
        self, network: nn.Module, mode: CompileMode, batch_size: int, memory_format: torch.memory_format
    ) -> nn.Module:
        """:func:`compile_network`, or what it returned for the same arguments the last time."""
        parts = (network, network.denoiser, network.network) if isinstance(network, Denoised) else (network,)
        explained = network.explain_at if isinstance(network, Denoised) else None
        key = (*parts, explained, mode, batch_size, memory_format)
        if self._last is None or not _same(self._last[0], key):
            self._last = None  # its memory first
            self._last = key, compile_network(network, mode, batch_size, memory_format)
        return self._last[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> "LastCompiled":
        return LastCompiled()

    def __reduce__(self) -> tuple[type["LastCompiled"], tuple[()]]:
        return LastCompiled, ()


def compiled(network: nn.Module, mode: CompileMode) -> Any:
    """What ``torch.compile`` makes of a network: one graph for each shape, or an error.

    Args:
        network: The network.
        mode: The mode.
    """
    options = dict(torch._inductor.list_mode_options(mode))
    if "deterministic" in torch._inductor.list_options():  # no choice by timing that would change a sum
        options["deterministic"] = True
    return torch.compile(network, fullgraph=True, dynamic=False, options=options)


@contextmanager
def compiler_errors(name: str) -> Iterator[None]:
    """Turn an error of the compiler inside the block into one line; errors of a graph that runs pass.

    Args:
        name: Name of the network.

    Raises:
        InputError: In place of the error.
    """
    try:
        yield
    except _NotCompiled as error:
        raise InputError(
            f"torch.compile does nothing here, so {name} would run as it is: unset TORCH_COMPILE_DISABLE, "
            "TORCHDYNAMO_DISABLE and TORCHDYNAMO_SUPPRESS_ERRORS, or leave certifier.compile_mode away"
        ) from error
    except Exception as error:
        if not _of_compiler(error):
            raise
        said = single_line(error).partition(" from user code:")[0].partition(" Set TORCHDYNAMO_VERBOSE")[0]
        remedy = "leave certifier.compile_mode away"
        if type(error).__name__ == "FailOnRecompileLimitHit":
            said, remedy = "since it needs another one again and again", f"keep no state in its forward, or {remedy}"
        if "C++ compiler" in said or "CppCompileError" in said:
            remedy = f"install a working C++ compiler such as g++, or {remedy}"
        said = f"{said[:300]} ..." if len(said) > 300 else said
        raise InputError(f"{name} cannot be compiled as one graph, {said}: {remedy}") from error


def _of_compiler(error: Exception) -> bool:
    dynamo = sys.modules.get("torch._dynamo.exc")  # imported by then, if anything was compiled
    known = () if dynamo is None else (dynamo.TorchDynamoException, dynamo.FailOnRecompileLimitHit)
    return isinstance(error, known)


class _NotCompiled(Exception):
    """The network was run as it is."""


class _Traced(nn.Module):
    """What is compiled: the network, which refuses to run in any other way."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = False

    def forward(self, images: Tensor) -> Any:
        # The compiler drops this line. Where it gives up without a word, the line remains, and raises.
        if not torch.compiler.is_compiling():
            raise _NotCompiled
        return self.network(images)


_numbers = itertools.count()


def _traced(network: nn.Module) -> _Traced:
    """The network, in a class of its own: the compiler limits the number of graphs by the code of a forward."""
    number, forward = next(_numbers), _Traced.forward
    own = FunctionType(forward.__code__.replace(co_name=f"network_{number}"), forward.__globals__)
    kind: type[_Traced] = type(f"_Traced{number}", (_Traced,), {"forward": own})
    return kind(network)


@attrs.frozen(eq=False)
class _Graphs:
    """Holds the compiled network, so that its modules do not count as parts of their owner twice."""

    run: Any


class _Running:
    """A pass whose gradient has not been asked for: what its graph keeps is needed."""


_pending: WeakSet[_Running] = WeakSet()


class _Pass(torch.autograd.Function):
    """A pass with a gradient to the images: graphs get leaves, and all that they return is copied."""

    @staticmethod
    @override
    def forward(ctx: Any, images: Tensor, network: CompiledNetwork) -> Tensor:
        ctx.name, ctx.pieces, outputs, running = type(network.network).__name__, [], [], _Running()
        for part in network.parts(images):
            piece = network.piece(part).requires_grad_(True)
            with torch.enable_grad():
                output = network.evaluate(piece)
            _pending.add(running)
            ctx.pieces.append((piece, output, len(part)))
            outputs.append(output.detach()[: len(part)].clone())
        ctx.running = running
        return _together(outputs)

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        found, start = [], 0
        for piece, output, count in ctx.pieces:
            full = torch.zeros_like(output)
            full[:count] = gradient[start : start + count]
            with compiler_errors(ctx.name):
                (own,) = torch.autograd.grad(output, piece, full)
            found.append(own[:count].clone())
            start += count
        ctx.running = None
        return _together(found), None


def _together(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _same(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    return len(first) == len(second) and all(
        one is other or (not isinstance(one, nn.Module) and one == other)
        for one, other in zip(first, second, strict=True)
    )
