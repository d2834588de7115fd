"""Overlap of the maps of different images: maps can be stable because a whole class shares one map."""

from typing import NamedTuple

import torch
from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.metrics.functional.baselines import check_maps
from lit_certattr.smoothing import top_k_mask, top_k_size


class ClassOverlap(NamedTuple):
    """Mean overlap of the top K of two maps as a share of K, over pairs of different images; float32 scalars.

    Attributes:
        same: Over the pairs with the same prediction; NaN without such a pair.
        different: Over the pairs with different predictions; NaN without such a pair.
        chance: Of two independent random maps: K / N.
        constant: Share of the maps that are constant and take part in no pair.
    """

    same: Tensor
    different: Tensor
    chance: Tensor
    constant: Tensor


def class_overlap(maps: Tensor, predictions: Tensor, top_k: float = 0.1) -> ClassOverlap:
    r"""Mean top-K overlap of the maps of different images, :math:`|S_i \cap S_j| / K`, with and without a common class.

    A map that depends on *its* image overlaps little with the map of another image. If the maps of a class overlap far
    more than maps of different classes, they show the class and not the image; training can make maps stable in this
    way. If both overlaps are far above chance, maps show neither, but a bias to the centre of the image or a fixed
    pattern. In aligned data (digits, faces), images of a class are similar, so compare methods and networks on the same
    images.

    All pairs are taken, in time linear in the number of images: a pixel that is in the top K of v maps is shared by
    v (v - 1) / 2 pairs.

    Args:
        maps: Maps ``[B, H, W]`` of different images.
        predictions: Predicted classes ``[B]``.
        top_k: K as a share of the pixels in (0, 1), or their number.

    Returns:
        The overlaps, beside chance.

    Raises:
        InputError: If maps are not finite, predictions are not one class per map, or ``top_k`` is out of range.

    Example:
        >>> maps = torch.tensor([[[9.0, 1.0], [0.0, 0.0]], [[7.0, 2.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 5.0]]])
        >>> found = class_overlap(maps, torch.tensor([3, 3, 8]), top_k=1)
        >>> found.same.item(), found.different.item(), found.chance.item()
        (1.0, 0.0, 0.25)
    """
    found, masks, constant = top_k_sets(maps, predictions, top_k)
    classes = found.unique(return_inverse=True)[1]
    votes = masks.new_zeros(len(maps), masks.shape[1], dtype=torch.int32).index_add_(0, classes, masks.int())
    return overlap_of_counts(votes, classes.bincount(), constant, top_k_size(top_k, maps[0].numel()))


def top_k_sets(maps: Tensor, predictions: Tensor, top_k: float) -> tuple[Tensor, Tensor, Tensor]:
    """The top K of the maps that are not constant.

    Args:
        maps: Maps ``[B, H, W]``.
        predictions: Classes ``[B]``.
        top_k: See :func:`class_overlap`.

    Returns:
        Classes int64 ``[b]`` and masks boolean ``[b, H * W]`` of the maps that vary; the number of the others.

    Raises:
        InputError: If ``predictions`` are not one class per map, or the maps or ``top_k`` are not valid.
    """
    maps = check_maps(maps)
    if predictions.shape != (len(maps),) or predictions.is_floating_point():
        raise InputError(f"predictions must be {len(maps)} classes, got {predictions.dtype} {tuple(predictions.shape)}")
    masks = top_k_mask(maps, top_k_size(top_k, maps[0].numel())).flatten(1)
    varied = maps.flatten(1).amax(1) > maps.flatten(1).amin(1)
    return predictions.to(maps.device, torch.int64)[varied], masks[varied], (~varied).sum()


def overlap_of_counts(votes: Tensor, counts: Tensor, constant: Tensor, size: int) -> ClassOverlap:
    """Compute the overlaps from sums over images.

    Args:
        votes: How many maps of each class have each pixel in their top K, int ``[C, H * W]``.
        counts: Maps of each class, int ``[C]``; constant maps do not count.
        constant: Number of constant maps.
        size: K in pixels.
    """
    shared = torch.stack([_pairs(vote).sum() for vote in votes]).sum()  # class by class: no second array of this size
    pairs = _pairs(counts).sum()
    all_shared, all_pairs = _pairs(votes.sum(0)).sum(), _pairs(counts.sum())
    total = counts.sum() + constant
    chance = torch.tensor(size / votes.shape[1], device=votes.device)
    return ClassOverlap(
        same=shared.float() / (size * pairs),
        different=(all_shared - shared).float() / (size * (all_pairs - pairs)),
        chance=chance,
        constant=constant / total,
    )


def _pairs(count: Tensor) -> Tensor:
    count = count.long()
    return count * (count - 1) // 2
