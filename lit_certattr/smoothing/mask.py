"""Noise that hides parts of the image: each of them is kept or filled with grey."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from scipy.special import ndtri
from torch import Tensor
from typing_extensions import override

from lit_certattr.budgets.masks import filled
from lit_certattr.devices import onto
from lit_certattr.errors import InputError
from lit_certattr.settings import real_number
from lit_certattr.smoothing.transform import TransformNoise


class MaskNoise(TransformNoise):
    r"""Each part of an image is kept with probability :math:`\lambda`, else filled with grey, independently.

    Args:
        keep: Probability :math:`\lambda` that a part is kept, in (0, 1).
        fill: The grey, in [0, 1].
        sigma: Standard deviation of the pixel noise, in pixel units; 0 for none. It buys no l2 radius.

    Raises:
        InputError: If a setting is out of range.
    """

    milder_alone: ClassVar[str] = "a larger keep, which shows more of the image"

    def __init__(self, keep: float, fill: float, sigma: float) -> None:
        super().__init__(sigma)
        if not 0 < real_number("keep", keep) < 1:
            raise InputError(f"keep must lie between 0 and 1, both excluded, got {keep:g}")
        if not 0 <= real_number("fill", fill) <= 1:
            raise InputError(f"fill must lie in [0, 1], got {fill:g}")
        self.keep, self.fill = float(keep), float(fill)

    @abstractmethod
    def parts(self, shape: Sequence[int]) -> Tensor:
        """The number of the part of each pixel, int64 ``[H, W]``; -1 for a pixel that is always kept.

        Args:
            shape: Shape ``(C, H, W)`` of an image.
        """

    @override
    def transform(self, images: Tensor, numbers: Tensor) -> Tensor:
        return self._masked(images, numbers, self.parts(images.shape[1:]).to(images.device))

    @override
    def prepared(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        parts = self.parts(image.shape).to(image.device)
        return lambda numbers: self._masked(image.expand(len(numbers), -1, -1, -1), numbers, parts)

    def _masked(self, images: Tensor, numbers: Tensor, parts: Tensor) -> Tensor:
        kept = onto(numbers < float(ndtri(self.keep)), images)
        return filled(images, kept, parts, self.fill)
