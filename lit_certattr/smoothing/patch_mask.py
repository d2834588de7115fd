"""Noise of patches: each patch of a grid is kept or filled with grey."""

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.patches import PatchBudget, cells_of
from lit_certattr.errors import InputError
from lit_certattr.settings import whole_number
from lit_certattr.smoothing.mask import MaskNoise


class PatchMaskNoise(MaskNoise):
    r"""Each patch of a grid is kept with probability :math:`\lambda`, else filled with grey, independently.

    Theorem: the exact bound of :mod:`lit_certattr.budgets.masks`. A majority with the vote L stands against **any new
    content of any m patches** while :math:`(1 - \lambda)^m > 3/2 - L`.

    The network must bear images that are mostly grey: train it with this noise (``NoiseAugmentation``), or look at the
    share of noisy copies that it still recognises.

    Args:
        keep: Probability :math:`\lambda` that a patch is kept, in (0, 1); smaller values bear more changed patches and
            show the network less.
        cells: Patches in each direction of the image; 14 gives 196.
        fill: The grey, in [0, 1].
        sigma: Standard deviation of the pixel noise, in pixel units; 0 for none. It buys no l2 radius.

    Raises:
        InputError: If a setting is out of range.

    Example:
        >>> noise = PatchMaskNoise(keep=0.25, cells=14)
        >>> float(noise.budget.votes.radius(0.985))  # up to 2 patches
        2.5
    """

    def __init__(self, keep: float, cells: int, fill: float = 0.5, sigma: float = 0.0) -> None:
        super().__init__(keep, fill, sigma)
        self.cells = whole_number("cells", cells, least=1)

    @property
    @override
    def budget(self) -> PatchBudget:
        return PatchBudget(self.keep, self.cells, self.sigma, self.fill)

    @override
    def check(self, image: Tensor, name: str) -> None:
        """Refuse an image with fewer pixels than patches in one direction.

        Raises:
            InputError: If the grid does not fit.
        """
        try:
            self.parts(image.shape)
        except InputError as error:
            raise InputError(f"image {name}: {error}") from None

    @override
    def size(self, shape: Sequence[int]) -> int:
        return self.cells**2

    @override
    def parts(self, shape: Sequence[int]) -> Tensor:
        return cells_of(shape[1], shape[2], self.cells)
