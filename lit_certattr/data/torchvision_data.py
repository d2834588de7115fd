"""The data sets that torchvision reads."""

from pathlib import Path
from typing import Any, Literal

import torch
from torchvision import datasets
from torchvision.transforms import v2

from lit_certattr.data.ids import safe_id
from lit_certattr.data.images import ImageFiles
from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import PixelArray, SampleSet
from lit_certattr.data.split import balanced_order
from lit_certattr.errors import InputError
from lit_certattr.models import imagenet_classes

_SHAPES = {
    "MNIST": (10, (1, 28, 28)),
    "FashionMNIST": (10, (1, 28, 28)),
    "CIFAR10": (10, (3, 32, 32)),
    "CIFAR100": (100, (3, 32, 32)),
    "GTSRB": (43, (3, 32, 32)),
    "Flowers102": (102, (3, 128, 128)),
    "ImageNet": (1000, (3, 224, 224)),
}
_CROP = {"GTSRB": 1.0, "Flowers102": 1.0, "ImageNet": 0.875}
"""The data sets of image files of any size: side of the central square in use, as a share of the short side."""


class TorchvisionData(ImageDataModule):
    """MNIST, FashionMNIST, CIFAR-10, CIFAR-100, GTSRB, Flowers102 or ImageNet through torchvision.

    The test set is torchvision's (for ImageNet its ``val``); validation images are held out of its training
    set (for Flowers102 its ``train`` and ``val``) by a fixed class-balanced choice. The id ``cifar10-test-00042``
    gives the image's index in torchvision's order; ids of data sets of image files are paths below the root. ImageNet
    images are the central 224 x 224 pixels after scaling the short side to 256; traffic signs and flowers are
    central squares, 32 and 128 pixels wide as in the literature on robust attributions.

    Args:
        name: The data set.
        root: The folder in which torchvision keeps it.
        download: Download missing files (not for ImageNet, which has no public address).
        val_size: Number of training images that are held out for validation, at least 1.
        augment: Train on random crops (after 4 pixels of padding) and mirror images; CIFAR only.
        batch_size: Images per batch, at least 1.
        num_workers: Processes that read images; 0 reads in the main process.
        max_images: Certify this many of the test images only; ``None`` for all.

    Attributes:
        class_names: Known after ``setup``.

    Raises:
        InputError: If files are missing or damaged or cannot be downloaded, or an argument does not fit.
    """

    def __init__(
        self,
        name: Literal["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "GTSRB", "Flowers102", "ImageNet"],
        root: str = "data",
        download: bool = False,
        val_size: int = 5000,
        augment: bool = False,
        batch_size: int = 128,
        num_workers: int = 0,
        max_images: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, max_images)
        if name not in _SHAPES:
            raise InputError(f"name must be one of {', '.join(_SHAPES)}, got {name!r}")
        if val_size < 1:
            raise InputError(f"val_size must be at least 1, got {val_size}")
        if augment and not name.startswith("CIFAR"):
            raise InputError(f"augment fits CIFAR10 and CIFAR100 only, not {name}")
        if download and name == "ImageNet":
            raise InputError(f"ImageNet cannot be downloaded by a program; {_imagenet_files(root)}")
        self.dataset = name
        self.root = Path(root).expanduser()
        self.download = download
        self.val_size = val_size
        self.augment = augment
        self.num_classes, self.image_shape = _SHAPES[name]
        self.class_names = []

    def prepare_data(self) -> None:
        """Download the files if ``download`` is set; Lightning calls this in one process only.

        Raises:
            InputError: If the files cannot be downloaded.
        """
        if not self.download:
            return
        kind = getattr(datasets, self.dataset)
        try:
            for split in ("train", "test") if self.dataset == "GTSRB" else ("",):  # the others come whole
                kind(self.root, download=True, **({"split": split} if split else {}))
        except Exception as error:  # whatever the transport raises
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{self.dataset} cannot be downloaded ({reason}); on a machine with a network fetch "
                f"{self._archives()}, then run again with download: true"
            ) from error

    def setup(self, stage: str) -> None:
        """Read the images of the stage: the training images for fit and validate, else the test images.

        Raises:
            InputError: If files are missing or damaged, or ``val_size`` leaves no image for training.
        """
        if stage in ("fit", "validate"):
            train = self._read(train=True)
            if self.val_size >= len(train):
                raise InputError(f"val_size must be below the {len(train)} training images, got {self.val_size}")
            order = balanced_order(train.targets)
            self.val_set = train.subset(order[: self.val_size])
            self.train_set = train.subset(order[self.val_size :], _crop_and_flip() if self.augment else None)
        else:
            self.test_set = self._read(train=False)

    def _read(self, train: bool) -> SampleSet:
        try:
            parts = [self._part(split) for split in self._splits(train)]
        except Exception as error:  # absent, cut short or changed files end in many kinds of exceptions
            raise InputError(f"{self.dataset} is not in {self.root}, or damaged: {self._fix()}") from error
        if self.dataset in _CROP:
            paths, labels = [], []
            for dataset in parts:
                files, targets = _files(dataset)
                paths += files
                labels += targets
            ids = [safe_id(path.relative_to(self.root).as_posix()) for path in paths]
            self.class_names = self._names(parts[0])
            return SampleSet(ImageFiles(paths, self.image_shape[1], crop=_CROP[self.dataset]), labels, ids)
        (dataset,) = parts
        self.class_names = [name.split(" - ")[0] for name in dataset.classes]  # MNIST says "0 - zero"
        channels, height, width = self.image_shape
        pixels = torch.as_tensor(dataset.data).reshape(-1, height, width, channels)
        ids = [f"{self.dataset.lower()}-{'train' if train else 'test'}-{place:05d}" for place in range(len(pixels))]
        return SampleSet(PixelArray(pixels.permute(0, 3, 1, 2)), [int(label) for label in dataset.targets], ids)

    def _splits(self, train: bool) -> list[dict[str, Any]]:
        """What torchvision calls the parts of the training or the test set."""
        match self.dataset:
            case "ImageNet":
                return [{"split": "train" if train else "val"}]
            case "GTSRB":
                return [{"split": "train" if train else "test"}]
            case "Flowers102":
                return [{"split": "train"}, {"split": "val"}] if train else [{"split": "test"}]
            case _:
                return [{"train": train}]

    def _part(self, split: dict[str, Any]) -> Any:
        return getattr(datasets, self.dataset)(self.root, **split)

    def _names(self, dataset: Any) -> list[str]:
        """Names of the classes; GTSRB has none but its numbers."""
        if self.dataset == "ImageNet":
            return imagenet_classes()
        names = getattr(dataset, "classes", None)
        return list(names) if names else [f"sign {label}" for label in range(self.num_classes)]

    def _archives(self) -> str:
        """Addresses of the original files, and where torchvision looks for them."""
        kind = getattr(datasets, self.dataset)
        if self.dataset == "GTSRB":
            files = "GTSRB-Training_fixed.zip, GTSRB_Final_Test_Images.zip, GTSRB_Final_Test_GT.zip"
            return f"{files} from https://benchmark.ini.rub.de, unpacked into {self.root / 'gtsrb'}"
        if self.dataset == "Flowers102":
            files = ", ".join(file for file, _ in kind._file_dict.values())
            return f"{files} from {kind._download_url_prefix} into {self.root / 'flowers-102'}"
        if self.dataset.startswith("CIFAR"):
            return f"{kind.url} into {self.root}"
        files = ", ".join(file for file, _ in kind.resources)
        return f"{files} from {kind.mirrors[0]} into {self.root / self.dataset / 'raw'}"

    def _fix(self) -> str:
        if self.dataset == "ImageNet":
            return _imagenet_files(str(self.root))
        return f"set download: true, or without a network fetch {self._archives()} and set download: true"


def _files(dataset: Any) -> tuple[list[Path], list[int]]:
    """Paths and labels of a data set of picture files."""
    if isinstance(dataset, datasets.Flowers102):
        return [Path(path) for path in dataset._image_files], [int(label) for label in dataset._labels]
    samples = dataset.samples if isinstance(dataset, datasets.ImageNet) else dataset._samples
    return [Path(path) for path, _ in samples], [int(label) for _, label in samples]


def _imagenet_files(root: str) -> str:
    return (
        "get ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_val.tar and, to train, ILSVRC2012_img_train.tar "
        f"from https://image-net.org and put them into {root}"
    )


def _crop_and_flip() -> v2.Transform:
    return v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
