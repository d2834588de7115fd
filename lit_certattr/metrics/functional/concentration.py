"""How concentrated a map is, beside maps that did not ask the network."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lit_certattr.devices import wide
from lit_certattr.metrics.functional.baselines import centre_map, check_maps
from lit_certattr.numbers.gini import gini_index


class Sparseness(NamedTuple):
    """Gini indices of each image, float32 ``[B]``.

    Attributes:
        map: Of the map; NaN for a map of zeros.
        centre: Of :func:`~lit_certattr.metrics.functional.centre_map`.
        random: Chance: of a map of independent normal values, in the limit of many pixels.
    """

    map: Tensor
    centre: Tensor
    random: Tensor


def sparseness(maps: Tensor) -> Sparseness:
    r"""Gini index of the absolute values of a map: 0 if all pixels matter alike, near 1 if one matters alone.

    See :func:`~lit_certattr.numbers.gini.gini_index`. Chance is :math:`\sqrt 2 - 1`, the index of the law of
    :math:`|N(0, 1)|`.

    Convention: Quantus first divides the maps by the largest absolute value of the batch and adds 1e-7 to each value,
    so that its index of a map far smaller than others of the batch is too low, and 0 for a map of zeros.

    Args:
        maps: Maps ``[B, H, W]``.

    Returns:
        The index of each map, beside the image centre and chance.

    Raises:
        InputError: If maps are not finite.

    Example:
        >>> found = sparseness(torch.tensor([[[0.0, 0.0], [0.0, 5.0]]]))
        >>> round(found.map.item(), 4), round(found.random.item(), 4)
        (0.75, 0.4142)

    Reference: Chalasani, Chen, Chowdhury, Wu & Jha, "Concise explanations of neural networks using adversarial
    training", ICML 2020; Hurley & Rickard, "Comparing measures of sparsity", IEEE Transactions on Information Theory
    2009.
    """
    maps = check_maps(maps)
    flat = maps.flatten(1)
    # By the largest value first: sums of values far from 1 must not overflow or vanish.
    flat = flat / flat.abs().amax(1, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    centre = gini_index(wide(centre_map(*maps.shape[1:]).flatten()[None]))
    index = gini_index(wide(flat)).float()
    return Sparseness(
        map=index,
        centre=centre.float().to(index.device).expand_as(index),
        random=torch.full_like(index, math.sqrt(2) - 1),
    )
