"""Branches that are added up and are one linear layer: RepVGG, MobileOne and other networks that are trained in parts.

Convolutions of the same input with the same stride, and the batch normalisation of that input, add up to one
convolution. Relevance goes through that one, as it does in the network that is deployed: both forms have one map.
"""

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_certattr.attribution.lrp_values import Branch, Call, Sizes, Traced


def of_convolution(call: Call, known: Traced) -> Branch | None:
    """The branch of a call of a convolution; ``None`` if its padding is a string.

    Args:
        call: The call of the convolution.
        known: Its traced input.
    """
    weight = call.argument(1, "weight")
    named = (("stride", 1), ("padding", 0), ("dilation", 1))
    values = [call.argument(place, name, default) for place, (name, default) in enumerate(named, 3)]
    if any(isinstance(value, str) for value in values):
        return None
    stride, padding, dilation = (_per_axis(value, weight.ndim - 2) for value in values)
    bias, groups = call.argument(2, "bias"), call.argument(6, "groups", 1)
    return Branch(known, weight, bias, call.func, stride, padding, dilation, groups)


def _per_axis(value: int | Sizes, axes: int) -> Sizes:
    sizes = (value,) if isinstance(value, int) else tuple(value)
    return sizes * axes if len(sizes) == 1 else sizes


def of_batch_norm(call: Call, known: Traced) -> Branch:
    """The branch of a batch normalisation in eval mode: one factor and one constant per channel.

    Args:
        call: The call of the normalisation.
        known: Its traced input.
    """
    names = ("running_mean", "running_var", "weight", "bias")
    mean, variance, gain, offset = (call.argument(place, name) for place, name in enumerate(names, 1))
    scale = (variance + call.argument(7, "eps", 1e-5)).rsqrt()
    scale = scale if gain is None else scale * gain
    shift = -mean * scale if offset is None else offset - mean * scale
    return Branch(known, scale, shift)


def merged(one: Branch | None, other: Branch | None) -> Branch | None:
    """The sum of two branches as one; ``None`` if they are not parts of one layer.

    Args:
        one: A branch, or ``None``.
        other: Another branch, or ``None``.
    """
    if one is None or other is None or one.known.tensor is not other.known.tensor:
        return None
    if one.convolution is None or other.convolution is None:
        if one.convolution is other.convolution:
            return attrs.evolve(one, weight=one.weight + other.weight, bias=_added(one.bias, other.bias))
        scaling, convolution = (one, other) if one.convolution is None else (other, one)
        one, other = _as_convolution(scaling, convolution), convolution
    if (one.stride, one.dilation, one.groups) != (other.stride, other.dilation, other.groups):
        return None
    if len(one.weight) != len(other.weight):
        return None
    small, large = sorted((one, other), key=lambda branch: branch.weight.shape[2:].numel())
    pads: list[int] = []
    for axis in range(len(small.stride)):
        extra, odd = divmod(large.weight.shape[axis + 2] - small.weight.shape[axis + 2], 2)
        if odd or extra < 0 or large.padding[axis] - small.padding[axis] != large.dilation[axis] * extra:
            return None  # their middles do not meet
        pads = [extra, extra, *pads]
    weight = large.weight + F.pad(small.weight, pads)
    return attrs.evolve(large, weight=weight, bias=_added(one.bias, other.bias))


def _as_convolution(scaling: Branch, like: Branch) -> Branch:
    """A scaling of the channels as a convolution of one pixel, with the groups of another one."""
    channels, axes = len(scaling.weight), like.weight.ndim - 2
    inside = like.weight.shape[1]
    places = torch.arange(channels, device=scaling.weight.device) % inside
    empty = scaling.weight.new_zeros(channels, inside)
    weight = empty.scatter(1, places[:, None], scaling.weight[:, None]).view(channels, inside, *[1] * axes)
    return attrs.evolve(like, weight=weight, bias=scaling.bias, stride=(1,) * axes, padding=(0,) * axes)


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other
