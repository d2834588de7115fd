"""Places in a network: a module by name, the tensor beside it, and how that tensor is laid out."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn

from lit_certattr.attribution.relu import ReluCalls
from lit_certattr.errors import InputError
from lit_certattr.models.final_layer import FinalLayer, final_layer, final_layers
from lit_certattr.models.names import suggestion


@attrs.frozen(eq=False)
class Place:
    """A module, and which of the tensors beside it is meant.

    Args:
        name: What the user called it.
        module: The module.
        place: See :class:`~lit_certattr.models.FinalLayer`.
        final: What is known of it, if it is the final layer of a known family.
        prefix_tokens: Class and register tokens before the patches, if the network says how many.
        channels_last: Feature maps of this network are ``[B, h, w, C]``.
    """

    name: str
    module: nn.Module
    place: Literal["output", "input", "relu"] = "output"
    final: FinalLayer | None = None
    prefix_tokens: int | None = None
    channels_last: bool = False


def find_place(model: nn.Module, layer: str) -> Place:
    """The place that a layer's name means: ``"final"``, a module, or the end of one module's name.

    Raises:
        InputError: If there is none, or more than one.
    """
    names = dict(model.named_modules())
    # What the authors of timm and torchvision say about the layout of their transformers.
    facts: dict[str, Any] = {
        "prefix_tokens": max(getattr(m, "num_prefix_tokens", None) or 0 for m in names.values()) or None,
        "channels_last": any(
            getattr(m, "output_fmt", "") == "NHWC" or type(m).__name__ == "SwinTransformer" for m in names.values()
        ),
    }
    if layer == "final":
        final = final_layer(model)
        return Place(layer, final.module, final.place, final, **facts)
    ends = [name for name in names if layer and f".{name}".endswith(f".{layer}")]
    ends = [layer] if layer in ends else ends
    if len(ends) == 1:
        module = names[ends[0]]
        same = (final for final in final_layers(model) if final.module is module and final.place == "output")
        return Place(layer, module, final=next(same, None), **facts)
    if len(ends) > 1:
        raise InputError(f"layer {layer!r} is ambiguous in {type(model).__name__}: {', '.join(ends[:4])}, ...")
    known = ["input", "final", *filter(None, names), *(name.partition(".")[2] for name in names if "." in name)]
    raise InputError(f"{type(model).__name__} has no layer {layer!r}; {suggestion(layer, known)}")


@contextmanager
def tapped(place: Place, through: Callable[[Any], Tensor]) -> Iterator[None]:
    """Inside the block, what passes at the place goes through a function, and what that returns goes on."""
    with ExitStack() as stack:
        if place.place == "input":
            hook = place.module.register_forward_pre_hook(lambda _, inputs: (through(inputs[0]), *inputs[1:]))
        elif place.place == "output":
            hook = place.module.register_forward_hook(lambda _, __, output: through(output))
        else:
            armed: list[bool] = []
            hook = place.module.register_forward_hook(lambda _, __, ___: armed.append(True))
            stack.enter_context(ReluCalls(lambda result: through(result) if armed and armed.pop() else result))
        stack.callback(hook.remove)
        yield


@attrs.frozen(eq=False)
class Layout:
    """Features ``[B, C, h, w]``, and the way back to what the network had."""

    features: Tensor
    restore: Callable[[Tensor], Tensor]


def layout_of(tensor: Any, images: Tensor, place: Place) -> Layout:
    """What passes at a place, as features ``[B, C, h, w]``.

    Args:
        tensor: What passes: features ``[B, C, h, w]`` or ``[B, h, w, C]``, or tokens ``[B, T, C]``.
        images: The images ``[B, C, H, W]`` that went in; a grid of patches has their proportions.
        place: Where.

    Raises:
        InputError: If it is anything else.
    """
    if not isinstance(tensor, Tensor) or tensor.ndim not in (3, 4) or len(tensor) != len(images):
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InputError(f"layer {place.name!r} gives {shape}, not a feature map [B, C, h, w] or tokens [B, T, C]")
    if tensor.ndim == 3:
        return _tokens(tensor, images, place)
    height, width = images.shape[-2:]
    if place.channels_last and tensor.shape[2] * width != tensor.shape[3] * height:
        return Layout(tensor.permute(0, 3, 1, 2), lambda features: features.permute(0, 2, 3, 1))
    return Layout(tensor, lambda features: features)


def _tokens(tensor: Tensor, images: Tensor, place: Place) -> Layout:
    """The grid of patches has the proportions of the image; class and register tokens come first."""
    height, width = images.shape[-2:]
    for prefix in (0, 1) if place.prefix_tokens is None else (place.prefix_tokens, 0):
        patches = tensor.shape[1] - prefix
        rows, columns = (round(math.sqrt(max(patches, 0) * share)) for share in (height / width, width / height))
        if 0 < patches == rows * columns:
            break
    else:
        raise InputError(f"layer {place.name!r} gives {tensor.shape[1]} tokens, which are no grid of patches")
    first = tensor[:, :prefix]

    def restore(features: Tensor) -> Tensor:
        grid = features.flatten(2).transpose(1, 2)
        return torch.cat([first.repeat(len(grid) // len(first), 1, 1), grid], 1)

    return Layout(tensor[:, prefix:].transpose(1, 2).unflatten(2, (rows, columns)), restore)
