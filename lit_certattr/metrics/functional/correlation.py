"""Correlations of two maps over their pixels: Pearson, Spearman, cosine. Undefined ones are NaN.

Their chance level is 0 in the sense of a permutation test (the mean over all orders of the pixels of one map), except
for the cosine, whose maps are not centred.
"""

import torch
from torch import Tensor

from lit_certattr.devices import wide
from lit_certattr.metrics.functional.pairs import Part, checked_pair, part_of
from lit_certattr.metrics.functional.ranking import ties


def pearson(clean: Tensor, perturbed: Tensor) -> Tensor:
    """Pearson correlation of the pixel values.

    Args:
        clean: Maps of the clean images ``[..., H, W]``, finite, any float type.
        perturbed: Maps of the perturbed images, same shape.

    Returns:
        Float32 ``[...]`` in [-1, 1]; NaN where a map is constant.

    Raises:
        InputError: If the maps do not fit each other or are not finite.

    Example:
        >>> pearson(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0, 4.0, 6.0]]))
        tensor(1.)
    """
    both = checked_pair(clean, perturbed).flatten(-2)
    values = wide(both)
    constant = (both.amax(-1) == both.amin(-1)).any(0)  # the mean is rounded, so the centred map need not be zero
    found = _cosine(values - values.mean(-1, keepdim=True))
    return found.masked_fill(constant, torch.nan).float().view(clean.shape[:-2])


def spearman(clean: Tensor, perturbed: Tensor) -> Tensor:
    """Spearman correlation: Pearson of the ranks, equal values at their average rank.

    Twice the ranks are whole numbers and their sums exact in float64, so no order of the sums matters. (torchmetrics
    sums the ranks of equal values in int32, which 65,536 equal pixels overflow, and calls constant maps 0.)

    Args:
        clean: Maps of the clean images ``[..., H, W]``, finite, any float type.
        perturbed: Maps of the perturbed images, same shape.

    Returns:
        Float32 ``[...]`` in [-1, 1]; NaN where a map is constant.

    Raises:
        InputError: If the maps do not fit each other or are not finite.

    Example:
        >>> spearman(torch.tensor([[1.0, 2.0], [2.0, 3.0]]), torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
        tensor(0.5000)
    """
    both = checked_pair(clean, perturbed).flatten(-2)
    first, last = ties(both.flatten(0, 1))
    ranks = wide(first + last + 1 - first.shape[1]) / 2  # the mean rank is 0
    return _cosine(ranks.view(both.shape)).float().view(clean.shape[:-2])


def cosine_similarity(clean: Tensor, perturbed: Tensor, part: Part = "score") -> Tensor:
    r"""Cosine of the angle between two maps :math:`\langle a, b \rangle / \lVert a \rVert \lVert b \rVert`.

    Maps without negative values always have a large cosine (0.64 for two independent maps
    :math:`|N(0, 1)|`). Over all orders of the pixels of one map the mean of :math:`\langle a, b \rangle` is
    :math:`n \bar a \bar b`, hence the chance level :math:`n \bar a \bar b / \lVert a \rVert \lVert b \rVert`.

    Args:
        clean: Maps of the clean images ``[..., H, W]``, finite, any float type.
        perturbed: Maps of the perturbed images, same shape.
        part: ``"score"``, its ``"chance"`` level, or the ``"adjusted"`` score (1 perfect, 0 chance).

    Returns:
        Float32 ``[...]``; the score is in [-1, 1] and NaN where a map is zero.

    Raises:
        InputError: If the maps do not fit each other or are not finite.

    Example:
        >>> maps = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
        >>> cosine_similarity(*maps), cosine_similarity(*maps, part="chance")
        (tensor(0.9600), tensor(0.9800))
    """
    values = wide(checked_pair(clean, perturbed).flatten(-2))
    means = values.mean(-1, keepdim=True).expand(values.shape)
    chance = (means[0] * means[1]).sum(-1) / _norms(values)
    return part_of(_cosine(values), chance, part).float().view(clean.shape[:-2])


def _cosine(values: Tensor) -> Tensor:
    return ((values[0] * values[1]).sum(-1) / _norms(values)).clamp(-1, 1)


def _norms(values: Tensor) -> Tensor:
    """Product of both norms, without an epsilon: gradient maps may be very small."""
    norms: Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norms.prod(0)
