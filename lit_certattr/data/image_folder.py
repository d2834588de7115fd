"""Any folder of images."""

import math
import unicodedata
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn

from lit_certattr.data.folders import images_at, refuse_alike
from lit_certattr.data.ids import safe_id
from lit_certattr.data.image_header import MAX_PIXELS, Header
from lit_certattr.data.images import ImageFiles
from lit_certattr.data.module import ImageDataModule
from lit_certattr.data.sample import NO_LABEL, SampleSet
from lit_certattr.data.split import balanced_order
from lit_certattr.data.split_folders import Splits, refuse_annotations, several_splits_as_classes, split_folders
from lit_certattr.data.transforms import OwnTransform, Pipeline, TransformedFiles
from lit_certattr.data.white_level import WhiteLevel, read_headers, resolve_white_level, warn_of_losses
from lit_certattr.errors import InputError
from lit_certattr.settings import real_number, several, whole_number


class ImageFolder(ImageDataModule):
    """A folder of images, with labels (one sub-folder per class) or without.

    With sub-folders ``train``, ``val`` or ``test`` (or ``training``; ``valid``, ``validation``, ``dev``; ``testing``;
    in any letter case) that hold class folders, each is a split; if only one of ``val`` and ``test`` exists, it
    is the test set, and a class-balanced tenth of ``train`` is the validation set. Without such sub-folders all images
    are test images. A folder called ``train`` that holds images and stands beside other folders of images is a class. A
    folder whose structure is ambiguous is refused.

    Classes are numbered in alphabetical order over all splits (10 before 2, with a warning); a class folder without
    images keeps its number, and a warning names it. Hidden files are ignored; one warning counts all other files that
    are no images, by their extensions. The id of an image is its path below the root.

    Args:
        root: The folder; or one image file, which is then the only image.
        size: Height and width in pixels to which images are scaled.
        channels: 3 for RGB, 1 for grayscale; images of the other kind are converted.
        crop: Side of the central square that is kept, as a share of the short side (0.875 is ImageNet's usual
            preparation; 1 leaves images of the right size untouched).
        labels: Whether the first sub-folder is the class; ``auto``: yes for splits whose images all lie in
            sub-folders, no for splits without sub-folders.
        class_names: The classes in the order of the network's logits; ``None`` takes the sub-folders in
            alphabetical order.
        batch_size: Images per batch, at least 1.
        num_workers: Processes that read images; 0 reads in the main process.
        max_images: Certify this many of the test images only; ``None`` for all.
        splits: Whether sub-folders called ``train``, ``val`` or ``test`` are splits: ``auto`` decides by the contents
            of these folders and of those beside them, ``folders`` takes them as splits, ``none`` takes every sub-folder
            as a class.
        white_level: The number that becomes 1.0 in images with more than 8 bits per sample, which are kept in float32:
            a number; ``auto``: the number that the metadata of the files declare (PGM's maxval, TIFF's MaxSampleValue,
            PNG's sBIT, OME's SignificantBits), else the largest number in all images of the folder; ``full``: the
            largest of the type (65535 for 16 bits, PGM's maxval, 1 for floats). After ``setup`` the attribute
            ``white_level`` holds the number that ``auto`` has found; training checkpoints hold it as well. Images of 8
            bits are scaled by 255 unless a smaller number is given.
        max_pixels: Largest width x height of a file in pixels, as protection against decompression bombs.
        transform: Transforms of your own in place of ``size`` and ``crop``, which are then not used: one, or several
            that are applied in turn, see :class:`~lit_certattr.data.transforms.Pipeline`. They must give the same image
            each time, in [0, 1] and of one size; after ``setup``, ``image_shape`` is that size.
        train_transform: The same for training images, with randomness if you like; ``None`` for that of all images.

    Raises:
        InputError: If the folder is missing, cannot be read, has no images or an ambiguous structure, if two names in
            it differ only in letter case or Unicode form, a number is out of range, ``labels`` is true and an image has
            none, a class is not in ``class_names``, or a transform normalises; on ``setup``, if ``auto`` finds no
            single white level, or ``transform`` is random; on access, if a file is damaged or too large, its numbers do
            not fit the white level, or a transform does not give an image in [0, 1].
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
        splits: Splits = "auto",
        white_level: WhiteLevel = "full",
        max_pixels: int = MAX_PIXELS,
        transform: OwnTransform | None = None,
        train_transform: OwnTransform | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, max_images)
        whole_number("size", size)
        real_number("crop", crop)
        if size < 1 or not 0 < crop <= 1:
            raise InputError(f"size must be at least 1 and crop in (0, 1], got {size} and {crop}")
        if channels not in (1, 3) or labels not in (True, False, "auto"):
            raise InputError(f"channels must be 1 or 3 and labels true, false or 'auto', got {channels} and {labels!r}")
        if white_level not in ("auto", "full") and not (_is_number(white_level) and 0 < float(white_level) < math.inf):
            raise InputError(f"white_level must be a number above 0, 'auto' or 'full', got {white_level!r}")
        whole_number("max_pixels", max_pixels, least=1)
        if size**2 > max(max_pixels, MAX_PIXELS):
            raise InputError(f"size {size} makes images of more than {MAX_PIXELS} pixels; choose a smaller one")
        self.white_level, self.max_pixels = white_level, max_pixels
        self._white: float | None = None
        self._headers: dict[Path, Header] | None = None
        self._transform, self._train_transform = (
            None if own is None else Pipeline(own, name)
            for own, name in ((transform, "transform"), (train_transform, "train_transform"))
        )
        self.root, found = images_at(root)
        self.crop = crop
        self.image_shape = (channels, size, size)

        self._folders = split_folders(self.root, found, splits, labels is not False)
        sources = self._folders or {"": ""}
        names_decide = splits == "auto" and not self._folders
        self._files = {role: [path for path in found.images if _below(path, name)] for role, name in sources.items()}
        self._warn_of_structure(found.images, several_splits_as_classes(found) if names_decide else [])

        self._labelled = {role for role, paths in self._files.items() if self._has_labels(role, paths, labels)}
        self.labelled = bool(self._labelled)
        without = [self._folders[role] for role in self._folders if self._files[role] and role not in self._labelled]
        if self.labelled and without:
            rank_zero_warn(f"image folder {root}: no class folders in {', '.join(without)}; its images have no labels")

        self.class_names = [] if class_names is None else list(several("class_names", class_names, '["cat", "dog"]'))
        if not all(isinstance(name, str) for name in self.class_names):
            raise InputError(f"class_names must be texts, the names of the class folders, got {self.class_names!r:.80}")
        if len({_nfc(name) for name in self.class_names}) < len(self.class_names):
            raise InputError(f"class_names must be different names, got {', '.join(self.class_names)}")
        folders = [
            path
            for path in found.folders
            for role in self._labelled
            if _below(path, sources[role]) and len(path.parts) == (2 if role else 1)
        ]
        if labels == "auto" and class_names is None:
            refuse_annotations(self.root, sorted({folder.name for folder in folders}))
        self._number_classes(folders, found.images, given=class_names is not None)
        self.num_classes = len(self.class_names)

    def setup(self, stage: str) -> None:
        """Make the splits; files are decoded when an image is accessed, or to find the white level.

        Raises:
            InputError: If ``auto`` finds no single white level, or ``train`` has too few images.
        """
        if self._headers is None:
            paths = [self.root / path for paths in self._files.values() for path in paths]
            self._headers = read_headers(paths, self.max_pixels)
            warn_of_losses(self._headers, self.root)
            self._white = resolve_white_level(self.white_level, self._headers, self.root, self.max_pixels)
            if self._white is not None:
                self.white_level = self._white
        if self._transform is not None:
            self._transform.check_repeatable(self.image_shape[0])
        sets = {split: self._samples(split) for split, paths in self._files.items() if paths}
        self.test_set = sets.get("", sets.get("test", sets.get("val")))
        if self._transform is not None:
            channels, height, width = next(iter(sets.values()))[0].image.shape
            self.image_shape = (channels, height, width)
        if "train" in sets:
            train = sets["train"]
            if "val" in sets and "test" in sets:
                self.train_set, self.val_set = self._for_training(train), sets["val"]
            else:
                order = balanced_order(train.targets)
                held_out = -(-len(train) // 10)
                if held_out == len(train):
                    raise InputError(f"{self._folder('train')} holds one image; training needs more")
                self.val_set = train.subset(order[:held_out])
                self.train_set = self._for_training(train.subset(order[held_out:]))

    def state_dict(self) -> dict[str, Any]:
        """The white level, for training checkpoints."""
        return {} if self._white is None else {"white_level": float(self._white)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to continue with images that are scaled differently.

        Args:
            state_dict: Result of :meth:`state_dict` in the checkpoint.

        Raises:
            InputError: If the white level differs from the one in the checkpoint.
        """
        before = state_dict.get("white_level")
        if before != self._white:
            now = "the largest of each type" if self._white is None else f"{self._white}"
            raise InputError(f"white_level is {now}, but was {before} in the checkpoint; set white_level to {before}")

    def _folder(self, role: str) -> Path:
        return self.root / self._folders.get(role, role)

    def _warn_of_structure(self, images: list[Path], names: list[str]) -> None:
        """Warn of a structure that is legal but may be a mistake."""
        used = sum(len(paths) for paths in self._files.values())
        if used < len(images):
            rank_zero_warn(
                f"image folder {self.root}: {len(images) - used} images outside "
                f"{', '.join(self._folders.values())} are not used, since splits is 'folders'"
            )
        empty = [name for role, name in self._folders.items() if not self._files[role]]
        if empty:
            rank_zero_warn(f"image folder {self.root}: no images in the split folders {', '.join(empty)}")
        if names:
            rank_zero_warn(
                f"image folder {self.root}: {', '.join(names)} are taken as classes, since other folders of images "
                "stand beside them; set splits to 'folders' if they are splits, or to 'none' if not"
            )

    def _has_labels(self, role: str, paths: list[Path], labels: bool | Literal["auto"]) -> bool:
        """Whether the images of one split have labels; refuses a split in which only some have."""
        if labels is False or not paths:
            return False
        without = next((path for path in paths if _class_of(role, path) is None), None)
        if without is None:
            return True
        if labels is True:
            raise InputError(f"image {self.root / without} lies in no class folder; move it or set labels to false")
        within = next((path for path in paths if _class_of(role, path) is not None), None)
        if within is not None:
            raise InputError(
                f"image {self.root / without} lies in no class folder, but {self.root / within} lies in one: move the "
                "first if the folders are classes, or set labels to false if they are not"
            )
        return False

    def _number_classes(self, folders: list[Path], images: list[Path], given: bool) -> None:
        """Fill ``class_names`` from the class folders, or compare these with the names that the user gave."""
        holding = {path.parts[:depth] for path in images for depth in (1, 2)}
        empty = [folder for folder in folders if folder.parts not in holding]
        refuse_alike(sorted({_nfc(folder.name) for folder in folders}), self.root)
        if not given:
            self.class_names = sorted({_nfc(folder.name) for folder in folders})
            self._warn_of_numbers()
            if empty:
                numbers = [f"{path.as_posix()} (class {self.class_names.index(_nfc(path.name))})" for path in empty]
                rank_zero_warn(
                    f"image folder {self.root}: class folders without images keep their numbers: {', '.join(numbers)};"
                    " remove a folder that is no class, or set class_names"
                )
            return
        known = {_nfc(name) for name in self.class_names}
        unknown = next((path.name for path in folders if path not in empty and _nfc(path.name) not in known), None)
        if unknown is not None:
            raise InputError(f"class folder {unknown!r} in {self.root} is not one of class_names")

    def _warn_of_numbers(self) -> None:
        """Warn of class folders that are numbers and do not get these numbers: 10 comes before 2."""
        if not all(name.isdecimal() for name in self.class_names):
            return
        moved = [
            name
            for name, other in zip(self.class_names, sorted(self.class_names, key=int), strict=True)
            if name != other
        ]
        if moved:
            rank_zero_warn(
                f"image folder {self.root}: the class folders are numbers, but in alphabetical order: {moved[0]} is "
                f"class {self.class_names.index(moved[0])}; set class_names if the network counts them as numbers"
            )

    def _samples(self, split: str) -> SampleSet:
        paths = self._files[split]
        places = {_nfc(name): place for place, name in enumerate(self.class_names)}
        labelled = split in self._labelled
        targets = [places[_nfc(_class_of(split, path) or "")] if labelled else NO_LABEL for path in paths]
        images = self._read([self.root / path for path in paths], self._transform)
        return SampleSet(images, targets, [safe_id(path.as_posix()) for path in paths])

    def _read(self, paths: list[Path], pipeline: Pipeline | None) -> ImageFiles | TransformedFiles:
        """The images of some files, transformed or scaled."""
        channels, size, _ = self.image_shape
        if pipeline is not None:
            return TransformedFiles(paths, pipeline, channels, self._white, self.max_pixels)
        return ImageFiles(paths, size, channels, self.crop, self._white, self.max_pixels)

    def _for_training(self, samples: SampleSet) -> SampleSet:
        """The same samples with the transform of training images."""
        if self._train_transform is None:
            return samples
        paths = [self.root / path for path in self._files["train"]]
        changed = samples.reread(self._read(paths, self._train_transform))
        with torch.random.fork_rng(devices=[]):
            shape = tuple(changed[0].image.shape)
        if shape != self.image_shape:
            raise InputError(f"train_transform gives images {shape}, but those to validate are {self.image_shape}")
        return changed

    def _missing(self, kind: str) -> str:
        split = {"training": "train", "validation": "train"}.get(kind, "test")
        return f"image folder {self.root} has no {kind} images; put some into {self._folder(split)}"


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _nfc(name: str) -> str:
    """A name with accents as most keyboards write them; macOS writes file names in another form."""
    return unicodedata.normalize("NFC", name)


def _below(path: Path, folder: str) -> bool:
    return not folder or (path.parts[0] == folder and len(path.parts) > 1)


def _class_of(split: str, path: Path) -> str | None:
    """The first sub-folder below the split, or None for an image that lies in the split itself."""
    parts = path.parts[1:] if split else path.parts
    return parts[0] if len(parts) > 1 else None
