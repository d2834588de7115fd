"""The base of data modules that read data sets from outside the package."""

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor
from typing_extensions import override

from lit_certattr.data.foreign_samples import ForeignSamples
from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import SampleSet
from lit_certattr.data.split import balanced_order
from lit_certattr.errors import InputError

_READS = 8
"""How often the first image is read to find transforms with randomness; one that flips half of the time is missed in
1 of 128 cases, and found when the images are read again."""


class ForeignData(ImageDataModule):
    """Base of data modules that read data sets from outside the package.

    Images are certified in the order of the data set, whatever a sampler does. Labels and ids are read with the images,
    so only those of the images in use are known, and ``max_images`` takes the first images of a fixed shuffle that is
    not balanced over the classes.

    Args:
        batch_size: Images per batch, at least 1.
        num_workers: Processes that read images; 0 reads in the main process.
        max_images: Certify this many of the test images only; ``None`` for all.
    """

    def __init__(self, batch_size: int = 64, num_workers: int = 0, max_images: int | None = None) -> None:
        super().__init__(batch_size, num_workers, max_images)
        self.class_names, self.num_classes, self.image_shape = [], 0, (0, 0, 0)
        self._first: Tensor | None = None

    def samples_to_certify(self) -> ForeignSamples:
        """The test images, after ``setup``.

        Raises:
            InputError: If there are none.
        """
        raise NotImplementedError

    @property
    def predict_set(self) -> SampleSet:
        """The test images, or ``max_images`` of them, with their labels and ids, which are read now.

        Raises:
            InputError: If there are none, one cannot be used, or the first one is not the same each time it is read.
        """
        samples = self.samples_to_certify()
        if not len(samples):
            raise InputError(f"{type(self).__name__}: the test images are an empty data set")
        self._check_repeatable(samples)
        chosen = range(len(samples)) if self.max_images is None else self._some_of(len(samples))
        found = [samples[index] for index in chosen]
        targets, ids = [int(one.target) for one in found], [str(one.id) for one in found]
        return SampleSet(_ImagesOf(samples, list(chosen)), targets, ids)

    def describe(self, samples: ForeignSamples) -> None:
        """Set ``image_shape`` and, where the data set names its classes, ``class_names`` and ``num_classes``.

        Args:
            samples: Samples of a split.
        """
        self.describe_images(torch.stack([samples[index].image for index in range(min(2, len(samples)))]))
        names = class_names(samples.dataset)
        if not self.class_names and names:
            self.class_names, self.num_classes = names, max(self.num_classes, len(names))

    def describe_images(self, images: Tensor) -> None:
        """Set ``image_shape``, and keep two images on which a network can be tried.

        Args:
            images: Images of a split, ``[B, C, H, W]``.
        """
        self._first = images[:2]
        channels, height, width = images.shape[1:]
        self.image_shape = (channels, height, width)

    @override
    def first_images(self, count: int = 2) -> Tensor | None:
        return None if self._first is None else self._first[:count]

    def _some_of(self, count: int) -> list[int]:
        return sorted(balanced_order([0] * count)[: self.max_images])

    @staticmethod
    def _check_repeatable(samples: ForeignSamples) -> None:
        """Refuse a data set whose images change from one reading to the next."""
        first = samples[0].image
        if any(not torch.equal(first, samples[0].image) for _ in range(_READS - 1)):
            raise InputError(
                f"{samples.split} image {samples.indices[0]} is another one each time it is read: a certificate is "
                "about one image; use transforms without randomness for the test images (RandomCrop, flips, noise and "
                "colour jitter belong to the training images)"
            )


def class_names(dataset: Any) -> list[str]:
    """The class names of a torchvision data set, also inside a ``Subset``; empty if it has none.

    Args:
        dataset: Any data set.
    """
    while dataset is not None:
        names = getattr(dataset, "classes", None)
        if are_names(names):
            return list(names)
        dataset = getattr(dataset, "dataset", None)
    return []


def are_names(names: Any) -> TypeGuard[Sequence[str]]:
    """Whether a value is a list of two or more different texts.

    Args:
        names: Any value.
    """
    texts = isinstance(names, list | tuple) and len(names) > 1 and all(isinstance(name, str) for name in names)
    return texts and len(set(names)) == len(names)


class _ImagesOf:
    """The images of samples, by their place among the chosen ones."""

    def __init__(self, samples: ForeignSamples, chosen: Sequence[int]) -> None:
        self.samples, self.chosen = samples, chosen

    def __getitem__(self, index: int) -> Tensor:
        return self.samples[self.chosen[index]].image
