"""The gradient with respect to an image through the convolution that takes it, as one dense convolution."""

from collections.abc import Iterable
from math import ceil
from typing import Any

import attrs
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_IMAGE_CHANNELS = 4
"""A convolution of more channels than this takes no image, and fills the vector registers as it is."""
_ENOUGH_OUTPUTS = 12
"""Of 16 float32 lanes of a vector register."""

Pair = tuple[int, int]


class ImageConvolutions(TorchFunctionMode):
    """Inside the block, gradients with respect to images pass the first convolution several times faster.

    Such a gradient has as many channels as the image, one or three, where the usual kernels compute vectors of 16: on a
    CPU it takes an eighth of the time of a ResNet-18, a quarter of that of a small network (``docs/performance.md``).
    :func:`image_gradient` fills the vectors; it gives the same to rounding.

    Only convolutions of 1 to 4 channels on a CPU, whose weights need no gradient, are replaced, and only where Python
    calls them: not in a scripted or compiled network. No module is changed, and nothing remains after the block except
    the graph of the calls in it.

    Example:
        >>> images, weight = torch.rand(2, 3, 8, 8, requires_grad=True), torch.rand(4, 3, 3, 3)
        >>> with ImageConvolutions():
        ...     features = torch.nn.functional.conv2d(images, weight, stride=2)
        >>> torch.autograd.grad(features.sum(), images)[0].shape
        torch.Size([2, 3, 8, 8])
    """

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        seen = func is F.conv2d and not torch.compiler.is_compiling()
        settings = _image_convolution(*args, **kwargs) if seen else None
        return func(*args, **kwargs) if settings is None else _ImageConvolution.apply(*settings)


def _image_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, Pair, Pair] | None:
    """What the convolution is called with, if it is one whose gradient :func:`image_gradient` knows."""
    if not torch.is_grad_enabled() or not input.requires_grad or input.device.type != "cpu" or input.ndim != 4:
        return None
    if input.shape[1] > _IMAGE_CHANNELS or groups != 1 or _pair(dilation) != (1, 1) or isinstance(padding, str):
        return None
    if weight.requires_grad or (bias is not None and bias.requires_grad) or not input.is_floating_point():
        return None
    return input, weight, bias, _pair(stride), _pair(padding)


def _pair(number: int | Iterable[int]) -> Pair:
    if isinstance(number, int):
        return number, number
    first, *rest = number
    return first, rest[0] if rest else first


class _ImageConvolution(torch.autograd.Function):
    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
        return F.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        images, weight, _, ctx.stride, ctx.padding = inputs
        ctx.size, ctx.dtype = (images.shape[2], images.shape[3]), images.dtype
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        weight = weight.to(gradient.dtype)  # autocast computed in another one
        images = image_gradient(gradient, weight, ctx.size, ctx.stride, ctx.padding)
        return images.to(ctx.dtype), None, None, None, None


def image_gradient(gradient: Tensor, weight: Tensor, size: Pair, stride: Pair, padding: Pair) -> Tensor:
    r"""Gradient with respect to the input of a convolution, for an input of few channels.

    Pixel :math:`u` of an image meets output :math:`o` of a convolution of stride :math:`s` and padding :math:`p` in
    the weight :math:`t = u + p - s\,o`. With blocks of :math:`m = s f` pixels, :math:`u = m j + r` and
    :math:`o = f j + q`, it is :math:`t = r + p - s\,q`, which depends on the block :math:`j` no more:

    .. math:: \frac{\partial L}{\partial x_{m j + r}} = \sum_q g_{f j + q}\; w_{r + p - s q} ,

    (in both directions; weights outside the kernel are zero). So the gradient of a whole block is one convolution of
    :math:`g` of stride :math:`f`, with a channel for every pixel of the block, where the transposed convolution has
    one for every colour. For :math:`f = 1` this is the sub-pixel convolution of Shi et al. (2016).

    Args:
        gradient: Gradient :math:`g` with respect to the output, ``[B, O, h, w]``.
        weight: Weights ``[O, C, kh, kw]``.
        size: Height and width of the input.
        stride: Vertical and horizontal stride.
        padding: Rows and columns of zeros on each side of the input.

    Returns:
        Gradient ``[B, C, *size]``, its channels next to each other in memory.

    Example:
        >>> image_gradient(torch.ones(1, 1, 1, 1), torch.tensor([[[[5.0, 7.0]]]]), (1, 2), (1, 1), (0, 0))
        tensor([[[[5., 7.]]]])
    """
    channels = weight.shape[1]
    factor = 1
    while channels * stride[0] * stride[1] * factor**2 < _ENOUGH_OUTPUTS:
        factor += 1
    vertical, horizontal = (
        _Blocks.of(size[way], weight.shape[2 + way], stride[way], padding[way], gradient.shape[2 + way], factor)
        for way in (0, 1)
    )
    down, right = vertical.taps, horizontal.taps
    taps = F.pad(weight, (0, 1, 0, 1))[:, :, down[:, :, None, None], right]
    taps = rearrange(taps, "o c r p s q -> (r s c) o p q").contiguous(memory_format=torch.channels_last)
    blocks = F.conv2d(gradient, taps, stride=factor, padding=(vertical.padding, horizontal.padding))
    pixels = rearrange(blocks.permute(0, 2, 3, 1), "b i j (r s c) -> b (i r) (j s) c", s=len(right), c=channels)
    return pixels[:, vertical.pixels, horizontal.pixels].permute(0, 3, 1, 2)


@attrs.frozen(eq=False)
class _Blocks:
    """The blocks of pixels in one direction.

    Args:
        taps: Weight ``t`` of each pixel ``r`` of a block and each output ``q`` that it meets, ``[m, n]``; the length of
            the kernel where they do not meet.
        padding: Zeros on both sides of the gradient.
        pixels: The image within the pixels of all blocks.
    """

    taps: Tensor
    padding: int
    pixels: slice

    @classmethod
    def of(cls, size: int, kernel: int, stride: int, padding: int, outputs: int, factor: int) -> "_Blocks":
        side = stride * factor
        first, last = -((kernel - 1 - padding) // stride), (side - 1 + padding) // stride  # the q that some r meets
        meets = torch.arange(first, last + 1)
        taps = torch.arange(side)[:, None] + padding - stride * meets
        taps = torch.where((taps >= 0) & (taps < kernel), taps, kernel)
        # Zeros are on both sides alike: those that the last block needs may make room for blocks before the first.
        behind = factor * (ceil(size / side) - 1) + last - (outputs - 1)
        skipped = max(0, ceil((max(0, behind) + first) / factor))
        return cls(taps, factor * skipped - first, slice(skipped * side, skipped * side + size))
