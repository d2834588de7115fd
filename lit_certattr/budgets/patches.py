"""Patches of a regular grid that may get any content."""

import attrs
import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.masks import MaskBudget
from lit_certattr.errors import InputError


def cells_of(height: int, width: int, cells: int) -> Tensor:
    """The number of the cell of each pixel, int64 ``[H, W]``, row by row.

    Args:
        height: Height of the image.
        width: Width of the image.
        cells: Cells in each direction.

    Raises:
        InputError: If there are more cells than pixels in one direction.
    """
    if cells > min(height, width):
        raise InputError(
            f"a grid of {cells} x {cells} patches does not fit an image of {height} x {width} pixels: set cells to at "
            f"most {min(height, width)}"
        )
    rows, columns = (torch.arange(length) * cells // length for length in (height, width))
    return rows[:, None] * cells + columns


@attrs.frozen
class PatchBudget(MaskBudget):
    """Any new content of some patches of a grid; the length of a change is the number of patches that it touches.

    Attributes:
        keep: Probability that the noise keeps a patch.
        cells: Patches in each direction.
        sigma: Standard deviation of the pixel noise.
        fill: The grey that the noise puts in place of a patch.
    """

    name = "patches"
    part, plural = "patch", "patches"
    keep: float
    cells: int
    sigma: float = 0.0
    fill: float = 0.5

    @override
    def parts(self, height: int, width: int) -> Tensor:
        return cells_of(height, width, self.cells)

    @property
    @override
    def count(self) -> int:
        return self.cells**2

    @property
    @override
    def definition(self) -> str:
        return (
            f"A patch is a cell of a grid of {self.cells} x {self.cells}; it may get any content. A radius such as 2.5 "
            "is about changes of up to 2 patches, wherever they are."
        )
