"""Smooth versions of activations, for the second derivatives that piecewise linear networks lack."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lit_certattr.errors import InputError


class SmoothActivations(TorchFunctionMode):
    r"""Inside the block, ReLU and similar activations are replaced by smooth functions; the network is not changed.

    The gradient of a ReLU network with respect to its input is piecewise constant, so *its* derivative, which an attack
    on a gradient map needs, is zero almost everywhere. The smooth network has the same weights, with
    :math:`\text{softplus}_\beta(x) = \log(1 + e^{\beta x}) / \beta` in place of :math:`\max(x, 0)`, from which it
    differs by at most :math:`\log(2) / \beta` (Dombrowski et al., 2019). Leaky ReLU, ReLU6, hard tanh, hard sigmoid and
    hard swish are sums of shifted ReLUs and get the same sums of softplus. Max-pooling stays. Above
    :math:`\beta x = 20` softplus is the identity to rounding, which keeps second derivatives finite.

    It replaces calls of torch's functions, so it covers layers (``nn.ReLU``) and functional calls (``F.relu``), also
    in-place ones; there are no flags to restore and no copy of the network. It affects the calling thread alone.
    Evaluate the results of an attack outside the block, on the network itself.

    Args:
        beta: Sharpness, positive; 1 is very smooth, 100 is nearly a ReLU.

    Raises:
        InputError: If ``beta`` is not positive.

    Example:
        >>> net = torch.nn.ReLU()
        >>> with SmoothActivations(beta=1.0):
        ...     net(torch.zeros(1)), torch.zeros(1).relu()
        (tensor([0.6931]), tensor([0.6931]))
        >>> net(torch.zeros(1))
        tensor([0.])
    """

    def __init__(self, beta: float) -> None:
        if not 0 < beta < float("inf"):
            raise InputError(f"beta must be a positive number, got {beta}")
        super().__init__()
        self.beta = float(beta)

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the smooth version of ``func`` if there is one."""
        twin = _TWINS.get(func)
        return func(*args, **(kwargs or {})) if twin is None else twin(self.beta, *args, **(kwargs or {}))


def _relu(beta: float, input: Tensor, inplace: bool = False) -> Tensor:
    return F.softplus(input, beta=beta, threshold=20)


def _clip(beta: float, input: Tensor, low: float, high: float) -> Tensor:
    """Smooth clip to [low, high], rising with slope 1 in between."""
    return low + _relu(beta, input - low) - _relu(beta, input - high)


def _leaky_relu(beta: float, input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    return negative_slope * input + (1 - negative_slope) * _relu(beta, input)


def _relu6(beta: float, input: Tensor, inplace: bool = False) -> Tensor:
    return _clip(beta, input, 0.0, 6.0)


def _hardtanh(beta: float, input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    return _clip(beta, input, min_val, max_val)


def _hardsigmoid(beta: float, input: Tensor, inplace: bool = False) -> Tensor:
    return _clip(beta, input, -3.0, 3.0) / 6 + 0.5


def _hardswish(beta: float, input: Tensor, inplace: bool = False) -> Tensor:
    return input * _hardsigmoid(beta, input)


_TWINS: dict[Callable[..., Any], Callable[..., Tensor]] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), _relu),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_), _leaky_relu),
    **dict.fromkeys((F.hardtanh, F.hardtanh_), _hardtanh),
    F.relu6: _relu6,
    F.hardsigmoid: _hardsigmoid,
    F.hardswish: _hardswish,
}
