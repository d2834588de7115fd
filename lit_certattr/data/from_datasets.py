"""Any torch Dataset of images with labels, without a data module around it."""

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from lit_certattr.data.foreign_data import ForeignData
from lit_certattr.data.foreign_samples import BatchesAsSamples, Fields, ForeignSamples
from lit_certattr.data.sample import Sample, collate
from lit_certattr.errors import InputError


class FromDatasets(ForeignData):
    """Data sets from outside the package, whose samples are ``(image, label)`` or ``(image, label, id)``.

    Images are float ``[C, H, W]`` in [0, 1], all of one shape, without normalisation; labels are class indices, one-hot
    vectors or ``None``. Without ids, sample 7 of the test set is called ``test-00007``.

    Args:
        test: The images to certify, and to test a trained network with.
        train: Training images; transforms with randomness are welcome.
        val: Validation images.
        class_names: Names of the classes, in the order of the labels; ``None`` takes ``classes`` of the data set, if it
            has that attribute.
        fields: Names of image, label and id in samples that are mappings, e.g. ``["image", "label"]``.
        batch_size: Images per batch, at least 1.
        num_workers: Processes that read images; 0 reads in the main process.
        max_images: Certify this many of the test images only; ``None`` for all.

    Raises:
        InputError: If no data set is given, or one has no length; on access, if a sample is of another kind.

    Example:
        >>> from torchvision.datasets import FakeData
        >>> from torchvision.transforms import ToTensor
        >>> data = FromDatasets(test=FakeData(4, (3, 8, 8), transform=ToTensor()), max_images=2)
        >>> len(data.predict_set)
        2
    """

    def __init__(
        self,
        test: Dataset | None = None,
        train: Dataset | None = None,
        val: Dataset | None = None,
        class_names: list[str] | None = None,
        fields: list[str] | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        max_images: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, max_images)
        self._sets: dict[str, Any] = {"test": test, "train": train, "val": val}
        if all(dataset is None for dataset in self._sets.values()):
            raise InputError("FromDatasets needs a data set: give test to certify, train and val to train")
        for split, dataset in self._sets.items():
            if isinstance(dataset, IterableDataset) or not (dataset is None or hasattr(dataset, "__len__")):
                raise InputError(
                    f"{split} is a {type(dataset).__name__} without length: give it __len__ and __getitem__"
                )
        self.fields: Fields = fields
        self.class_names = [] if class_names is None else list(class_names)
        self.num_classes = len(self.class_names)

    def setup(self, stage: str) -> None:
        """Find the shape of the images.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"`` or ``"predict"``.

        Raises:
            InputError: If the first image is of another kind.
        """
        split = {"fit": "train", "validate": "val"}.get(stage, "test")
        if self._sets[split] is not None and len(self._sets[split]):
            with torch.random.fork_rng(devices=[]):  # reading may augment
                self.describe(self._samples(split))

    def samples_to_certify(self) -> ForeignSamples:
        """The test images.

        Raises:
            InputError: If no test images were given.
        """
        return self._samples("test")

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled training batches."""
        return DataLoader(
            self._samples("train").dataset,
            batch_size=self.batch_size,
            shuffle=True,
            num_workers=self.num_workers,
            collate_fn=BatchesAsSamples(default_collate, self.fields),
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Validation batches in a fixed order."""
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        """Test batches in a fixed order."""
        return self._in_order("test")

    def _samples(self, split: str) -> ForeignSamples:
        dataset = self._sets[split]
        if dataset is None:
            raise InputError(f"FromDatasets has no {split} images: give {split}, a data set")
        return ForeignSamples(dataset, split, self.fields)

    def _in_order(self, split: str) -> DataLoader[Sample]:
        return DataLoader(
            self._samples(split),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=collate,
            persistent_workers=self.num_workers > 0,
        )
