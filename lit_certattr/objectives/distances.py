"""How far two maps are apart, one number per image."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from lit_certattr.objectives.directions import unit

Distance = Literal["l1", "cosine", "pearson", "unit_mse"]


def l1(a: Tensor, b: Tensor) -> Tensor:
    r"""Sum of the absolute differences of maps ``[B, ...]``: :math:`\|a - b\|_1`, ``[B]``.

    Args:
        a: Maps ``[B, ...]``.
        b: Maps of the same shape.

    Returns:
        One number per map, ``[B]``.
    """
    return (a - b).abs().flatten(1).sum(1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """One minus the cosine of maps ``[B, ...]``, in [0, 2]; 1 if one of them is zero.

    Args:
        a: Maps ``[B, ...]``.
        b: Maps of the same shape.

    Returns:
        One number per map, ``[B]``.
    """
    return 1 - (unit(a) * unit(b)).sum(1)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """One minus the correlation of maps ``[B, ...]``, in [0, 2]; 1 if one of them is constant.

    Args:
        a: Maps ``[B, ...]``.
        b: Maps of the same shape.

    Returns:
        One number per map, ``[B]``.
    """
    return 1 - (unit(a, centred=True) * unit(b, centred=True)).sum(1)


def unit_mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of maps ``[B, ...]`` scaled to length 1: twice the cosine distance, over their size.

    Args:
        a: Maps ``[B, ...]``.
        b: Maps of the same shape.

    Returns:
        One number per map, ``[B]``.
    """
    return (unit(a) - unit(b)).square().mean(1)


DISTANCES: dict[Distance, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": l1,
    "cosine": cosine,
    "pearson": pearson,
    "unit_mse": unit_mse,
}
