"""What gives the regions of an image."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from lit_certattr.errors import InputError
from lit_certattr.partitions.partition import check_partition, count_regions
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

    def divide(self, image: Tensor, image_id: str) -> Tensor:
        """The regions of an image, checked, on the CPU.

        Args:
            image: The clean image ``[C, H, W]`` in [0, 1].
            image_id: Id of the image.

        Returns:
            As :meth:`__call__` gives them.

        Raises:
            InputError: If the image cannot be divided, or the answer is no partition; the message names the image.
        """
        try:
            partition = self(image.detach().clone(), image_id)  # a rule may write into what it gets
        except InputError:
            raise
        except Exception as error:  # whatever regions of the user's own, or a network, raise
            reason = " ".join(str(error).split())
            raise InputError(
                f"{type(self).__name__} cannot divide image {image_id}: {type(error).__name__}: {reason}"
            ) from None
        return check_partition(partition, (image.shape[-2], image.shape[-1]), f"image {image_id}")

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
