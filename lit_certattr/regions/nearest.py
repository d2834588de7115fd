"""Scaling of labels, which have no means: by nearest neighbour."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)


def nearest(array: npt.NDArray[T], height: int, width: int) -> npt.NDArray[T]:
    """An array at another height and width: each pixel takes the value at its centre.

    Args:
        array: Labels or masks ``[..., H, W]``.
        height: Rows of the result.
        width: Columns of the result.

    Example:
        >>> nearest(np.array([[1, 2]]), 2, 4).tolist()
        [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    rows, columns = centres(array.shape[-2], height), centres(array.shape[-1], width)
    return np.ascontiguousarray(array[..., rows[:, None], columns])


def centres(old: int, new: int) -> npt.NDArray[np.int64]:
    """Index of the pixel, of ``old`` in a row, that lies under the centre of each of ``new`` pixels.

    Args:
        old: Pixels of the row that is scaled.
        new: Pixels of the result.
    """
    return (2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new)
