r"""The rules of layer-wise relevance propagation, as functions of relevance and inputs.

All but the first two give an input the share of the relevance :math:`R` that its contribution :math:`z_{ij}` has in
the sum :math:`z_j` over the inputs: :math:`R_i = \sum_j z_{ij} R_j / z_j`. Relevance is conserved up to what
stabilises the division and, in the rules that count a bias, what the bias takes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import vjp

Rule = Callable[[Tensor], Sequence[Tensor]]
"""From the relevance of an output to that of the inputs."""

Layer = Callable[[Tensor, Tensor], Tensor]
"""A linear layer without bias: from inputs and weights to outputs."""

Signed = tuple[Tensor, Tensor]
"""Positive and negative part of a weight."""


def passed(relevance: Tensor) -> tuple[Tensor]:
    """An elementwise function passes the relevance of its output on to its input.

    Args:
        relevance: Relevance of the output.
    """
    return (relevance,)


def rearranged(function: Callable[..., Tensor], inputs: Sequence[Tensor], relevance: Tensor) -> tuple[Tensor, ...]:
    """A function that only moves or selects values moves the relevance back.

    Args:
        function: From the inputs to the output.
        inputs: Its inputs.
        relevance: Relevance of the output.
    """
    return vjp(function, *inputs)[1](relevance)  # type: ignore[no-any-return]


def shared(
    function: Callable[..., Tensor], parts: Sequence[Tensor], relevance: Tensor, epsilon: float
) -> tuple[Tensor, ...]:
    r"""Share relevance among parts by their contributions to a sum: :math:`z_{ij} / (z_j + \epsilon\,sign(z_j))`.

    Args:
        function: From the parts to the sums; linear in the parts, up to a constant.
        parts: The parts of the sums.
        relevance: Relevance of the sums.
        epsilon: Stabilises the division.
    """
    sums, back, *_ = vjp(function, *parts)
    sign = torch.where(sums < 0, -1.0, 1.0).to(sums.dtype)
    slopes = back(relevance / (sums + epsilon * sign))
    return tuple(part * slope for part, slope in zip(parts, slopes, strict=True))


def epsilon_rule(
    layer: Layer, weight: Tensor, bias: Tensor | None, inputs: Tensor, relevance: Tensor, epsilon: float
) -> tuple[Tensor]:
    """The epsilon rule (Bach et al., 2015): all contributions count; the bias takes its share.

    Args:
        layer: The layer, called with inputs and weight.
        weight: Its weight.
        bias: Its bias, of a shape that broadcasts to the outputs.
        inputs: Inputs of the layer.
        relevance: Relevance of the outputs.
        epsilon: Stabilises the division.
    """
    constant = 0 if bias is None else bias
    (result,) = shared(lambda inputs: layer(inputs, weight) + constant, (inputs,), relevance, epsilon)
    return (result,)


def z_plus_rule(
    layer: Layer,
    signed: Signed,
    bias: Tensor | None,
    inputs: Tensor,
    relevance: Tensor,
    epsilon: float,
    nonnegative: bool,
) -> tuple[Tensor]:
    """The z+ rule (Montavon et al., 2017): positive contributions alone; a positive bias takes its share.

    Args:
        layer: The layer.
        signed: Positive and negative part of its weights.
        bias: Its bias, of a shape that broadcasts to the outputs.
        inputs: Inputs of the layer.
        relevance: Relevance of the outputs.
        epsilon: Stabilises the division.
        nonnegative: The inputs are known to have no negative values, which saves half of the work.
    """
    positive, negative = signed
    constant = 0 if bias is None else bias.clamp(min=0)
    if nonnegative:
        (result,) = shared(lambda above: layer(above, positive) + constant, (inputs,), relevance, epsilon)
        return (result,)
    above, below = shared(
        lambda above, below: layer(above, positive) + layer(below, negative) + constant,
        (inputs.clamp(min=0), inputs.clamp(max=0)),
        relevance,
        epsilon,
    )
    return (above + below,)


def z_box_rule(
    layer: Layer,
    signed: Signed,
    box: tuple[Tensor, Tensor],
    inputs: Tensor,
    relevance: Tensor,
    epsilon: float,
) -> tuple[Tensor]:
    r"""The z-box rule (Montavon et al., 2017) for inputs in a box :math:`[l, h]`.

    Contributions are :math:`x_i w_{ij} - l_i w_{ij}^+ - h_i w_{ij}^- = (x_i - l_i) w_{ij}^+ + (x_i - h_i) w_{ij}^-`,
    none of them negative. For an input outside, the box is widened to hold it: :math:`x_i - l_i` is clipped at 0 and
    so is :math:`h_i - x_i`. Within the box this is the published rule; outside, contributions stay non-negative.

    Args:
        layer: The layer.
        signed: Positive and negative part of its weights.
        box: Lowest and highest values, of a shape that broadcasts to the inputs.
        inputs: Inputs of the layer.
        relevance: Relevance of the outputs.
        epsilon: Stabilises the division.
    """
    (low, high), (positive, negative) = box, signed
    above, below = shared(
        lambda above, below: layer(above, positive) + layer(below, negative),
        ((inputs - low).clamp(min=0), (inputs - high).clamp(max=0)),
        relevance,
        epsilon,
    )
    return (above + below,)
