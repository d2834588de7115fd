"""How what passes inside a network becomes a feature map: which axes are rows and columns, and which the channels.

Networks keep feature maps as ``[B, C, h, w]``, as ``[B, h, w, C]`` or as tokens ``[B, T, C]`` or ``[B, C, T]``, and
change between these from one module to the next. Sizes decide which it is at a place, whatever the family of network:

1. The grid ``h x w`` of a feature map is one that a convolution or pooling of the same pass made, or such a grid halved
   a few times (as Swin transformers merge patches), or it has the proportions of the image.
2. Where both readings fit, as for ``[B, 8, 8, 8]``, the channels decide: those of convolutions and batch normalisations
   are on the first axis, those of linear layers and layer normalisations on the last, if these were seen to work on
   more than pooled features.
3. Where that does not decide either, or nothing fits (windows, scores of attention), the layer is refused.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

from lit_certattr.errors import InputError
from lit_certattr.models.modes import eval_mode

Grid = tuple[int, int]
"""Rows and columns of a feature map."""

_FIRST = (_ConvNd, _NormBase, nn.GroupNorm, _MaxPoolNd, _AvgPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)
"""Modules whose outputs have their channels on the first axis after the batch."""

_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm)
"""Modules that work on channels on the last axis."""

_HEADS = ("num_heads", "n_heads", "nhead", "heads", "num_attention_heads")


@attrs.frozen(eq=False)
class Layout:
    """How features ``[B, C, h, w]`` are stored in a tensor of the network.

    Args:
        read: Converts the tensor, or another of its shape (its gradient), to ``[B, C, h, w]``.
        restore: Converts features ``[m * B, C, h, w]`` back to the network's shape; class tokens stay unchanged.
    """

    read: Callable[[Tensor], Tensor]
    restore: Callable[[Tensor], Tensor]


class Undecided(Exception):
    """The tensor can be read in two ways; :func:`channels_on_last_axis` is needed to decide."""


@attrs.frozen(eq=False)
class Surroundings:
    """Facts about a place in the network that help to interpret the tensor there.

    Args:
        label: The user's name of the place, for messages.
        network: The network.
        name: Full name of the module in the network.
        prefix_tokens: Class and register tokens before the patches, if the network says how many.
        grids: Grids that convolutions and poolings made up to here in this pass, the most recent one last.
        on_last_axis: What :func:`channels_on_last_axis` found, if it was needed.
    """

    label: str
    network: nn.Module
    name: str
    prefix_tokens: int | None = None
    grids: tuple[Grid, ...] = ()
    on_last_axis: frozenset[int] | None = None

    @property
    def module(self) -> nn.Module:
        """The module beside which the tensor passes."""
        return self.network.get_submodule(self.name)

    @property
    def heads(self) -> set[int]:
        """Numbers of attention heads of the module and of what it is part of."""
        steps = self.name.split(".")
        parts = [self.network.get_submodule(".".join(steps[:end])) for end in range(len(steps) + 1)]
        numbers = (getattr(part, attribute, None) for part in parts for attribute in _HEADS)
        return {number for number in numbers if isinstance(number, int)}


@contextmanager
def grids_of(model: nn.Module, count: int) -> Iterator[list[Grid]]:
    """Inside the block, the grids that convolutions and poolings make of ``count`` images, the newest one last.

    Args:
        model: The network.
        count: Number of images in the batch.
    """
    grids: list[Grid] = []

    def note(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and len(output) == count:
            grid = (output.shape[2], output.shape[3])
            grids[:] = [other for other in grids if other != grid] + [grid]

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, _FIRST) and not isinstance(module, _NormBase | nn.GroupNorm):
                stack.callback(module.register_forward_hook(note).remove)
        yield grids


def prefix_tokens(model: nn.Module) -> int | None:
    """Number of class and register tokens, if the network declares it, as timm's networks do; else ``None``.

    Args:
        model: The network.
    """
    return max(getattr(module, "num_prefix_tokens", None) or 0 for module in model.modules()) or None


def layout_of(tensor: Any, size: Grid, count: int, around: Surroundings) -> Layout:
    """How a feature map is stored in the tensor at a place of the network.

    Args:
        tensor: The tensor: ``[B, C, h, w]``, ``[B, h, w, C]``, ``[B, T, C]`` or ``[B, C, T]``.
        size: Height and width of the images that went in.
        count: Number of images, :math:`B`.
        around: Facts about the place.

    Raises:
        Undecided: If it can be read in two ways, and ``around.on_last_axis`` is needed.
        InputError: If it is anything else, or can still be read in two ways.

    Example:
        >>> net, tensor = nn.Sequential(nn.Conv2d(3, 5, 8, 8), nn.ReLU()), torch.rand(1, 8, 8, 5)
        >>> layout_of(tensor, (64, 64), 1, Surroundings("1", net, "1")).read(tensor).shape
        torch.Size([1, 5, 8, 8])
    """
    if not isinstance(tensor, Tensor) or tensor.ndim not in (3, 4) or len(tensor) != count:
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InputError(
            f"layer {around.label!r} gives {shape}, not a feature map [B, C, h, w] or tokens [B, T, C] "
            f"of {count} image{'s' if count > 1 else ''}"
        )
    return _tokens(tensor, size, around) if tensor.ndim == 3 else _feature_map(tensor, size, around)


def _feature_map(tensor: Tensor, size: Grid, around: Surroundings) -> Layout:
    first, rows, columns = tensor.shape[1:]
    if first in around.heads:
        raise InputError(
            f"layer {around.label!r} gives {tuple(tensor.shape)}, one part for each of {first} attention heads, "
            "which is no feature map: name a layer outside the attention"
        )
    as_first = 2 if isinstance(around.module, _FIRST) else _fit((rows, columns), size, around.grids)
    as_last = 0 if isinstance(around.module, _FIRST) else _fit((first, rows), size, around.grids)
    if max(as_first, as_last) == 0:
        raise InputError(
            f"layer {around.label!r} gives {tuple(tensor.shape)}, where no two neighbouring axes have the proportions "
            f"of the image, {size[0]} x {size[1]}: name a layer that gives a feature map [B, C, h, w] or [B, h, w, C]"
        )
    channels_last = _channels_last(tensor.shape, around) if as_first == as_last else as_last > as_first
    if channels_last:
        return Layout(lambda t: t.permute(0, 3, 1, 2), lambda features: features.permute(0, 2, 3, 1))
    return Layout(lambda t: t, lambda features: features)


def _fit(grid: Grid, size: Grid, grids: tuple[Grid, ...]) -> int:
    """How well a grid fits: 2 if it is known or has the image's proportions, 1 up to rounding, 0 not at all."""
    (rows, columns), (height, width) = grid, size
    if grid in _halved(grids) or rows * width == columns * height:
        return 2
    if height == width:
        return 0  # square kernels make squares of squares
    # One stride s with |rows - height / s| <= 1 and |columns - width / s| <= 1.
    low = max(height / (rows + 1), width / (columns + 1))
    high = min(height / max(rows - 1, 1e-9), width / max(columns - 1, 1e-9))
    return int(low <= high)


def _halved(grids: tuple[Grid, ...]) -> set[Grid]:
    """The grids, and what halving makes of them, rounded up or down; without 1 x 1."""
    found, new = set(grids), set(grids)
    while new:
        smaller = {(-(-rows // 2), -(-columns // 2)) for rows, columns in new}
        smaller |= {(rows // 2, columns // 2) for rows, columns in new}
        new = {grid for grid in smaller if min(grid) > 0 and grid != (1, 1)} - found
        found |= new
    return found - {(1, 1)}


def _tokens(tensor: Tensor, size: Grid, around: Surroundings) -> Layout:
    """The grid of patches is known or has the proportions of the image; class and register tokens come first."""
    prefixes = (0, 1) if around.prefix_tokens is None else (around.prefix_tokens, 0)
    found = {}
    for axis in (1, 2):
        grids = ((prefix, _grid(tensor.shape[axis] - prefix, size, around.grids)) for prefix in prefixes)
        fitting = [(prefix, grid) for prefix, grid in grids if grid is not None]
        if fitting:
            found[axis] = fitting[0]
    if isinstance(around.module, _ConvNd | _NormBase):
        found.pop(1, None)
    if not found:
        raise InputError(
            f"layer {around.label!r} gives {tuple(tensor.shape)}: neither {tensor.shape[1]} nor {tensor.shape[2]} "
            f"tokens are a grid of patches of an image of {size[0]} x {size[1]}"
        )
    # Of two that fit, the grid that came last; halved ones were not seen at all.
    age = {axis: around.grids.index(grid) if grid in around.grids else -1 for axis, (_, grid) in found.items()}
    oldest, axis = min(age, key=age.__getitem__), max(age, key=age.__getitem__)
    if len(age) > 1 and age[oldest] == age[axis]:
        axis = 1 if _channels_last(tensor.shape, around) else 2
    prefix, (rows, columns) = found[axis]
    first = tensor.narrow(axis, 0, prefix)

    def read(tensor: Tensor) -> Tensor:
        patches = tensor.narrow(axis, prefix, rows * columns)
        patches = patches.transpose(1, 2) if axis == 1 else patches
        return patches.reshape(*patches.shape[:2], rows, columns)

    def restore(features: Tensor) -> Tensor:
        patches = features.flatten(2)
        patches = patches.transpose(1, 2) if axis == 1 else patches
        return torch.cat([first.repeat(len(patches) // len(first), 1, 1), patches], axis)

    return Layout(read, restore)


def _grid(patches: int, size: Grid, grids: tuple[Grid, ...]) -> Grid | None:
    """The grid of so many patches, if there is one."""
    height, width = size
    if patches < 1:
        return None
    if grids:
        fitting = [grid for grid in _halved(grids) | set(grids) if grid[0] * grid[1] == patches]
        return min(fitting, key=lambda grid: abs(math.log(grid[0] * width / (grid[1] * height))), default=None)
    rows, columns = (round(math.sqrt(patches * share)) for share in (height / width, width / height))
    return (rows, columns) if rows * columns == patches else None


def _channels_last(shape: torch.Size, around: Surroundings) -> bool:
    """Where both readings fit: whether the channels are on the last axis, by the layers that work on such channels.

    Raises:
        Undecided: If that takes a look at which layers work on the last axis.
        InputError: If the layers do not tell.
    """
    modules = list(around.network.modules())
    can_be_last = any(shape[-1] in _channels(module, _LAST) for module in modules)
    if can_be_last:
        if around.on_last_axis is None:
            raise Undecided
        can_be_last = shape[-1] in around.on_last_axis
    can_be_first = any(shape[1] in _channels(module, _FIRST) for module in modules)
    if can_be_first != can_be_last or (len(shape) == 4 and not can_be_last):
        return can_be_last
    module = around.module
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    first, last = (bool(_channels(module, kind)) for kind in (_FIRST, _LAST))
    if first == last:
        raise InputError(
            f"layer {around.label!r} gives {tuple(shape)}, whose channels may be on axis 1 or on axis "
            f"{len(shape) - 1}: name the convolution or linear layer beside it"
        )
    return last


def channels_on_last_axis(model: nn.Module, image: Tensor) -> frozenset[int]:
    """Numbers of channels of all features ``[..., C]`` that linear layers and layer normalisations give; one pass.

    Args:
        model: Network that takes images; its mode stays unchanged.
        image: One image ``[1, C, H, W]``.
    """
    found: set[int] = set()

    def note(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim > 2:
            found.add(output.shape[-1])

    with ExitStack() as stack:
        stack.enter_context(eval_mode(model))
        stack.enter_context(torch.no_grad())
        for module in model.modules():
            if _channels(module, _LAST):
                stack.callback(module.register_forward_hook(note).remove)
        model(image)
    return frozenset(found)


def _channels(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> set[int]:
    """Numbers of channels that a layer takes and gives, if it is of one of these kinds."""
    # Those of torchvision and timm that normalise the channels of [B, C, h, w] are named LayerNorm2d.
    on_first_axis = isinstance(module, _FIRST) or "2d" in type(module).__name__
    if not isinstance(module, (*_FIRST, *_LAST)) or on_first_axis != (kinds is _FIRST):
        return set()
    names = ("in_channels", "out_channels", "num_features", "num_channels", "in_features", "out_features")
    shape = getattr(module, "normalized_shape", ())
    own = {number for name in names if isinstance(number := getattr(module, name, None), int)}
    return own | set(shape if len(shape) == 1 else ())
