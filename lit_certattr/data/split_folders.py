"""Which sub-folders are training, validation and test images, and which are classes."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from lit_certattr.data.folders import Contents
from lit_certattr.errors import InputError

Splits = Literal["auto", "folders", "none"]

_ROLES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_ROLE = {name: role for role, names in _ROLES.items() for name in names}
_WORDS = re.compile("[a-z]+")

_PICTURES = frozenset({"image", "images", "img", "imgs", "jpegimages", "photo", "photos", "picture", "pictures"})
_ANNOTATIONS = frozenset(
    {"annotation", "annotations", "bboxes", "ground_truth", "groundtruth", "gt", "label", "labels", "mask", "masks"}
    | {"segmentation", "segmentationclass", "segmentationobject", "segmentations", "target", "targets"}
)
"""Names of folders that hold what is drawn or written about the images of the folder beside them."""


def split_folders(root: Path, found: Contents, splits: Splits = "auto", labelled: bool = True) -> dict[str, str]:
    """The folder of each split, found by names and structure.

    Folders called ``train`` or ``training``, ``val``, ``valid``, ``validation`` or ``dev``, ``test`` or ``testing``, in
    any letter case, are splits if they hold folders with images and there is no other image beside them. If they hold
    images themselves and stand beside other folders of images, they are classes. Folders that have nearly these names
    (``train_set`` and ``test_set``, ``train2017`` and ``val2017``) are refused where there are no others.

    Args:
        root: The folder, for messages.
        found: The contents of the folder.
        splits: ``auto`` decides by structure, ``folders`` says that folders with these names are splits, ``none`` that
            there are no splits.
        labelled: Whether a folder can be a class.

    Returns:
        The folder names of the splits ``train``, ``val`` and ``test``, as far as they exist; empty without splits.

    Raises:
        InputError: If the structure is ambiguous, ``splits`` is ``folders`` and there is no such folder, or ``splits``
            has another value.
    """
    if splits not in get_args(Splits):
        raise InputError(f"splits must be one of {', '.join(get_args(Splits))}, got {splits!r}")
    if splits == "none":
        return {}
    named = [path.name for path in found.folders if len(path.parts) == 1 and _is_split(path.name)]
    if splits == "folders":
        if not named:
            raise InputError(f"splits is 'folders', but {root} has no sub-folder called train, val or test")
        return _roles(root, named)

    _refuse_deeper(root, found)
    holding = {path.parts[0] for path in found.images if len(path.parts) > 1}
    nested = any(len(path.parts) > 2 and path.parts[0] in named for path in found.images)
    others = sorted(holding - set(named))
    loose = next((path for path in found.images if len(path.parts) == 1), None)
    candidates = [name for name in named if name in holding]
    if not candidates:
        _refuse_nearly(root, others)
        return {}
    if not others and loose is None and (nested or not labelled):
        return _roles(root, named)
    if others and not nested:
        return {}
    beside = others or ([str(loose)] if loose is not None else [])
    unused = f" and {_list(beside)} {_is(beside)} not used" if beside else ""
    classes = _list(candidates + others)
    raise InputError(
        f"{_list(candidates)} in {root} can be read in two ways: set splits to 'folders' if {_list(candidates)} "
        f"{_is(candidates)} the images to train, validate or test with{unused}, or to 'none' if {classes} "
        f"{_is(candidates + others, 'is a class', 'are classes')}"
    )


def refuse_annotations(root: Path, names: Sequence[str]) -> None:
    """Refuse folders such as ``images`` and ``labels`` as classes: one holds annotations of the images of the other.

    Args:
        root: The folder, for messages.
        names: Names of the class folders.

    Raises:
        InputError: If one of them is called like a folder of images, and another one like a folder of annotations.
    """
    pictures = sorted(name for name in names if name.lower() in _PICTURES)
    annotations = sorted(name for name in names if name.lower() in _ANNOTATIONS)
    if pictures and annotations:
        raise InputError(
            f"{_list(pictures)} and {_list(annotations)} in {root} would become classes: set root to the folder "
            f"{pictures[0]} if {_list(annotations)} {_is(annotations, 'holds', 'hold')} annotations of its images, or "
            "labels to true if they are classes"
        )


def several_splits_as_classes(found: Contents) -> list[str]:
    """Class folders that have the names of two or more splits: legal, but worth a warning.

    Args:
        found: The contents of the folder.
    """
    names = sorted({path.parts[0] for path in found.images if len(path.parts) > 1 and _is_split(path.parts[0])})
    return names if len({_ROLE[name.lower()] for name in names}) > 1 else []


def _is_split(name: str) -> bool:
    return name.lower() in _ROLE


def _roles(root: Path, names: list[str]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for name in names:
        other = roles.setdefault(_ROLE[name.lower()], name)
        if other != name:
            raise InputError(
                f"{other} and {name} in {root} both name the {_ROLE[name.lower()]} images; keep one of them, or set "
                "splits to 'none' if they are classes"
            )
    return roles


def _refuse_nearly(root: Path, names: list[str]) -> None:
    """Refuse folders that all have nearly the name of a split: they would become the classes, in silence."""
    roles = [{_ROLE[word] for word in _WORDS.findall(name.lower()) if word in _ROLE} for name in names]
    if len(names) > 1 and all(roles) and len(set().union(*roles)) > 1:
        raise InputError(
            f"{_list(names)} in {root} can be read in two ways: rename them to train, val or test if they are the "
            f"images to train, validate or test with, or set splits to 'none' if they are classes"
        )


def _refuse_deeper(root: Path, found: Contents) -> None:
    """Refuse split folders below a sub-folder of the root: their images would all become one set."""
    children: defaultdict[Path, dict[str, bool]] = defaultdict(dict)
    for folder in {path.parent for path in found.images}:
        for depth in range(1, len(folder.parts)):
            parent, child = Path(*folder.parts[:depth]), folder.parts[depth]
            children[parent][child] = children[parent].get(child, False) or len(folder.parts) > depth + 1
    for parent, below in sorted(children.items()):
        named = sorted(name for name in below if _is_split(name))
        if named and (len(named) == len(below) or any(below[name] for name in named)):
            raise InputError(
                f"{root / parent} holds folders called {_list(named)}: set root to it if they are the images to "
                f"train, validate or test with, or splits to 'none' if {parent.parts[0]} is a class with all of them"
            )


def _list(names: list[str]) -> str:
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _is(names: list[str], one: str = "is", many: str = "are") -> str:
    return one if len(names) == 1 else many
