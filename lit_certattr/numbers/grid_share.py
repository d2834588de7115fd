"""Share of the attribution in one cell of a grid of images: the grid pointing game."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.numbers.base import Sign
from lit_certattr.numbers.energy_inside import EnergyInside
from lit_certattr.numbers.mask import ImageMask, Mask
from lit_certattr.regions import Grid
from lit_certattr.settings import whole_number


class Cell(ImageMask):
    """One cell of a grid of equal cells.

    Args:
        cell: Index of the cell, row by row from 0 at the top left; ``None`` takes the cell of the explained class that
            the id of a mosaic ends with, such as ``grid-1a2b3c4d5e6f7a8b-cell2`` of
            :class:`~lit_certattr.data.GridMosaics`.
        cells: Cells in each direction, at least 2.

    Raises:
        InputError: If there is no such cell; when placed, if the id ends with none.

    Example:
        >>> Cell(1).mask((2, 2)).int().tolist()
        [[0, 1], [0, 0]]
    """

    def __init__(self, cell: int | None = None, cells: int = 2) -> None:
        self.cells = whole_number("cells", cells, least=2)
        self.cell = None if cell is None else whole_number("cell", cell, least=0, most=self.cells**2 - 1)

    @property
    @override
    def is_known(self) -> bool:
        return self.cell is not None or super().is_known

    @override
    def pixels(self, image: Tensor, image_id: str) -> Tensor:
        found = re.search(r"-cell(\d{1,6})$", image_id)
        if found is None or int(found[1]) >= self.cells**2:
            raise InputError(
                f"the id of image {image_id} does not end with one of {self.cells**2} cells, such as -cell0: set cell, "
                "or use data of GridMosaics"
            )
        return _cell(int(found[1]), self.cells, (image.shape[-2], image.shape[-1]))

    @override
    def mask(self, map_shape: Sequence[int]) -> Tensor:
        return super().mask(map_shape) if self.cell is None else _cell(self.cell, self.cells, map_shape)

    @override
    def in_words(self) -> str:
        which = "the cell of its class" if self.cell is None else f"cell {self.cell}"
        return f"{which} in a grid of {self.cells} x {self.cells} images"


class GridShare(EnergyInside):
    """Share of the attribution that lies in one cell of a grid of images (the grid pointing game; Rao et al., 2022).

    Args:
        cell: See :class:`Cell`.
        cells: Cells in each direction, at least 2.
        sign: ``"positive"`` counts negative values as 0, as published; ``"absolute"`` every value by its size.

    Raises:
        InputError: If a setting is none of these.

    Example:
        >>> GridShare(cell=0)(torch.tensor([[[3.0, 1.0], [1.0, 0.0]]]))
        tensor([0.6000])
    """

    def __init__(self, cell: int | None = None, cells: int = 2, sign: Sign = "positive") -> None:
        mask: Mask = Cell(cell, cells)
        super().__init__(mask, sign)
        self.cell, self.cells = cell, cells


def _cell(cell: int, cells: int, size: Sequence[int]) -> Tensor:
    return Grid(cells)(torch.empty(1, *size), "of the mosaic") == cell
