"""What to do about a network that fails, or that mixes the images of a batch: the end of an error message."""

import inspect
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lit_certattr.attribution.batching import is_out_of_memory
from lit_certattr.errors import single_line
from lit_certattr.models import Denoised
from lit_certattr.models.compiled import is_compiled
from lit_certattr.models.compiled_network import CompiledNetwork

ONE_AT_A_TIME = (
    "if it takes one image at a time, call it in a module whose forward returns "
    "torch.cat([network(image) for image in images.split(1)])"
)


def remedy(error: Exception | SystemExit, model: nn.Module, images: Tensor) -> str:
    """The likely reason of a failure, and what to do, from what the network and the images are; empty if unknown.

    Args:
        error: What the network or the method raised.
        model: The network.
        images: Its input, ``[B, C, H, W]``.
    """
    if is_out_of_memory(error):
        return "; choose a smaller batch_size (for perturbation methods max_batch), or smaller images"
    if isinstance(error, SystemExit):
        return "; its forward calls sys.exit(): raise an exception there, or return logits"
    if "more than 1 value per channel when training" in single_line(error):
        return f"; {mixing(model)}"
    if len(images) > 1 and not _takes(model, images) and _takes(model, images[:1]):
        return f"; it takes a single image, but not {len(images)}: {ONE_AT_A_TIME}"
    if isinstance(model, Denoised) and isinstance(error, TypeError) and "positional argument" in single_line(error):
        return "; for a denoiser that also takes the noise level use DenoiserAdapter(denoiser, sigma=...)"
    found: Iterator[str] = (ask(error, model, images) for ask in _REASONS)
    return next(filter(None, found), "")


def mixing(model: nn.Module) -> str:
    """Why the images of a batch may influence each other.

    Args:
        model: The network, which was put in eval mode before it was called.

    Example:
        >>> mixing(nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)).eval())
        "batch normalisation '0' has no running statistics"
    """
    for name, module in model.named_modules():
        called = name or type(module).__name__
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            return f"batch normalisation {called!r} has no running statistics"
        if _home(module).endswith("quantized.dynamic"):
            return f"dynamic quantisation scales by all images, use the network from before it (layer {called!r})"
        if getattr(module, "training", False):
            return f"layer {called!r} is in training mode again, its forward must not call train()"
    return "look for statistics over the batch, or for something random in its forward"


def _takes(model: nn.Module, images: Tensor) -> bool:
    """Whether a network returns a row per image."""
    try:
        with torch.no_grad():
            output = model(images.clone())
    except Exception:
        return False
    return isinstance(output, Tensor) and len(output) == len(images)


def _devices(error: BaseException, model: nn.Module, images: Tensor) -> str:
    weights = _weights(model)
    devices = {tensor.device for tensor in weights}
    if len(devices) > 1:
        return f"; its weights are on several devices: use model.to({str(images.device)!r})"
    if devices - {images.device}:
        return f"; the weights are on {weights[0].device} and the images on {images.device}: use images.to(device)"
    return ""


def _types(error: BaseException, model: nn.Module, images: Tensor) -> str:
    types = {tensor.dtype for tensor in _weights(model)}
    if not types - {images.dtype} or torch.is_autocast_enabled(images.device.type):
        return ""
    names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in types))
    cast = {torch.float64: "double", torch.float16: "half", torch.bfloat16: "bfloat16"}.get(images.dtype, "float")
    if len(types) > 1:
        return f"; its weights are of several types ({names}): use model.{cast}()"
    return f"; the weights are {names} and the images {str(images.dtype).removeprefix('torch.')}: use model.{cast}()"


def _arguments(error: BaseException, model: nn.Module, images: Tensor) -> str:
    """Whether the forward asks for other arguments than one tensor."""
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # a compiled or scripted one
        return ""
    try:
        signature.bind(images)
    except TypeError:
        return f"; its forward takes {signature}: call it in a module whose forward takes the images alone"
    asked = _Asked(images)
    try:
        with torch.no_grad():
            model(asked)
    except Exception:
        return ""
    return f"; it takes a dictionary: call it in a module whose forward passes {{{asked.key!r}: images}}"


class _Asked(dict[str, Tensor]):
    """A dictionary that gives the images for each key, and remembers the last one."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images, self.key = images, ""

    def __missing__(self, key: str) -> Tensor:
        self.key = key
        return self.images.clone()


def _channels(error: BaseException, model: nn.Module, images: Tensor) -> str:
    _, channels, _, width = images.shape
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and first.in_channels != channels:
        if width == first.in_channels:
            return "; if the images are [H, W, C], use permute(2, 0, 1) on each"
        return f"; its first convolution takes {first.in_channels} channels, the images have {channels}"
    if width in (1, 3, 4) and channels not in (1, 3, 4):
        return "; if the images are [H, W, C], use permute(2, 0, 1) on each"
    return ""


def _gradients(error: BaseException, model: nn.Module, images: Tensor) -> str:
    """Whether the network stands in the way of its gradients."""
    said = single_line(error)
    if "inplace" in said:
        return "; write y = y * 2 in place of y *= 2, and nn.ReLU(inplace=False)"
    if any(".quantized" in _home(module) for module in model.modules()):
        return "; quantised layers give no gradient: use the network from before, or a method without, e.g. RISE()"
    if isinstance(model, CompiledNetwork):
        return "; the certifier compiles it: leave compile_mode away"
    if is_compiled(model):
        return "; it is compiled: use the network from before"
    if isinstance(model, torch.jit.ScriptModule):
        return "; it is scripted: use the network from before torch.jit"
    inner = getattr(model, "module", None)
    if isinstance(inner, nn.Module):
        return f"; certify the network inside {type(model).__name__}, network.module"
    return ""


def _weights(model: nn.Module) -> list[Tensor]:
    return [tensor for tensor in model.parameters() if tensor.is_floating_point()]


def _home(module: nn.Module) -> str:
    """The package of the class of a module."""
    return type(module).__module__.rpartition(".modules")[0]


_REASONS: tuple[Callable[[BaseException, nn.Module, Tensor], str], ...] = (
    _devices,
    _types,
    _arguments,
    _channels,
    _gradients,
)
"""Whatever fits first is the reason."""
