"""Noise of patches: each patch of a grid is kept or filled with grey."""

from collections.abc import Sequence

from scipy.special import ndtri
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.patches import PatchBudget, cells_of, filled
from lit_certattr.errors import InputError
from lit_certattr.settings import real_number, whole_number
from lit_certattr.smoothing.transform import TransformNoise


class PatchMaskNoise(TransformNoise):
    r"""Each patch of a grid is kept with probability :math:`\lambda`, else filled with grey, independently.

    Theorem: the exact bound of :mod:`lit_certattr.budgets.patches`. A majority with the vote L stands against **any new
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
        super().__init__(sigma)
        if not 0 < real_number("keep", keep) < 1:
            raise InputError(f"keep must lie between 0 and 1, both excluded, got {keep:g}")
        if not 0 <= real_number("fill", fill) <= 1:
            raise InputError(f"fill must lie in [0, 1], got {fill:g}")
        self.keep, self.cells, self.fill = float(keep), whole_number("cells", cells, least=1), float(fill)

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
            cells_of(image.shape[1], image.shape[2], self.cells)
        except InputError as error:
            raise InputError(f"image {name}: {error}") from None

    @override
    def size(self, shape: Sequence[int]) -> int:
        return self.cells**2

    @override
    def transform(self, images: Tensor, numbers: Tensor) -> Tensor:
        kept = (numbers < float(ndtri(self.keep))).to(images.device)
        cell = cells_of(images.shape[2], images.shape[3], self.cells).to(images.device)
        return filled(images, kept, cell, self.fill)
