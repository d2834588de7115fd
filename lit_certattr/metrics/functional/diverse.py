"""Diverse top-k sets: the best pixels that keep their distance from each other."""

import numpy as np
import torch
from torch import Tensor

from lit_certattr.devices import values_are_free
from lit_certattr.metrics.functional.pairs import checked_rows, set_size
from lit_certattr.metrics.functional.ranking import ordinal_ranks
from lit_certattr.metrics.functional.windows import check_window, neighbourhood, window_minimum


def diverse_top_k(maps: Tensor, k: float, window: int) -> Tensor:
    r"""Greedy diverse set :math:`D_k^w` (top-k-div of Kamath et al., 2024).

    Picks the best pixel that is farther than ``window`` (chessboard distance) from all picks so far, until there are k
    picks or no pixel is left. Ties go to the lower row-major index. Picks are in descending order of value, so their
    order is that of their ranks.

    A set that ends early has between :math:`\lceil H/(2w+1) \rceil \lceil W/(2w+1) \rceil` and
    :math:`\lceil H/(w+1) \rceil \lceil W/(w+1) \rceil` pixels: cut the map into blocks of side w + 1, none of which
    holds two picks; and of side 2w + 1, whose centres lie in windows of different picks. (Centres are chosen inside
    the map also in the cut blocks.) Scores of the set divide by the number of picks.

    Args:
        maps: Maps ``[..., H, W]``, finite, any float type.
        k: Share in (0, 1) or count of pixels.
        window: w: picks block each other within this distance; 0 gives the plain top k.

    Returns:
        Boolean ``[..., H, W]``; its sum is the number of picks actually made.

    Raises:
        InputError: If a value is not finite or a setting is out of range.

    Example:
        >>> maps = torch.tensor([[9.0, 8.0, 7.0, 1.0, 2.0]])
        >>> diverse_top_k(maps, k=2, window=1).int().tolist(), int(diverse_top_k(maps, k=5, window=2).sum())
        ([[1, 0, 1, 0, 0]], 2)
    """
    rows = checked_rows(maps)
    size = set_size(k, rows.shape[1])
    return diverse_masks(rows.unflatten(1, maps.shape[-2:]), size, check_window(window)).view(maps.shape)


def diverse_masks(maps: Tensor, size: int, window: int) -> Tensor:
    """Diverse sets of checked maps ``[B, H, W]``: a scan on a CPU, rounds of local winners on an accelerator.

    Args:
        maps: Maps ``[B, H, W]``, checked.
        size: Number of pixels of each set.
        window: Largest distance in pixels, along rows and columns, at least 0.
    """
    if not values_are_free(maps):
        return peel(maps, size, window)
    picks = np.zeros(maps.shape, dtype=bool)
    for values, mask in zip(maps.numpy(), picks, strict=True):
        scan(values, size, window, mask)
    return torch.from_numpy(picks)


def scan(values: np.ndarray, size: int, window: int, mask: np.ndarray) -> None:
    """Mark the picks of one map in ``mask`` ``[H, W]``: take the free pixels in order, block the window of each pick.

    Only as many of the best free pixels as may be needed are sorted at a time, so few blocked pixels are sorted. Rows
    are stored with ``window`` cells between them: a window that leaves the map at a side ends there.

    Args:
        values: Map ``[H, W]``.
        size: Number of pixels of each set.
        window: Largest distance in pixels of a blocked pixel, along rows and columns.
        mask: Boolean ``[H, W]``; the picks are set to true.
    """
    height, width = values.shape
    pitch, side = width + window, 2 * window + 1
    cells = bytearray((height + 2 * window) * pitch + window)
    board = np.frombuffer(cells, np.uint8)[: (height + 2 * window) * pitch].reshape(-1, pitch)
    board = board[window : window + height, window:]
    starts = [row * pitch - window for row in range(-window, window + 1)]
    blocked, flat = b"\1" * side, values.ravel()
    picks: list[int] = []
    while len(picks) < size:
        free = np.flatnonzero(board == 0)
        if not len(free):
            break
        level = flat[free]
        count = min(len(free), 2 * (size - len(picks)) + len(flat) // 64)
        best = free[level >= np.partition(level, len(free) - count)[len(free) - count]]
        best = best[np.argsort(-flat[best], kind="stable")]
        home = (best // width + window) * pitch + best % width + window
        for pixel, cell in zip(best.tolist(), home.tolist(), strict=True):
            if not cells[cell]:
                picks.append(pixel)
                for start in starts:
                    cells[cell + start : cell + start + side] = blocked
                if len(picks) == size:
                    break
    mask.reshape(-1)[picks] = True


def peel(maps: Tensor, size: int, window: int) -> Tensor:
    """The same set for maps ``[B, H, W]`` at once, in rounds that any device runs in parallel.

    A pixel is a pick of the unlimited greedy set if and only if no better pick is in its window. So every free pixel
    that is the best free one of its own window is a pick; their windows are blocked, and the rest goes into the next
    round. A row is done when ``size`` picks outrank all that is undecided, or nothing is. Each round decides at least
    the best undecided pixel of every map.

    Args:
        maps: Maps ``[B, H, W]``.
        size: Number of pixels of each set.
        window: Largest distance in pixels, along rows and columns, at least 0.
    """
    ranks = ordinal_ranks(maps.flatten(1)).view(maps.shape)
    none = maps.shape[-1] * maps.shape[-2] + 1
    undecided, picks = ranks.clone(), torch.zeros_like(ranks, dtype=torch.bool)
    while True:
        best = undecided.amin((1, 2), keepdim=True)
        safe = (picks & (ranks < best)).sum((1, 2), keepdim=True)
        if bool(((best == none) | (safe >= size)).all()):
            break
        won = (undecided == window_minimum(undecided, window)) & (undecided < none)
        picks |= won
        undecided = undecided.masked_fill(neighbourhood(won, window), none)
    ranked = torch.where(picks, ranks, none)
    last = ranked.flatten(1).sort(dim=1).values[:, size - 1, None, None]
    return picks & (ranked <= last)
