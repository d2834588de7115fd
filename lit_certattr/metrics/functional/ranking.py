"""Ranks of the pixels of many maps, with one rule for ties on every device."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_certattr.devices import values_are_free


def order(rows: Tensor) -> Tensor:
    """Indices of each row from its largest value to its smallest, ties by ascending index.

    Args:
        rows: ``[B, N]``, finite.

    Example:
        >>> order(torch.tensor([[1.0, 3.0, 1.0]])).tolist()
        [[1, 0, 2]]
    """
    if not values_are_free(rows):
        return rows.sort(dim=1, descending=True, stable=True).indices
    # NumPy's vectorised sort is six times as fast as a stable one. It mixes equal values, which a second sort, of
    # (number of the run of equal values, index), puts in order where there are any.
    negative = -rows.numpy()
    found = np.argsort(negative, axis=1)
    ranked = np.take_along_axis(negative, found, axis=1)
    differs = ranked[:, 1:] != ranked[:, :-1]
    if not differs.all():
        found[:, 1:] += np.cumsum(differs, axis=1) * rows.shape[1]
        found = np.sort(found, axis=1) % rows.shape[1]
    return torch.from_numpy(found)


def ordinal_ranks(rows: Tensor) -> Tensor:
    """Ranks from 1 (largest value) to N, all different: ties by ascending index; int32 ``[B, N]``.

    Args:
        rows: Maps as rows ``[B, N]``.

    Example:
        >>> ordinal_ranks(torch.tensor([[1.0, 3.0, 1.0]])).tolist()
        [[2, 1, 3]]
    """
    ranks = torch.arange(1, rows.shape[1] + 1, dtype=torch.int32, device=rows.device).expand(rows.shape)
    return torch.empty_like(ranks, memory_format=torch.contiguous_format).scatter_(1, order(rows), ranks)


def ties(rows: Tensor) -> tuple[Tensor, Tensor]:
    """First and last place, from 0, that each value has in its row sorted upwards; they differ where values tie.

    Args:
        rows: ``[B, N]``, finite.

    Returns:
        Int64 ``[B, N]`` each.

    Example:
        >>> ties(torch.tensor([[7.0, 5.0, 5.0]]))
        (tensor([[2, 0, 0]]), tensor([[2, 1, 1]]))
    """
    upwards = order(rows).flip(1)
    ranked = rows.gather(1, upwards)
    differs = ranked[:, 1:] != ranked[:, :-1]
    places = torch.arange(rows.shape[1], device=rows.device).expand(rows.shape)
    first = torch.where(F.pad(differs, (1, 0), value=True), places, 0).cummax(1).values
    last = torch.where(F.pad(differs, (0, 1), value=True), places, rows.shape[1]).flip(1).cummin(1).values.flip(1)
    return torch.empty_like(first).scatter_(1, upwards, first), torch.empty_like(last).scatter_(1, upwards, last)
