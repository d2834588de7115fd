"""A part of the image plane that a number is about: the same for every image, or one for each."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.regions.nearest import nearest
from lit_certattr.settings import Settings
from lit_certattr.settings.frozen import Frozen


class Mask(Settings, Frozen, ABC):
    """A part of the image plane, fixed before anything is sampled; it stays where it is when the image is perturbed."""

    of_image: ClassVar[bool] = False
    """Whether each image has its own, which :meth:`placed` finds."""

    @abstractmethod
    def mask(self, map_shape: Sequence[int]) -> Tensor:
        """The pixels inside, bool ``[H, W]``, on the CPU.

        Args:
            map_shape: Height and width.

        Raises:
            InputError: If no pixel is inside.
        """

    @abstractmethod
    def in_words(self) -> str:
        """The part, for a sentence; the same words for every image."""

    @property
    def is_known(self) -> bool:
        """Whether :meth:`mask` can be asked."""
        return True

    @property
    def called(self) -> str:
        """What messages call it."""
        return "the mask"

    def placed(self, image: Tensor, image_id: str) -> Self:
        """The mask of one image, for a mask that depends on the image; this mask otherwise.

        Args:
            image: The clean image ``[C, H, W]``.
            image_id: Id of the image.

        Raises:
            InputError: If the image has no such mask; the message names the image.
        """
        return self

    def fixed_to(self, pixels: Tensor, called: str) -> Self:
        """This mask as it is for an image whose pixels inside are known; this mask itself where all images share one.

        Args:
            pixels: The pixels inside, bool ``[H, W]``.
            called: What messages call it.
        """
        return self


class ImageMask(Mask):
    """Base of the masks that each image has for itself; a subclass says which pixels of an image are inside."""

    of_image: ClassVar[bool] = True
    _pixels: Tensor | None = None
    _called: str = "the mask"

    @abstractmethod
    def pixels(self, image: Tensor, image_id: str) -> Tensor:
        """The pixels inside, bool ``[H, W]`` of the size of the image; at least one.

        Args:
            image: The clean image ``[C, H, W]``.
            image_id: Id of the image.

        Raises:
            InputError: If the image has none; the message names the image.
        """

    @property
    @override
    def is_known(self) -> bool:
        return self._pixels is not None

    @property
    @override
    def called(self) -> str:
        return self._called

    @override
    def placed(self, image: Tensor, image_id: str) -> Self:
        if self.is_known:
            return self
        name, size = f"the mask of image {image_id}", image.shape[-2:]
        try:
            pixels = self.pixels(image.detach(), image_id)
        except InputError:
            raise
        except Exception as error:  # whatever a mask of the user's own raises
            reason = " ".join(str(error).split())
            raise InputError(f"{name} cannot be found: {type(error).__name__}: {reason}") from None
        if not isinstance(pixels, Tensor) or pixels.dtype != torch.bool or pixels.shape != size:
            got = f"{pixels.dtype} {tuple(pixels.shape)}" if isinstance(pixels, Tensor) else type(pixels).__name__
            raise InputError(f"{name} must be boolean, with {size[0]} x {size[1]} pixels, got {got}")
        if not bool(pixels.any()):
            raise InputError(f"{name} is empty: give it at least one pixel, or leave the image out")
        return self.fixed_to(pixels.cpu(), name)

    @override
    def fixed_to(self, pixels: Tensor, called: str) -> Self:
        return self._changed(_pixels=pixels, _called=called)

    @override
    def mask(self, map_shape: Sequence[int]) -> Tensor:
        """The pixels inside; a map of another size than the image takes the nearest pixel of the mask."""
        if self._pixels is None:
            raise InputError(
                f"{self!r} has another mask for each image: certify with a Certifier, or call placed(image, image_id) "
                "with the clean image and use what it returns"
            )
        height, width = map_shape
        mask = torch.from_numpy(nearest(self._pixels.numpy(), height, width))
        if not bool(mask.any()):
            raise InputError(
                f"{self.called} holds no pixel of a map of {height} x {width}: use maps of a higher resolution"
            )
        return mask


def check_leaves_out(mask: Mask, map_shape: Sequence[int]) -> None:
    """Refuse a mask that holds no pixel; or, where all images share it, one that holds all of them.

    Args:
        mask: The mask. That of one image may hold all pixels: its share of the image stands beside the number.
        map_shape: Height and width of the maps.

    Raises:
        InputError: Naming the mask.
    """
    if bool(mask.mask(map_shape).all()) and not mask.of_image:
        raise InputError(
            f"{mask.in_words()} holds all pixels of a map of {map_shape[0]} x {map_shape[1]}, so the number is 1 for "
            "every map: make it smaller"
        )


def check_mask(name: str, mask: object) -> Mask:
    """A setting, if it is a mask.

    Args:
        name: What the message calls it.
        mask: What the user gave.

    Raises:
        InputError: If it is something else.
    """
    if not isinstance(mask, Mask):
        example = 'Box(0.25, 0.25, 0.75, 0.75) or RegionMask(MaskFolder("masks"), labels=[1])'
        raise InputError(f"{name} must be a Box or another mask, e.g. {example}, got {mask!r:.80}")
    return mask
