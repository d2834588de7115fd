"""Any LightningDataModule whose samples are images with labels, as the data of a job or a training."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    default_collate,
)

from lit_certattr.data.foreign_data import ForeignData, are_names
from lit_certattr.data.foreign_samples import BatchesAsSamples, Fields, ForeignSamples
from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import Sample, collate
from lit_certattr.errors import InputError

_HOOKS = ("transfer_batch_to_device", "on_before_batch_transfer", "on_after_batch_transfer")


class FromLightning(ForeignData):
    """A LightningDataModule from outside the package, whose samples are ``(image, label)`` or ``(image, label, id)``.

    ``certify.py run --data my_package.MyDataModule`` and ``train.py fit --data my_package.MyDataModule`` wrap the
    module in this class; name it yourself to set ``max_images`` or ``fields``. Images are float ``[C, H, W]`` in
    [0, 1], all of one shape, without normalisation; labels are class indices, one-hot vectors or ``None``. Without ids,
    sample 7 of the test set is called ``test-00007``.

    Certified are the images of ``test_dataloader``, without it those of ``val_dataloader`` (with a warning), else of
    ``predict_dataloader``, in the order of the data set: a loader that shuffles is read in order. Training uses
    ``train_dataloader`` with its own sampler, and ``val_dataloader``.

    Args:
        data: The data module.
        fields: Names of image, label and id in samples that are mappings, e.g. ``["image", "label"]``.
        max_images: Certify this many of the test images only; ``None`` for all.

    Raises:
        InputError: If the module moves or changes batches in a hook, gives other loaders than one ``DataLoader`` for a
            split, or samples of another kind; the message names the remedy.

    Example:
        >>> from lightning import LightningDataModule
        >>> from torchvision.datasets import FakeData
        >>> from torchvision.transforms import ToTensor
        >>> fake = FakeData(4, (3, 8, 8), transform=ToTensor())
        >>> data = FromLightning(LightningDataModule.from_datasets(test_dataset=fake))
        >>> data.setup("predict")
        >>> data.predict_set.ids[0]
        'test-00000'
    """

    def __init__(
        self, data: LightningDataModule, fields: list[str] | None = None, max_images: int | None = None
    ) -> None:
        super().__init__(max_images=max_images)
        name = type(data).__name__
        hook = next((hook for hook in _HOOKS if is_overridden(hook, data, LightningDataModule)), None)
        if hook is not None:
            raise InputError(
                f"{name} changes batches in {hook}, which is not called here: do in its data sets what evaluation "
                "needs, and make normalisation the network's first layer (lit_certattr.models.Normalized)"
            )
        if fields is not None and not 1 <= len(fields) <= 3:
            raise InputError(f"fields must name image, label and id, as far as samples have them, got {fields}")
        self.data = data
        self.fields: Fields = fields
        self.prepare_data_per_node = data.prepare_data_per_node
        self.num_classes = int(getattr(data, "num_classes", None) or 0)
        names = getattr(data, "class_names", None) or getattr(data, "classes", None)
        self.class_names = list(names) if are_names(names) else []
        self.num_classes = self.num_classes or len(self.class_names)
        self._warned, self._ready, self._described = False, set[str](), set[str]()

    def prepare_data(self) -> None:
        """Let the module download missing files."""
        self.data.prepare_data()

    def setup(self, stage: str) -> None:
        """Let the module make its data sets, and find the shape of the images.

        Args:
            stage: ``"fit"``, ``"validate"``, ``"test"``, or ``"predict"`` for certification.

        Raises:
            InputError: If the first image is of another kind.
        """
        self.data.trainer = self.trainer
        inner = self._certified()[1] if stage == "predict" else stage
        if inner not in self._ready:  # a second time, a random split would be another one
            self.data.setup(inner)
            self._ready.add(inner)
        if stage in self._described:
            return
        self._described.add(stage)
        if stage == "predict":
            self.describe(self.samples_to_certify())
        elif stage == "fit":
            loader = self.train_dataloader()
            with torch.random.fork_rng(devices=[]):  # reading may augment
                if isinstance(loader.dataset, IterableDataset):
                    self.describe_images(next(iter(loader)).image)
                else:
                    self.describe(self._samples(loader, "train"))

    def teardown(self, stage: str) -> None:
        """Let the module clean up.

        Args:
            stage: As for :meth:`setup`.
        """
        self.data.teardown(stage)

    def state_dict(self) -> dict[str, Any]:
        """The state of the module, for training checkpoints."""
        return self.data.state_dict() if self.trainer is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give the module its state from a checkpoint.

        Args:
            state_dict: Result of :meth:`state_dict` in the checkpoint.
        """
        self.data.load_state_dict(state_dict)

    def train_dataloader(self) -> DataLoader[Sample]:
        """The module's own loader, whose batches are converted.

        Raises:
            InputError: If it makes no batches.
        """
        loader = self._own_loader("train_dataloader")
        if loader.batch_size is None and loader.batch_sampler is None:
            raise InputError(f"{self._name}.train_dataloader makes no batches: give its DataLoader a batch_size")
        if not isinstance(loader.collate_fn, BatchesAsSamples):
            loader.collate_fn = BatchesAsSamples(loader.collate_fn, self.fields)
        return loader

    def val_dataloader(self) -> DataLoader[Sample]:
        """The validation images in the order of the data set."""
        return self._in_order("val_dataloader", "val")

    def test_dataloader(self) -> DataLoader[Sample]:
        """The test images in the order of the data set."""
        return self._in_order("test_dataloader", "test")

    def samples_to_certify(self) -> ForeignSamples:
        """The test images, else the validation images, else those of ``predict_dataloader``.

        Raises:
            InputError: If the module has none of them.
        """
        name = self._certified()[0]
        split = name.removesuffix("_dataloader")
        if split == "val" and not self._warned:
            rank_zero_warn(f"{self._name} has no test_dataloader: its validation images are certified", stacklevel=5)
            self._warned = True
        return self._samples(self._own_loader(name), split)

    @property
    def _name(self) -> str:
        return type(self.data).__name__

    def _certified(self) -> tuple[str, str]:
        """The loader of the images to certify, and the stage that prepares it."""
        for name, stage in (("test_dataloader", "test"), ("val_dataloader", "fit"), ("predict_dataloader", "predict")):
            if self._has(name):
                return name, stage
        raise InputError(f"{self._name} has no images to certify: give it a test_dataloader")

    def _has(self, name: str) -> bool:
        return is_overridden(name, self.data, LightningDataModule) or name in vars(self.data)

    def _own_loader(self, name: str) -> DataLoader[Any]:
        """One loader of the module."""
        if not self._has(name):
            raise InputError(f"{self._name} has no {name}: add this method, which returns a torch DataLoader")
        try:
            loader = getattr(self.data, name)()
        except AttributeError as error:
            raise InputError(f"{self._name}.{name} fails after setup: {error}") from error
        if isinstance(loader, list | tuple) and len(loader) == 1:
            (loader,) = loader
        if not isinstance(loader, DataLoader):
            several = f" of {len(loader)}" if isinstance(loader, list | tuple | dict) else ""
            raise InputError(
                f"{self._name}.{name} returns a {type(loader).__name__}{several}, not one torch DataLoader: make a "
                "data module that returns the loader of the images in question"
            )
        return loader

    def _samples(self, loader: DataLoader[Any], split: str) -> ForeignSamples:
        own = loader.collate_fn
        if isinstance(own, BatchesAsSamples):
            own = own.collate
        function = None if own in (default_collate, collate) else own
        return ForeignSamples(loader.dataset, split, self.fields, function, self._indices(loader, split))

    def _indices(self, loader: DataLoader[Any], split: str) -> Sequence[int] | None:
        """The images that a loader uses, without their order."""
        dataset, sampler, batches = loader.dataset, loader.sampler, loader.batch_sampler
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise InputError(
                f"the {split} images of {self._name} are a {type(dataset).__name__} without length and order: give a "
                "data set with __len__ and __getitem__"
            )
        if type(batches) in (BatchSampler, type(None)):
            if type(sampler) in (SequentialSampler, RandomSampler, DistributedSampler):
                return None
            if type(sampler) is SubsetRandomSampler:
                return sorted(sampler.indices)
            batches = sampler
        if split == "train":
            return None  # only its first image is looked at here
        raise InputError(
            f"the {split} loader of {self._name} chooses images with {type(batches).__name__}: give these images as a "
            "data set of their own (torch.utils.data.Subset) with an ordinary loader"
        )

    def _in_order(self, name: str, split: str) -> DataLoader[Sample]:
        loader = self._own_loader(name)
        return DataLoader(
            self._samples(loader, split),
            batch_size=loader.batch_size or self.batch_size,
            num_workers=loader.num_workers,
            collate_fn=collate,
            pin_memory=loader.pin_memory,
            persistent_workers=loader.num_workers > 0,
        )


def as_image_data(data: LightningDataModule) -> ImageDataModule:
    """Data for a job or a training: the module itself, or :class:`FromLightning` of a module from outside the package.

    Args:
        data: Any LightningDataModule.

    Raises:
        InputError: If it is something else.

    Example:
        >>> from lit_certattr.data import Digits
        >>> type(as_image_data(Digits())).__name__, type(as_image_data(LightningDataModule())).__name__
        ('Digits', 'FromLightning')
    """
    if isinstance(data, ImageDataModule):
        return data
    if isinstance(data, type) or not isinstance(data, LightningDataModule):
        got = f"the class {data.__name__}" if isinstance(data, type) else f"a {type(data).__name__}"
        raise InputError(
            f"data must be a LightningDataModule, got {got}: wrap a Dataset, "
            "lit_certattr.data.FromDatasets(test=dataset)"
        )
    return FromLightning(data)
