"""Splits or classes: what the structure decides, and what is refused."""

from collections import Counter
from pathlib import Path

import pytest

from lit_certattr.data.folders import Contents
from lit_certattr.data.split_folders import split_folders
from lit_certattr.errors import InputError

ROOT = Path("root")


def found(*names):
    """Contents of a folder with these images; a name with a slash at its end is an empty folder."""
    images = sorted(Path(name) for name in names if not name.endswith("/"))
    folders = {parent for path in images for parent in path.parents if parent.parts}
    folders |= {Path(name) for name in names if name.endswith("/")}
    return Contents(images, sorted(folders), Counter(), [])


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["Train/a/1.png", "Test/a/1.png"], {"train": "Train", "test": "Test"}),
        (["train/a/1.png", "valid/a/1.png", "test/b/1.png"], {"train": "train", "val": "valid", "test": "test"}),
        (["training/a/1.png", "dev/a/1.png"], {"train": "training", "val": "dev"}),
        (["test/a/1.png"], {"test": "test"}),
        (["train/a/1.png", "test/1.png"], {"train": "train", "test": "test"}),  # test images without labels
        (["train/a/1.png", "docs/", "test/"], {"train": "train", "test": "test"}),
        (["train/train/1.png", "train/bus/1.png"], {"train": "train"}),
        (["bus/1.png", "car/1.png", "train/1.png"], {}),
        (["bus/1.png", "Test/1.png"], {}),
        (["bus/1.png", "train/"], {}),
        (["bus/1.png", "1.png"], {}),
        (["vehicle/bus/1.png", "vehicle/train/1.png", "animal/cat/1.png"], {}),
        (["1.png"], {}),
    ],
)
def test_structure_decides(names, roles):
    assert split_folders(ROOT, found(*names)) == roles


@pytest.mark.parametrize(
    "names",
    [
        ["train_set/a/1.png", "test_set/a/1.png"],
        ["training_set/training_set/a/1.png", "test_set/test_set/a/1.png"],
        ["train2017/1.png", "val2017/1.png"],
        ["seg_pred-test/1.png", "Seg-Train/a/1.png"],
    ],
)
def test_folders_with_nearly_the_names_of_splits_do_not_become_the_classes(names):
    for labelled in (True, False):
        with pytest.raises(InputError, match="rename them to train, val or test"):
            split_folders(ROOT, found(*names), labelled=labelled)
    assert split_folders(ROOT, found(*names), "none") == {}
    assert split_folders(ROOT, found(*names, "dog/1.png")) == {}, "beside others a test tube is a class"


@pytest.mark.parametrize("names", [["test_dev/1.png"], ["trains/1.png", "tests/1.png"], ["retrain/1.png", "dog/1.png"]])
def test_other_words_are_no_names_of_splits(names):
    assert split_folders(ROOT, found(*names)) == {}


@pytest.mark.parametrize(
    "names",
    [
        ["train/1.png", "test/1.png"],  # two classes, or two splits without labels
        ["test/1.png"],
        ["train/a/1.png", "extra/1.png"],
        ["train/a/1.png", "test/a/1.png", "extra/a/1.png"],
        ["bus/1.png", "train/a/1.png"],
        ["train/a/1.png", "1.png"],
        ["train/1.png", "1.png"],
    ],
)
def test_two_readings_are_both_named(names):
    with pytest.raises(InputError, match="can be read in two ways") as caught:
        split_folders(ROOT, found(*names))
    message = str(caught.value)
    assert "'folders'" in message
    assert "'none'" in message
    assert "\n" not in message
    assert split_folders(ROOT, found(*names), "none") == {}
    assert split_folders(ROOT, found(*names), "folders")


@pytest.mark.parametrize(
    ("names", "where"),
    [
        (["data/train/a/1.png", "data/test/a/1.png"], "root/data"),
        (["data/train/a/1.png", "data/extra/1.png"], "root/data"),
        (["a/train/1.png", "a/test/1.png", "b/train/1.png"], "root/a"),
        (["images/Train/1.png", "images/valid/1.png"], "root/images"),
        (["x/data/train/a/1.png", "x/data/test/a/1.png"], "root/x/data"),
        (["train/data/test/1.png"], "root/train/data"),
    ],
)
def test_splits_that_lie_deeper_are_refused(names, where):
    with pytest.raises(InputError, match=f"{where} holds folders called .*set root to it.*'none'"):
        split_folders(ROOT, found(*names))
    assert split_folders(ROOT, found(*names), "none") == {}


@pytest.mark.parametrize("splits", ["auto", "folders"])
def test_two_folders_for_one_split_are_refused(splits):
    both = found("train/a/1.png", "val/a/1.png", "valid/a/1.png")
    with pytest.raises(InputError, match="val and valid in root both name the val images; keep one"):
        split_folders(ROOT, both, splits)
    assert split_folders(ROOT, both, "none") == {}


def test_images_without_labels_have_no_classes():
    assert split_folders(ROOT, found("train/1.png", "test/1.png"), labelled=False) == {"train": "train", "test": "test"}


def test_splits_that_do_not_exist():
    with pytest.raises(InputError, match="no sub-folder called train, val or test"):
        split_folders(ROOT, found("a/1.png"), "folders")
