"""Where the energy of a map lies on average, along one axis."""

from typing import ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.numbers.base import Number, Sign, check_sign, energy, sign_in_words


class CentreOfMass(Number):
    """Row or column of the centre of mass of a map, in pixels from the first one; a claim of each makes a box.

    Args:
        axis: ``"row"`` or ``"column"``.
        sign: ``"positive"`` counts negative values as 0, ``"absolute"`` counts every value by its size.

    Raises:
        InputError: If a setting is none of these.

    Example:
        >>> maps = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]])
        >>> CentreOfMass("row")(maps), CentreOfMass("column")(maps)
        (tensor([0.7500]), tensor([2.]))
    """

    low: ClassVar[float | None] = None
    high: ClassVar[float | None] = None

    def __init__(self, axis: Literal["row", "column"], sign: Sign = "absolute") -> None:
        if axis not in ("row", "column"):
            raise InputError(f"axis must be row or column, got {axis!r:.80}")
        self.axis, self.sign = axis, check_sign(sign)

    @override
    def values(self, maps: Tensor) -> Tensor:
        mass = energy(maps, self.sign).sum(2 if self.axis == "row" else 1)
        total = mass.sum(1)
        places = torch.arange(mass.shape[1], device=maps.device, dtype=mass.dtype)
        return torch.where(total > 0, (mass * places).sum(1) / torch.where(total > 0, total, 1.0), torch.nan)

    @override
    def in_words(self) -> str:
        return f"the {self.axis} of the centre of mass of {sign_in_words(self.sign)}, in pixels"
