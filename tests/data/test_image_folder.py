"""Image folders: what counts as an image, labels, splits, ids, and files that cannot be read."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from lit_certattr.data import ImageFolder
from lit_certattr.errors import InputError


def picture(path, size=(8, 8), mode="RGB", value=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = len(Image.new(mode, (1, 1)).getbands())
    generator = np.random.default_rng(len(str(path)))
    shape = (size[1], size[0], bands)
    array = generator.integers(0, 256, shape, dtype=np.uint8) if value is None else np.full(shape, value, np.uint8)
    Image.fromarray(array[..., 0] if bands == 1 else array).convert(mode).save(path, **more)


def predict(root, **options):
    module = ImageFolder(str(root), **{"size": 8, **options})
    module.setup("predict")
    return module, [sample for batch in module.predict_dataloader() for sample in zip(*batch, strict=True)]


@pytest.fixture
def classes(tmp_path):
    for name in ("cat/1.png", "cat/2.jpg", "dog/1.png", "dog/deep/3.PNG"):
        picture(tmp_path / name)
    picture(tmp_path / ".hidden" / "4.png")
    picture(tmp_path / "cat" / "._1.png")
    return tmp_path


def test_class_folders(classes):
    module, samples = predict(classes)
    assert module.class_names == ["cat", "dog"]
    assert [(name, int(target)) for _, target, name in samples] == [
        ("cat__1.png", 0),
        ("cat__2.jpg", 0),
        ("dog__1.png", 1),
        ("dog__deep__3.PNG", 1),
    ]


def test_files_that_are_no_images_are_counted_in_one_warning(classes):
    (classes / "readme.txt").write_text("no image")
    for name in ("1.heic", "2.HEIC", "LICENSE"):
        (classes / "cat" / name).write_text("no image")
    with pytest.warns(UserWarning, match=r"4 files passed over: 1 without an ending, 2 \.heic, 1 \.txt") as seen:
        _, samples = predict(classes)
    assert len(seen) == 1
    assert len(samples) == 4


def test_labels_can_be_switched_off_or_follow_a_network(classes):
    module, samples = predict(classes, labels=False)
    assert [int(target) for _, target, _ in samples] == [-1] * 4
    assert module.num_classes == 0
    module, samples = predict(classes, class_names=["bird", "dog", "cat"])
    assert [int(target) for _, target, _ in samples] == [2, 2, 1, 1]
    assert module.num_classes == 3
    with pytest.raises(InputError, match="'cat'"):
        predict(classes, class_names=["dog"])


def test_a_flat_folder_has_no_labels(tmp_path):
    for name in ("b.png", "a.png", "c d.png", "caf\u00e9.png"):
        picture(tmp_path / name)
    _, samples = predict(tmp_path)
    assert [int(target) for _, target, _ in samples] == [-1] * 4
    names = [name for _, _, name in samples]
    assert names[:2] == ["a.png", "b.png"]
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) for name in names)
    with pytest.raises(InputError, match=r"a\.png lies in no class folder"):
        predict(tmp_path, labels=True)


def test_ids_depend_neither_on_the_root_nor_on_other_files(classes, tmp_path_factory):
    _, before = predict(classes)
    elsewhere = tmp_path_factory.mktemp("else") / "where"
    classes.rename(elsewhere)
    picture(elsewhere / "ant" / "0.png")
    _, after = predict(elsewhere)
    images = {name: image for image, _, name in after}
    for image, _, name in before:
        assert torch.equal(image, images[name])


@pytest.mark.parametrize(
    ("folders", "train", "val", "test"),
    [
        (("train", "val", "test"), "train", "val", "test"),
        (("train", "val"), "train", "train", "val"),
        (("train", "test"), "train", "train", "test"),
        (("test",), None, None, "test"),
        (("val",), None, None, "val"),
    ],
)
def test_split_folders(tmp_path, folders, train, val, test):
    for split in folders:
        for label in ("a", "b"):
            for number in range(10):
                picture(tmp_path / split / label / f"{number}.png")
    module = ImageFolder(str(tmp_path), size=8)
    module.setup("fit")
    sets = {"train": module.train_set, "val": module.val_set, "test": module.test_set}
    for name, source in (("train", train), ("val", val), ("test", test)):
        assert (sets[name] is None) == (source is None)
        if source is not None:
            assert all(sample.startswith(f"{source}__") for sample in sets[name].ids)
            assert set(sets[name].targets) == {0, 1}
    everything = [sample for samples in sets.values() if samples is not None for sample in samples.ids]
    assert len(set(everything)) == len(everything) == 20 * len(folders)
    assert module.class_names == ["a", "b"]


@pytest.mark.parametrize("names", [("Train", "valid", "TEST"), ("training", "validation", "testing")])
def test_splits_go_by_many_names(tmp_path, names):
    for split in names:
        for number in range(10):
            picture(tmp_path / split / "a" / f"{number}.png")
    module = ImageFolder(str(tmp_path), size=8)
    module.setup("fit")
    for samples, name in zip((module.train_set, module.val_set, module.test_set), names, strict=True):
        assert len(samples) == 10
        assert all(sample.startswith(f"{name}__a__") for sample in samples.ids)


def test_a_class_called_like_a_split_is_a_class(tmp_path):
    for name in ("bus", "car", "train"):
        picture(tmp_path / name / "1.png")
    module, samples = predict(tmp_path)
    assert module.class_names == ["bus", "car", "train"]
    assert [int(target) for _, target, _ in samples] == [0, 1, 2]
    picture(tmp_path / "test" / "1.png")
    with pytest.warns(UserWarning, match="test, train are taken as classes"):
        assert predict(tmp_path)[0].num_classes == 4
    assert predict(tmp_path, splits="none")[0].num_classes == 4


def test_classes_of_all_splits_have_one_numbering(tmp_path):
    for name in ("train/a/1.png", "train/c/1.png", "train/c/2.png", "test/c/1.png", "test/d/1.png"):
        picture(tmp_path / name)
    module, samples = predict(tmp_path)
    assert module.class_names == ["a", "c", "d"]
    assert [int(target) for _, target, _ in samples] == [1, 2]
    (tmp_path / "train" / "b").mkdir()
    with pytest.warns(UserWarning, match=r"keep their numbers: train/b \(class 1\)"):
        module, samples = predict(tmp_path)
    assert module.class_names == ["a", "b", "c", "d"]
    assert [int(target) for _, target, _ in samples] == [2, 3]
    picture(tmp_path / "test" / "D2" / "1.png")
    picture(tmp_path / "train" / "d2" / "1.png")
    with pytest.raises(InputError, match=r"'D2' and 'd2' in .* differ only in letter case"):
        predict(tmp_path)


def test_class_folders_that_are_numbers_and_get_others_are_named(tmp_path, recwarn):
    for name in ("0", "1", "2"):
        picture(tmp_path / name / "1.png")
    assert predict(tmp_path)[0].class_names == ["0", "1", "2"]
    assert not recwarn
    picture(tmp_path / "10" / "1.png")
    with pytest.warns(UserWarning, match="10 is class 2; set class_names"):
        assert predict(tmp_path)[0].class_names == ["0", "1", "10", "2"]
    _, samples = predict(tmp_path, class_names=[str(number) for number in range(11)])
    assert [int(target) for _, target, _ in samples] == [0, 1, 10, 2]


def test_an_empty_class_folder_keeps_its_number(tmp_path):
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "c" / "1.png")
    (tmp_path / "b" / "deep").mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"keep their numbers: b \(class 1\)"):
        _, samples = predict(tmp_path)
    assert [int(target) for _, target, _ in samples] == [0, 2]
    _, samples = predict(tmp_path, class_names=["c", "a"])  # the user's numbers
    assert [int(target) for _, target, _ in samples] == [1, 0]
    assert predict(tmp_path, labels=False)[0].num_classes == 0


def test_only_the_test_images_without_labels(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "train/b/2.png", "test/1.png", "test/2.png"):
        picture(tmp_path / name)
    with pytest.warns(UserWarning, match="no class folders in test; its images have no labels"):
        module, samples = predict(tmp_path)
    assert [int(target) for _, target, _ in samples] == [-1, -1]
    assert sorted(module.train_set.targets + module.val_set.targets) == [0, 1, 1]


def test_one_image_beside_class_folders_does_not_take_all_labels_away(classes):
    picture(classes / "stray.png")
    with pytest.raises(InputError, match=r"stray\.png lies in no class folder, but .*1\.png lies in one: .* labels"):
        predict(classes)
    assert len(predict(classes, labels=False)[1]) == 5


def test_a_folder_of_annotations_beside_images_is_no_class(tmp_path):
    for name in ("images/1.png", "images/2.png", "labels/1.png"):
        picture(tmp_path / name)
    with pytest.raises(InputError, match=r"images and labels in .* set root to the folder images if .* labels to true"):
        ImageFolder(str(tmp_path), size=8)
    assert ImageFolder(str(tmp_path), size=8, labels=True).class_names == ["images", "labels"]
    assert ImageFolder(str(tmp_path), size=8, class_names=["labels", "images"]).class_names == ["labels", "images"]
    assert ImageFolder(str(tmp_path / "images"), size=8).class_names == []


def test_a_folder_of_annotations_without_images_is_no_class_either(tmp_path):
    picture(tmp_path / "train" / "images" / "1.png")
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "1.txt").write_text("0 0.5 0.5 1 1")
    with pytest.warns(UserWarning, match="passed over"), pytest.raises(InputError, match="would become classes"):
        ImageFolder(str(tmp_path), size=8)


def test_accents_in_class_names_have_one_form(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    picture(tmp_path / decomposed / "1.png")
    picture(tmp_path / "z" / "1.png")
    _, samples = predict(tmp_path, class_names=["z", composed])
    assert sorted(int(target) for _, target, _ in samples) == [0, 1]
    assert predict(tmp_path)[0].class_names == [composed, "z"]
    with pytest.raises(InputError, match="class_names must be different"):
        predict(tmp_path, class_names=["z", composed, decomposed])


def test_images_outside_the_chosen_splits_are_counted(tmp_path):
    for name in ("train/a/1.png", "train/a/2.png", "test/a/1.png", "extra/1.png", "2.png"):
        picture(tmp_path / name)
    with pytest.warns(UserWarning, match=r"2 images outside test, train are not used"):
        _, samples = predict(tmp_path, splits="folders")
    assert [name for _, _, name in samples] == ["test__a__1.png"]


def test_a_folder_without_what_is_asked_for_says_where_to_put_it(tmp_path):
    picture(tmp_path / "train" / "a" / "1.png")
    picture(tmp_path / "train" / "a" / "2.png")
    module = ImageFolder(str(tmp_path), size=8)
    module.setup("predict")
    with pytest.raises(InputError, match=f"no test images; put some into {tmp_path}/test"):
        module.predict_dataloader()
    module, _ = predict(tmp_path / "train")
    with pytest.raises(InputError, match=r"no training images; put some into .*train"):
        module.train_dataloader()


def test_one_training_image_is_not_enough(tmp_path):
    picture(tmp_path / "train" / "a" / "1.png")
    with pytest.raises(InputError, match="holds one image"):
        ImageFolder(str(tmp_path), size=8).setup("fit")


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        ImageFolder(str(tmp_path / "nowhere"))
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        ImageFolder(str(tmp_path))
    (tmp_path / "file.txt").write_bytes(b"")
    with pytest.raises(InputError, match="is no image file"):
        ImageFolder(str(tmp_path / "file.txt"))


@pytest.mark.parametrize(
    ("damage", "num_workers"),
    [("truncated", 0), ("empty", 0), ("text", 0), ("broken png", 0), ("truncated", 2)],
)
def test_damaged_files_are_named_in_one_line(tmp_path, damage, num_workers):
    picture(tmp_path / "a.png")
    bad = tmp_path / ("bad.png" if damage == "broken png" else "bad.jpg")
    picture(bad, size=(64, 64))
    whole = bad.read_bytes()
    bad.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "empty": b"",
            "text": b"not an image",
            "broken png": whole[:60] + bytes(40) + whole[100:],
        }[damage]
    )
    with pytest.raises(InputError) as caught:
        predict(tmp_path, num_workers=num_workers)
    assert str(caught.value).startswith(f"image {bad} cannot be read")
    assert "\n" not in str(caught.value)


def test_every_kind_of_image_becomes_rgb_or_grayscale(tmp_path):
    for mode in ("L", "LA", "RGB", "RGBA", "P", "1", "CMYK"):
        picture(tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}", mode=mode)
    Image.fromarray(np.full((8, 8), 257 * 100, np.uint16)).save(tmp_path / "deep.png")
    transparent = Image.new("P", (8, 8))
    transparent.save(tmp_path / "transparent.png", transparency=b"\x00\x01")
    for channels in (1, 3):
        with pytest.warns(
            UserWarning, match=r"alpha or further bands are dropped from 3 files \(the first is LA.png\)"
        ):
            module, samples = predict(tmp_path, channels=channels)
        assert module.image_shape == (channels, 8, 8)
        assert len(samples) == 9
        assert all(image.shape == (channels, 8, 8) for image, _, _ in samples)
        deep = next(image for image, _, name in samples if name == "deep.png")
        torch.testing.assert_close(deep, torch.full((channels, 8, 8), 100 / 255))


def test_images_of_the_right_size_are_untouched(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    _, [(image, _, _)] = predict(tmp_path)
    assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)


def test_the_central_square_is_kept(tmp_path):
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    Image.fromarray(np.full((1, 3000, 3), 9, np.uint8)).save(tmp_path / "line.png")
    _, samples = predict(tmp_path, size=10)
    images = {name: image for image, _, name in samples}
    for name in ("wide.png", "tall.png"):  # at the rim the bicubic kernel sees the neighbours
        assert images[name].min() > 0.9
        assert images[name][:, 1:-1, 1:-1].min() == 1
    assert images["line.png"].shape == (3, 10, 10)
    _, samples = predict(tmp_path, size=10, crop=0.5)
    assert all(image.shape == (3, 10, 10) for image, _, _ in samples)


def test_pictures_are_turned_upright(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    _, [(image, _, _)] = predict(tmp_path)
    assert image[0, -1].min() == 1
    assert image[0, 0].max() == 0


def test_links_that_go_round_end(tmp_path):
    picture(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    _, samples = predict(tmp_path)
    assert [name for _, _, name in samples] == ["a__1.png"]


@pytest.mark.parametrize("root", ["~nobody-of-this-name/x", "x" * 5000, "a\0b", ""])
def test_a_root_that_cannot_be_a_folder_is_one_line(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="image folder") as caught:
        ImageFolder(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "bad", [{"channels": 2}, {"labels": "yes"}, {"splits": "maybe"}, {"white_level": 0}, {"max_pixels": 0}]
)
def test_settings_that_are_not_known(tmp_path, bad):
    picture(tmp_path / "1.png")
    with pytest.raises(InputError, match=rf"{next(iter(bad))} (must|true)"):
        ImageFolder(str(tmp_path), **bad)


@pytest.mark.parametrize("bad", [{"size": 0}, {"crop": 0.0}, {"crop": float("nan")}])
def test_numbers_out_of_range(tmp_path, bad):
    picture(tmp_path / "1.png")
    with pytest.raises(InputError, match="size must be at least 1"):
        ImageFolder(str(tmp_path), **bad)


@pytest.mark.parametrize(
    "setting",
    [
        {"size": (5, 40)},
        {"size": "8"},
        {"size": None},
        {"size": 8.5},
        {"size": True},
        {"crop": "1"},
        {"max_pixels": "9"},
    ],
)
def test_settings_of_another_kind(setting, classes):
    with pytest.raises(InputError, match=next(iter(setting))):
        ImageFolder(str(classes), **setting)


def test_a_size_beyond_all_memory_is_no_fault_of_the_file(classes):
    with pytest.raises(InputError, match="size 1000000000 makes images of more than"):
        ImageFolder(str(classes), size=10**9)


def test_one_file_is_the_only_image(classes):
    module, (sample,) = predict(classes / "cat" / "1.png")
    assert (sample[2], int(sample[1]), module.num_classes) == ("1.png", -1, 0)
    assert torch.equal(sample[0], predict(classes / "cat")[1][0][0])


def test_a_file_that_is_no_image_is_refused_by_its_name(classes):
    (classes / "cat" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt is no image file \(\.bmp, "):
        ImageFolder(str(classes / "cat" / "notes.txt"))
