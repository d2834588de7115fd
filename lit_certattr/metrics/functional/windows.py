"""Windows around pixels: unions of them, and minima over them, at the cost of a few shifted copies of the map.

A square pool would do on an accelerator, but it is thirty times slower on a CPU, knows no booleans, and knows
integers only there; shifts are one short code for all devices.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lit_certattr.errors import InputError


def neighbourhood(mask: Tensor, window: int) -> Tensor:
    """Pixels at most ``window`` rows and columns away from the mask, cut at the border: :math:`N_w` of a set.

    Args:
        mask: Boolean ``[..., H, W]``.
        window: Chessboard distance in pixels, 0 or more; 1 is the 3x3 window of Kamath et al. (2024).

    Example:
        >>> neighbourhood(torch.tensor([[True, False, False]]), 1).tolist()
        [[True, True, False]]
    """
    return next(neighbourhoods(mask, [window]))


def neighbourhoods(mask: Tensor, windows: Sequence[int]) -> Iterator[Tensor]:
    """:func:`neighbourhood` for several windows in ascending order; each is computed from the one before.

    Args:
        mask: Boolean masks ``[..., H, W]``.
        windows: Distances in pixels, in ascending order.
    """
    return _joined_windows(mask, windows, torch.bitwise_or)


def window_minimum(values: Tensor, window: int) -> Tensor:
    """Smallest value in the window of each pixel, cut at the border.

    Args:
        values: Any real type, ``[..., H, W]``.
        window: Chessboard distance in pixels, 0 or more.

    Example:
        >>> window_minimum(torch.tensor([[3, 9, 8, 7]]), 1).tolist()
        [[3, 3, 7, 7]]
    """
    return next(_joined_windows(values, [window], torch.minimum))


def check_window(window: int) -> int:
    """Check a distance in pixels and return it.

    Args:
        window: Distance in pixels.

    Raises:
        InputError: If it is not a whole number of at least 0.
    """
    if isinstance(window, bool) or not isinstance(window, int) or window < 0:
        raise InputError(f"window must be a whole number of pixels, 0 or more, got {window!r}")
    return window


def check_windows(windows: Sequence[int]) -> tuple[int, ...]:
    """Check distances in pixels, all different and in ascending order, and return them.

    Args:
        windows: Distances in pixels.

    Raises:
        InputError: If there is none, one is not valid, or they are not in strictly ascending order.
    """
    found = tuple(check_window(window) for window in windows)
    if not found or any(b <= a for a, b in itertools.pairwise(found)):
        raise InputError(f"windows must be at least one distance, each larger than the one before, got {list(found)}")
    return found


def _joined_windows(maps: Tensor, windows: Sequence[int], join: Callable[..., Tensor]) -> Iterator[Tensor]:
    """Join (idempotent, commutative, associative) of the window of each pixel, for ascending windows.

    From reach r one shift by ``s <= r + 1`` gives reach r + s: the pixel at distance d, r < d <= r + s, is within r of
    the pixel at distance s on the same side, which lies between the two (s <= d) and so inside the map. Steps
    therefore double. Rows and columns are independent of each other.
    """
    reach = 0
    for window in check_windows(windows):
        while reach < window:
            step = min(reach + 1, window - reach)
            for dim in (-2, -1):
                maps = _join_shifted(maps, step, dim, join)
            reach += step
        yield maps


def _join_shifted(maps: Tensor, step: int, dim: int, join: Callable[..., Tensor]) -> Tensor:
    room = maps.shape[dim] - step
    if room <= 0:
        return maps
    joined = maps.clone()
    early, late = joined.narrow(dim, 0, room), joined.narrow(dim, step, room)
    join(late, maps.narrow(dim, 0, room), out=late)
    join(early, maps.narrow(dim, step, room), out=early)
    return joined
