"""The samples of every data set: an image, its label, and an id that never changes."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_certattr.errors import InputError

NO_LABEL = -1
"""The target of an image without a label."""

_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


class Sample(NamedTuple):
    """One image, or a batch of them after :func:`collate`.

    Attributes:
        image: Float ``[C, H, W]`` in [0, 1]; a batch is ``[B, C, H, W]``.
        target: The class, or -1 without a label; a batch is int64 ``[B]``.
        id: A name that is safe as a file name and depends on the image's origin alone. It determines the noise of the
            image and names its result files. A batch holds a list of B ids.
    """

    image: Tensor
    target: int | Tensor
    id: str | list[str]


class ImageError(InputError):
    """An image that cannot be used.

    A worker process of a DataLoader re-raises an exception with the whole traceback as its message; this class keeps
    only the line that tells the user what to do.

    Args:
        message: The message; of several lines, only the text after the name of this class in the last one is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().rsplit(f"{type(self).__name__}: ", maxsplit=1)[-1])


class Images(Protocol):
    """A sequence of images ``[C, H, W]``, float in [0, 1], accessed by index."""

    def __getitem__(self, index: int, /) -> Tensor: ...


class SampleSet(Dataset[Sample]):
    """Images with their targets and ids.

    Args:
        images: Images ``[C, H, W]``, float in [0, 1], by index.
        targets: The class of each image, or -1 for an image without a label.
        ids: The id of each image: letters, digits and ``._-``, no leading dot; all different.
        augment: Function applied to each image when it is read (training only), or ``None``.

    Raises:
        InputError: If the numbers of targets and ids differ, or an id is not safe as a file name or occurs twice; on
            access, if a pixel is not finite or not in [0, 1].

    Example:
        >>> samples = SampleSet(torch.zeros(3, 1, 2, 2), targets=[0, 1, -1], ids=["a", "b", "c"])
        >>> samples.subset([2, 0])[0].id
        'c'
    """

    def __init__(
        self,
        images: Images,
        targets: Sequence[int],
        ids: Sequence[str],
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if len(targets) != len(ids):
            raise InputError(f"every image needs one target and one id, got {len(targets)} and {len(ids)}")
        unsafe = next((name for name in ids if not _SAFE_ID.fullmatch(name)), None)
        if unsafe is not None:
            raise InputError(f"sample id {unsafe!r} may hold only letters, digits and ._-, no leading dot")
        if len(set(ids)) != len(ids):
            twice = Counter(ids).most_common(1)[0][0]
            raise InputError(f"sample id {twice!r} occurs twice; ids must be unique in a data set")
        self.images = images
        self.targets = [int(target) for target in targets]
        self.ids = list(ids)
        self.augment = augment
        self._indices: Sequence[int] = range(len(self.ids))

    def subset(self, indices: Sequence[int], augment: Callable[[Tensor], Tensor] | None = None) -> "SampleSet":
        """The samples at ``indices``, in that order; the images are shared, not copied."""
        chosen = SampleSet(self.images, [self.targets[i] for i in indices], [self.ids[i] for i in indices], augment)
        chosen._indices = [self._indices[i] for i in indices]
        return chosen

    def relabelled(self, targets: Sequence[int]) -> "SampleSet":
        """The same samples in the same order with other targets; the images are shared, not copied."""
        chosen = SampleSet(self.images, targets, self.ids, self.augment)
        chosen._indices = self._indices
        return chosen

    def reread(self, images: Images) -> "SampleSet":
        """The same samples in the same order with other images, changed at random when they are read.

        Args:
            images: Images by the same indices, for training.
        """
        chosen = SampleSet(images, self.targets, self.ids, _as_it_is)  # an augmentation: no image of its id
        chosen._indices = self._indices
        return chosen

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image = self.images[self._indices[index]]
        # The comparison is written so that NaN fails it.
        if not (image.min() >= 0 and image.max() <= 1):
            raise ImageError(f"image {self.ids[index]} has pixels that are not finite or not in [0, 1]")
        if self.augment is not None:
            image = self.augment(image)
        return Sample(image, self.targets[index], self.ids[index])


def _as_it_is(image: Tensor) -> Tensor:
    return image


class PixelArray:
    """Images kept in memory as bytes.

    Args:
        pixels: uint8 ``[N, C, H, W]``.
        maximum: The pixel value that becomes 1.0.

    Example:
        >>> PixelArray(torch.full((1, 1, 1, 2), 51, dtype=torch.uint8))[0]
        tensor([[[0.2000, 0.2000]]])
    """

    def __init__(self, pixels: Tensor, maximum: int = 255) -> None:
        self.pixels = pixels
        self.maximum = maximum

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index].float() / self.maximum


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples into one batch.

    Args:
        samples: Samples of single images.

    Returns:
        A :class:`Sample` of images ``[B, C, H, W]``, int64 targets ``[B]`` and a list of B ids.

    Raises:
        ImageError: If the images differ in shape.
    """
    first = samples[0].image.shape
    for sample in samples:
        if sample.image.shape != first:
            raise ImageError(f"image {sample.id} has shape {tuple(sample.image.shape)}, but others have {tuple(first)}")
    return Sample(
        torch.stack([sample.image for sample in samples]),
        torch.tensor([int(sample.target) for sample in samples]),
        [str(sample.id) for sample in samples],
    )
