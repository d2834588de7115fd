"""The base class of all data modules: loaders, the images to certify, and the facts that a network must match."""

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from lit_certattr.data.sample import Sample, SampleSet, collate
from lit_certattr.data.split import balanced_order
from lit_certattr.errors import InputError
from lit_certattr.settings import check_count, whole_number


class ImageDataModule(LightningDataModule):
    """Images in [0, 1] with labels and stable ids, in batches of :class:`~lit_certattr.data.Sample`.

    A subclass sets ``num_classes``, ``class_names`` and ``image_shape`` in its ``__init__``, and in ``setup``
    ``train_set``, ``val_set`` and ``test_set``, as far as it has them. Prediction (certification) uses the test images,
    unshuffled.

    Args:
        batch_size: Images per batch, at least 1.
        num_workers: Processes that read images; 0 reads in the main process.
        max_images: Certify this many of the test images only; ``None`` for all. The choice is the first images of a
            fixed class-balanced shuffle, so that a larger number keeps the images of a smaller one and adds more. They
            keep the order of the test set.

    Attributes:
        num_classes: Number of classes.
        class_names: Names of the classes, in the order of the labels; some data sets know them only after ``setup``.
        image_shape: ``(C, H, W)`` of every image.

    Raises:
        InputError: If a number is out of range, or a loader is requested for a split that the data set does not have.
    """

    num_classes: int
    class_names: list[str]
    image_shape: tuple[int, int, int]

    train_set: SampleSet | None = None
    val_set: SampleSet | None = None
    test_set: SampleSet | None = None

    def __init__(self, batch_size: int = 64, num_workers: int = 0, max_images: int | None = None) -> None:
        super().__init__()
        whole_number("batch_size", batch_size, least=1)
        check_count("num_workers", whole_number("num_workers", num_workers, least=0))
        if max_images is not None and whole_number("max_images", max_images) < 1:
            raise InputError(f"max_images must be at least 1 or null for all, got {max_images}")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.max_images = max_images

    @property
    def predict_set(self) -> SampleSet:
        """The test images, or ``max_images`` of them, in the order of the test set."""
        samples = self._require(self.test_set, "test")
        if self.max_images is None or self.max_images >= len(samples):
            return samples
        return samples.subset(sorted(balanced_order(samples.targets)[: self.max_images]))

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled training batches."""
        return self._loader(self._require(self.train_set, "training"), shuffle=True)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Validation batches in a fixed order."""
        return self._loader(self._require(self.val_set, "validation"))

    def test_dataloader(self) -> DataLoader[Sample]:
        """Test batches in a fixed order."""
        return self._loader(self._require(self.test_set, "test"))

    def predict_dataloader(self) -> DataLoader[Sample]:
        """The images to certify, in a fixed order."""
        return self._loader(self.predict_set)

    def first_images(self, count: int = 2) -> Tensor | None:
        """A few images after ``setup``, ``[B, C, H, W]``, to try a network on; ``None`` without any.

        Args:
            count: Largest number of images.
        """
        samples = next((one for one in (self.train_set, self.val_set, self.test_set) if one is not None), None)
        if samples is None:
            return None
        with torch.random.fork_rng(devices=[]):  # reading may augment
            return torch.stack([samples[index].image for index in range(min(count, len(samples)))])

    def _loader(self, samples: SampleSet, shuffle: bool = False) -> DataLoader[Sample]:
        return DataLoader(
            samples,
            batch_size=self.batch_size,
            shuffle=shuffle,
            num_workers=self.num_workers,
            collate_fn=collate,
            # New workers for every training epoch: their generators start from the main process's, which a checkpoint
            # holds, so a resumed run repeats what they draw.
            persistent_workers=self.num_workers > 0 and not shuffle,
        )

    def _require(self, samples: SampleSet | None, kind: str) -> SampleSet:
        if samples is None:
            raise InputError(self._missing(kind))
        return samples

    def _missing(self, kind: str) -> str:
        """What to say when the data set lacks the images that a loader was asked for."""
        return f"{type(self).__name__} has no {kind} images"
