"""What gives the regions of an image."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from lit_certattr.regions.partition import count_regions
from lit_certattr.settings import Settings


class Regions(Settings, ABC):
    """A rule that divides images into regions.

    A subclass implements ``__call__``. It is asked once per image, with the clean image, before anything is sampled;
    it must give the same answer whenever it is asked.

    Example:
        >>> from lit_certattr.regions import Grid
        >>> import torch
        >>> Grid(2)(torch.zeros(3, 4, 4), "cat")[:, 0].tolist()
        [0, 0, 2, 2]
    """

    of_image: ClassVar[bool] = True
    """Whether the regions depend on the image or its id; if not, images of one size share them."""

    @abstractmethod
    def __call__(self, image: Tensor, image_id: str) -> Tensor:
        """The regions of an image.

        Args:
            image: The clean image ``[C, H, W]`` in [0, 1].
            image_id: Id of the image.

        Returns:
            On the CPU, either int64 labels ``[H, W]``: the number of each pixel's region, 0 to m - 1, or -1 for a pixel
            in no region; or, where regions may overlap, boolean masks ``[m, H, W]``. No region is empty.

        Raises:
            InputError: If the image cannot be divided; the message names the image.
        """

    def in_words(self) -> str:
        """Where the regions come from, for a sentence."""
        return repr(self)

    def numbered(self, image: Tensor, image_id: str) -> tuple[Tensor, list[int]]:
        """The regions of an image, with the numbers by which the user knows them.

        Args:
            image: The clean image ``[C, H, W]`` in [0, 1].
            image_id: Id of the image.

        Returns:
            As :meth:`__call__` gives them, and the number of each; regions may share one. By default their position.

        Raises:
            InputError: If the image cannot be divided; the message names the image.
        """
        partition = self(image, image_id)
        return partition, list(range(count_regions(partition)))
