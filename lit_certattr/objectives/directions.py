"""Maps as directions: how far several maps of one image point apart, and how alike those of different images are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.smoothing import top_k_size

_SMALLEST = 1e-24
"""Added under square roots: lengths are right to rounding, and that of a zero map has a derivative."""


@dataclass(frozen=True)
class SoftVote:
    r"""A differentiable stand-in for the mask of the top K pixels, whose majority a pixel certificate counts.

    .. math:: v_j = \mathrm{sigmoid}\left(\frac{a_j - t}{T s}\right)

    with t half-way between the K-th largest value and the next and s the standard deviation of the map. As the
    temperature T approaches 0, it becomes the mask itself. Scaling or shifting a map does not change its votes.

    Args:
        top_k: Pixels that the mask selects: a share in (0, 1), or a number.
        temperature: Width of the transition, in standard deviations of the map; positive.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> import torch
        >>> SoftVote(top_k=1, temperature=0.01)(torch.tensor([[[3.0, 1.0], [0.0, -2.0]]])).round()
        tensor([[[1., 0.],
                 [0., 0.]]])
    """

    top_k: float = 0.25
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"temperature must be a positive number, got {self.temperature}")
        top_k_size(self.top_k, 10**9)  # complains of what can be no share and no number

    def __call__(self, maps: Tensor) -> Tensor:
        """Votes in (0, 1) of maps ``[B, ...]``, of the same shape."""
        flat = maps.flatten(1)
        size = top_k_size(self.top_k, flat.shape[1])
        top = flat.topk(size + 1, dim=1).values
        threshold = (top[:, -2:]).mean(1, keepdim=True)
        scale = ((flat - flat.mean(1, keepdim=True)).square().mean(1, keepdim=True) + _SMALLEST).sqrt()
        return ((flat - threshold) / (self.temperature * scale)).sigmoid().view_as(maps)


def unit(maps: Tensor, centred: bool = False) -> Tensor:
    """Maps ``[B, ...]`` as vectors of length 1, ``[B, N]``; a map without a direction gives zeros, and no slope.

    Args:
        maps: Maps of any scale.
        centred: Subtract the mean of each map first: inner products of the results are Pearson correlations. A
            constant map then has no direction.
    """
    flat = maps.flatten(1)
    smallest = flat.detach().abs().amax(1, keepdim=True) * (8 * torch.finfo(flat.dtype).eps)
    if centred:
        flat = flat - flat.mean(1, keepdim=True)
    # Squares of small gradients underflow: bring the map to size first, by a constant.
    size = flat.detach().abs().amax(1, keepdim=True)
    points_somewhere = size > smallest
    flat = flat / torch.where(points_somewhere, size, 1)
    return torch.where(points_somewhere, flat / _length(flat).unsqueeze(-1), 0)


def spread(directions: Tensor) -> Tensor:
    r"""How far m directions of each image point apart: :math:`1 - \|\frac1m \sum_i u_i\|`.

    Zero where all agree, near :math:`1 - 1/\sqrt m` where they are at random in many dimensions. With
    :math:`c` the mean of all :math:`m^2` inner products it is :math:`1 - \sqrt c`; for two directions at an angle
    :math:`\phi` it is :math:`1 - \cos(\phi / 2)`.

    Args:
        directions: Unit vectors ``[m, B, N]``.

    Returns:
        Numbers in [0, 1], ``[B]``.

    Example:
        >>> import torch
        >>> spread(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))  # 1 - cos(45 degrees)
        tensor([0.2929])
    """
    return 1 - _length(directions.mean(0))


def sameness(directions: Tensor, targets: Tensor) -> Tensor:
    """Mean inner product of the mean directions of *different* images of one class: what is not about the image.

    Images of different classes need no help to have different maps: a template of each class would do.

    Args:
        directions: Unit vectors ``[m, B, N]``.
        targets: Classes ``[B]``.

    Returns:
        A scalar in [-1, 1], the mean over all pairs of a class; 0 if there is no pair.

    Example:
        >>> import torch
        >>> directions = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
        >>> sameness(directions, torch.tensor([0, 0, 0, 1]))
        tensor(0.3333)
    """
    means = unit(directions.mean(0))
    pairs = (targets[:, None] == targets).triu(1)  # a sum of no terms has no slope, and no NaN
    return ((means @ means.T) * pairs).sum() / pairs.sum().clamp_min(1)


def _length(vectors: Tensor) -> Tensor:
    return (vectors.square().sum(-1) + _SMALLEST).sqrt()
