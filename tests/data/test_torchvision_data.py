"""torchvision's data sets from tiny files in their own formats; nothing is downloaded."""

import pickle
import struct

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from lit_certattr.data import TorchvisionData
from lit_certattr.errors import InputError


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torchvision.datasets.utils.urllib.request, "urlopen", refuse)


def idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


def write_mnist(root, name, train=20, test=5):
    generator = np.random.default_rng(0)
    for prefix, count in (("train", train), ("t10k", test)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        idx(root / name / "raw" / f"{prefix}-images-idx3-ubyte", pixels)
        idx(root / name / "raw" / f"{prefix}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)
    return pixels


def write_cifar(root, kind, monkeypatch, count=4):
    monkeypatch.setattr(kind, "_check_integrity", lambda self: True)  # the files' md5 cannot match
    monkeypatch.setitem(kind.meta, "md5", None)
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    key = "labels" if kind is datasets.CIFAR10 else "fine_labels"
    for name, _ in kind.train_list + kind.test_list:
        pixels = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, key: [i % 10 for i in range(count)]}))
    names = [f"class {i}" for i in range(100 if kind is datasets.CIFAR100 else 10)]
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: names}))
    return pixels


def write_imagenet(root):
    wnids = {"n01440764": ("tench", "Tinca tinca"), "n01443537": ("goldfish",)}
    root.mkdir(parents=True, exist_ok=True)
    torch.save((wnids, ["n01440764"]), root / "meta.bin")
    for split, count in (("train", 4), ("val", 2)):
        for label, wnid in enumerate(wnids):
            (root / split / wnid).mkdir(parents=True)
            for number in range(count):
                path = root / split / wnid / f"ILSVRC2012_{split}_{label}{number}.JPEG"
                Image.new("RGB", (300, 280), (label * 200, 0, 0)).save(path)


def write_gtsrb(root):
    for label in (0, 7):
        folder = root / "gtsrb" / "GTSRB" / "Training" / f"{label:05d}"
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (40, 33), (label * 30, 0, 0)).save(folder / f"{number}.ppm")
    for label in range(43):
        (root / "gtsrb" / "GTSRB" / "Training" / f"{label:05d}").mkdir(exist_ok=True)
        if label not in (0, 7):
            Image.new("RGB", (20, 20)).save(root / "gtsrb" / "GTSRB" / "Training" / f"{label:05d}" / "0.ppm")
    images = root / "gtsrb" / "GTSRB" / "Final_Test" / "Images"
    images.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (25, 31), (0, 210, 0)).save(images / f"{number:05d}.ppm")
    (root / "gtsrb" / "GT-final_test.csv").write_text("Filename;ClassId\n00000.ppm;7\n00001.ppm;42\n")


def write_flowers(root, monkeypatch):
    monkeypatch.setattr(datasets.Flowers102, "_check_integrity", lambda self: True)  # the files' md5 cannot match
    folder = root / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 7):
        Image.new("RGB", (150, 130 + number), (number * 40, 0, 0)).save(folder / "jpg" / f"image_{number:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": [[1, 2, 1, 2, 102, 2]]})
    savemat(folder / "setid.mat", {"trnid": [[1, 2]], "valid": [[3, 4]], "tstid": [[5, 6]]})


def all_sets(**options):
    module = TorchvisionData(**options)
    module.setup("fit")
    module.setup("test")
    return module, [module.train_set, module.val_set, module.test_set]


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_mnist_files(tmp_path, name):
    pixels = write_mnist(tmp_path, name)
    module, (train, val, test) = all_sets(name=name, root=str(tmp_path), val_size=10, batch_size=2)
    assert (len(train), len(val), len(test)) == (10, 10, 5)
    assert sorted(val.targets) == list(range(10))
    assert not set(train.ids) & set(val.ids)
    assert test.ids[:2] == [f"{name.lower()}-test-00000", f"{name.lower()}-test-00001"]
    torch.testing.assert_close(test[3].image, torch.from_numpy(pixels[3] / 255).float()[None])
    assert test[3].target == 3
    assert module.class_names[1] == {"MNIST": "1", "FashionMNIST": "Trouser"}[name]
    assert (module.num_classes, module.image_shape) == (10, (1, 28, 28))
    batch = next(iter(module.predict_dataloader()))
    assert batch.image.shape == (2, 1, 28, 28)


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_cifar_files(tmp_path, monkeypatch, name):
    kind = getattr(datasets, name)
    pixels = write_cifar(tmp_path, kind, monkeypatch)
    module, (train, val, test) = all_sets(name=name, root=str(tmp_path), val_size=2)
    assert len(train) + len(val) == 4 * len(kind.train_list)
    torch.testing.assert_close(test[1].image, torch.from_numpy(pixels[1].reshape(3, 32, 32) / 255).float())
    assert test[1].target == 1
    assert len(module.class_names) == module.num_classes == {"CIFAR10": 10, "CIFAR100": 100}[name]
    _, (_, val_again, _) = all_sets(name=name, root=str(tmp_path), val_size=2, batch_size=1)
    assert val.ids == val_again.ids
    assert torch.equal(train[0].image, train[0].image)


def test_cifar_augmentation_touches_training_images_only(tmp_path, monkeypatch):
    write_cifar(tmp_path, datasets.CIFAR10, monkeypatch)
    module, (train, val, test) = all_sets(name="CIFAR10", root=str(tmp_path), val_size=2, augment=True)
    images = [train[0].image for _ in range(8)]
    assert any(not torch.equal(images[0], image) for image in images)
    assert all(image.shape == (3, 32, 32) and image.min() >= 0 and image.max() <= 1 for image in images)
    for samples in (val, test):
        assert torch.equal(samples[0].image, samples[0].image)
        assert samples.augment is None
    (batch,) = module.train_dataloader()
    assert batch.image.shape == (18, 3, 32, 32)


def test_imagenet_folders(tmp_path):
    write_imagenet(tmp_path)
    module, (train, val, test) = all_sets(name="ImageNet", root=str(tmp_path), val_size=2)
    assert (len(train), len(val), len(test)) == (6, 2, 4)
    assert set(val.targets) == {0, 1}
    assert test.ids[0] == "val__n01440764__ILSVRC2012_val_00.JPEG"
    assert test[0].image.shape == module.image_shape == (3, 224, 224)
    assert (len(module.class_names), module.class_names[1]) == (1000, "goldfish")


def test_traffic_signs(tmp_path):
    write_gtsrb(tmp_path)
    module, (train, val, test) = all_sets(name="GTSRB", root=str(tmp_path), val_size=5)
    assert (len(train) + len(val), len(val)) == (47, 5)
    assert test.targets == [7, 42]
    assert test[1].image.shape == module.image_shape == (3, 32, 32)
    assert test[1].image[1].eq(210 / 255).all()
    assert test.ids[0] == "gtsrb__GTSRB__Final_Test__Images__00000.ppm"
    assert (module.num_classes, len(module.class_names)) == (43, 43)


def test_flowers(tmp_path, monkeypatch):
    write_flowers(tmp_path, monkeypatch)
    module, (train, val, test) = all_sets(name="Flowers102", root=str(tmp_path), val_size=2)
    assert sorted(train.targets + val.targets) == [0, 0, 1, 1]  # training and validation split of the authors
    assert test.targets == [101, 1]
    assert test[0].image.shape == module.image_shape == (3, 128, 128)
    assert (module.num_classes, len(module.class_names)) == (102, 102)


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "GTSRB", "Flowers102", "ImageNet"])
@pytest.mark.parametrize("stage", ["fit", "predict"])
def test_absent_files_and_the_fix(tmp_path, name, stage):
    module = TorchvisionData(name, root=str(tmp_path))
    module.prepare_data()
    with pytest.raises(InputError) as caught:
        module.setup(stage)
    message = str(caught.value)
    assert message.startswith(f"{name} is not in {tmp_path}")
    assert ("image-net.org" if name == "ImageNet" else "set download: true") in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "GTSRB", "Flowers102"])
def test_failed_downloads_and_the_fix(tmp_path, name):
    with pytest.raises(InputError, match=r"cannot be downloaded.*with a network fetch .*https://.*run again") as caught:
        TorchvisionData(name, root=str(tmp_path), download=True).prepare_data()
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path):
    write_mnist(tmp_path, "MNIST")
    file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="or damaged"):
        TorchvisionData("MNIST", root=str(tmp_path)).setup("test")


@pytest.mark.parametrize(
    ("bad", "culprit"),
    [
        ({"name": "CIFAR11"}, "CIFAR11"),
        ({"name": "MNIST", "augment": True}, "augment"),
        ({"name": "MNIST", "val_size": 0}, "val_size"),
        ({"name": "ImageNet", "download": True}, "cannot be downloaded by a program"),
    ],
)
def test_bad_arguments(bad, culprit):
    with pytest.raises(InputError, match=culprit):
        TorchvisionData(**bad)


def test_validation_must_leave_training_images(tmp_path):
    write_mnist(tmp_path, "MNIST")
    with pytest.raises(InputError, match="below the 20 training images"):
        TorchvisionData("MNIST", root=str(tmp_path), val_size=20).setup("fit")
