"""Any folder of images."""

import os
from pathlib import Path
from typing import Literal

from lit_certattr.data.ids import safe_id
from lit_certattr.data.images import IMAGE_SUFFIXES, ImageFiles
from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import NO_LABEL, SampleSet
from lit_certattr.data.split import balanced_order
from lit_certattr.errors import InputError

_SPLITS = ("train", "val", "test")


class ImageFolder(ImageDataModule):
    """A folder of images, with labels (one sub-folder a class) or without.

    With sub-folders ``train``, ``val`` or ``test`` each holds its own images; where only one of ``val`` and
    ``test`` exists it is the test set, and a class-balanced tenth of ``train`` validates. Without them all
    images are test images. Hidden files and files without an image's ending are passed over. The id of an
    image is its path below the root.

    Args:
        root: The folder.
        size: Height and width in pixels that images are brought to.
        channels: 3 for RGB, 1 for grayscale; images of the other kind are converted.
        crop: Side of the central square that is kept, as a share of the short side (0.875 is ImageNet's usual
            preparation; 1 leaves images of the right size untouched).
        labels: Whether the first sub-folder is the class; ``auto``: yes, if no image lies outside one.
        class_names: The classes in the order of the network's logits; ``None`` takes the sub-folders in
            alphabetical order.
        batch_size: Images a batch.
        num_workers: Processes that read images.
        max_images: Predict on this many images only.

    Raises:
        InputError: If the folder is missing or has no images, a number is out of range, labels are asked for
            where an image has none, or a class is not in ``class_names``; on access, if a file is damaged.
    """

    def __init__(
        self,
        root: str,
        size: int = 224,
        channels: Literal[1, 3] = 3,
        crop: float = 1.0,
        labels: bool | Literal["auto"] = "auto",
        class_names: list[str] | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        max_images: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, max_images)
        if size < 1 or not 0 < crop <= 1:
            raise InputError(f"size must be at least 1 and crop in (0, 1], got {size} and {crop}")
        self.root = Path(root).expanduser()
        self.crop = crop
        self.image_shape = (channels, size, size)
        if not self.root.is_dir():
            raise InputError(f"image folder {root} does not exist or is not a folder")

        splits = [name for name in _SPLITS if (self.root / name).is_dir()]
        self._files = {name: _image_files(self.root, name) for name in splits or [""]}
        files = [(split, path) for split, paths in self._files.items() for path in paths]
        if not files:
            raise InputError(f"image folder {root} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        without = next((path for split, path in files if _class_of(split, path) is None), None)
        if labels is True and without is not None:
            raise InputError(f"image {self.root / without} lies in no class folder; move it or set labels to false")
        self.labelled = labels is True or (labels == "auto" and without is None)

        found = sorted({_class_of(split, path) or "" for split, path in files}) if self.labelled else []
        self.class_names = list(class_names) if class_names is not None else found
        self.num_classes = len(self.class_names)
        unknown = next((name for name in found if name not in self.class_names), None)
        if unknown is not None:
            raise InputError(f"class folder {unknown!r} in {root} is not one of class_names")

    def setup(self, stage: str) -> None:
        """Make the sets; files are read when their image is asked for."""
        sets = {split: self._samples(split) for split, paths in self._files.items() if paths}
        self.test_set = sets.get("", sets.get("test", sets.get("val")))
        if "train" in sets:
            train = sets["train"]
            if "val" in sets and "test" in sets:
                self.train_set, self.val_set = train, sets["val"]
            else:
                order = balanced_order(train.targets)
                held_out = -(-len(train) // 10)
                if held_out == len(train):
                    raise InputError(f"{self.root / 'train'} holds one image; training needs more")
                self.val_set = train.subset(order[:held_out])
                self.train_set = train.subset(order[held_out:])

    def _samples(self, split: str) -> SampleSet:
        paths = self._files[split]
        label = {name: number for number, name in enumerate(self.class_names)}
        targets = [label[_class_of(split, path) or ""] if self.labelled else NO_LABEL for path in paths]
        channels, size, _ = self.image_shape
        images = ImageFiles([self.root / path for path in paths], size, channels, self.crop)
        return SampleSet(images, targets, [safe_id(path.as_posix()) for path in paths])

    def _missing(self, kind: str) -> str:
        split = {"training": "train", "validation": "train"}.get(kind, "test")
        return f"image folder {self.root} has no {kind} images; put some into {self.root / split}"


def _image_files(root: Path, below: str) -> list[Path]:
    """Paths of the visible images in ``root/below``, relative to ``root``, sorted."""
    found, seen = [], set()
    for folder, folders, names in os.walk(root / below, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up would go round for ever
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            (Path(folder) / name).relative_to(root)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found, key=lambda path: path.as_posix())


def _class_of(split: str, path: Path) -> str | None:
    """The first sub-folder below the split, or None for an image that lies in the split itself."""
    parts = path.parts[1:] if split else path.parts
    return parts[0] if len(parts) > 1 else None
