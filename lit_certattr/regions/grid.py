"""A grid of cells."""

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.partitions import Regions
from lit_certattr.settings import whole_number


class Grid(Regions):
    """Rectangular cells of equal size, up to one pixel; numbered row by row.

    Args:
        cells: Cells in each direction, at least 1; no more than the image has pixels.

    Raises:
        InputError: If ``cells`` is below 1; when called, if the image has fewer pixels than cells in one direction.

    Example:
        >>> Grid(2)(torch.zeros(1, 2, 3), "cat").tolist()
        [[0, 0, 1], [2, 2, 3]]
    """

    of_image: ClassVar[bool] = False

    def __init__(self, cells: int) -> None:
        self.cells = whole_number("cells", cells, least=1)

    @override
    def __call__(self, image: Tensor, image_id: str) -> Tensor:
        height, width = image.shape[-2:]
        if self.cells > min(height, width):
            raise InputError(
                f"a grid of {self.cells} x {self.cells} cells does not fit image {image_id} of {height} x {width} "
                f"pixels: set cells to at most {min(height, width)}"
            )
        rows, columns = (torch.arange(length) * self.cells // length for length in (height, width))
        return rows[:, None] * self.cells + columns
