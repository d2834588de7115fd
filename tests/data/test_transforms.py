"""Transforms of the user's own on folders of images: torchvision, albumentations, functions; what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from lit_certattr.data import NO_LABEL, ImageFolder
from lit_certattr.data.transforms import Pipeline
from lit_certattr.errors import InputError
from lit_certattr.modules.training_checks import _augments


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("train/a/1.png", "train/a/2.png", "train/b/3.png", "test/a/4.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.RandomState(number).randint(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


class Halved:
    """Called as albumentations calls its own: with a keyword, and an array of height, width and channels."""

    available_keys = frozenset({"image", "mask"})

    def __init__(self, chance=1.0):
        self.p = chance

    def __call__(self, *, image):
        return {"image": image[:8, :10] // 2}


def pixels(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def test_every_kind_of_transform_gives_an_image_in_0_1(folder):
    picture = Image.open(folder / "test/a/4.png")
    for one in (
        v2.CenterCrop((8, 10)),
        v1.Compose([v1.CenterCrop((8, 10)), v1.ToTensor()]),
        [v2.ToImage(), v2.CenterCrop((8, 10))],
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.CenterCrop((8, 10))],
        lambda given: np.array(given)[6:14, 10:20],
    ):
        found = Pipeline(one, "transform")(picture)
        assert type(found) is torch.Tensor
        assert torch.allclose(found, pixels(picture)[:, 6:14, 10:20])
    halved = Pipeline([v2.ToImage(), Halved()], "transform")(picture)
    assert torch.equal(halved, (pixels(picture)[:, :8, :10] * 255 // 2) / 255)


def test_a_folder_is_read_with_them_and_training_images_may_change(folder):
    changing = [v2.RandomCrop((16, 12)), v2.RandomHorizontalFlip()]
    data = ImageFolder(str(folder), transform=v2.CenterCrop((16, 12)), train_transform=changing)
    data.setup("fit")
    assert data.image_shape == (3, 16, 12)
    assert torch.equal(data.test_set[0].image, pixels(Image.open(folder / "test/a/4.png"))[:, 2:18, 9:21])
    assert torch.equal(data.val_set[0].image, data.val_set[0].image)
    assert any(not torch.equal(data.train_set[0].image, data.train_set[0].image) for _ in range(9))
    assert _augments(data.train_set)
    assert not _augments(data.val_set)
    assert sorted([*data.train_set.ids, *data.val_set.ids]) == [
        f"train__{name}.png" for name in ("a__1", "a__2", "b__3")
    ]
    assert {*data.train_set.targets, *data.val_set.targets} == {0, 1}
    other = ImageFolder(str(folder), size=8, train_transform=v2.RandomCrop(9))
    with pytest.raises(InputError, match=r"train_transform gives images \(3, 9, 9\), but .* \(3, 8, 8\)"):
        other.setup("fit")


def test_files_of_more_than_8_bits_stay_exact(tmp_path):
    Image.fromarray(np.full((6, 6), 257 * 100 + 1, dtype=np.uint16)).save(tmp_path / "deep.png")
    data = ImageFolder(str(tmp_path), channels=1, transform=v2.CenterCrop(4))
    data.setup("predict")
    image, target, _ = data.predict_set[0]
    assert torch.allclose(image, torch.full((1, 4, 4), (257 * 100 + 1) / 65535), rtol=1e-6, atol=0)
    assert target == NO_LABEL


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (v2.RandomHorizontalFlip(0.1), r"RandomHorizontalFlip is applied with probability 0\.1, .* train_transform"),
        (v2.Compose([v2.RandomCrop(8)]), r"\(Compose, RandomCrop\) gives another image each time"),
        ([v2.ColorJitter(0.3)], "ColorJitter"),
        (Halved(chance=0.5), r"Halved is applied with probability 0\.5"),
    ],
)
def test_randomness_is_for_training_images_only(folder, transform, said):
    with pytest.raises(InputError, match=said):
        ImageFolder(str(folder), transform=transform).setup("predict")


NORMALIZE = v2.Normalize([0.5] * 3, [0.25] * 3)


@pytest.mark.parametrize("name", ["transform", "train_transform"])
@pytest.mark.parametrize("one", [NORMALIZE, [v2.Compose([v1.ToTensor(), v1.Compose([NORMALIZE])])]])
def test_normalisation_belongs_into_the_network(folder, name, one):
    said = rf"^{name} normalises .*models\.Normalized\(network, mean=\[0\.5, 0\.5, 0\.5\], std=\[0\.25, "
    with pytest.raises(InputError, match=said):
        ImageFolder(str(folder), **{name: one})


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (v2.CenterCrop, "must be functions of an image, got the class CenterCrop"),
        ("mine.crop", "must be functions of an image, got 'mine.crop'"),
        (lambda picture: pixels(picture) * 2 - 1, r"gives pixels from -\S+ to \S+, not in \[0, 1\]"),
        (lambda picture: None, "must return an image"),
        (lambda picture: pixels(picture).int(), r"got torch\.int32"),
        (lambda picture: 1 / 0, r"<lambda> fails \(ZeroDivisionError"),
    ],
)
def test_what_gives_no_image_is_refused(folder, transform, said):
    with pytest.raises(InputError, match=said):
        ImageFolder(str(folder), transform=transform).setup("predict")


def test_images_of_several_sizes_name_the_file(tmp_path):
    for name, size in (("a.png", (8, 8)), ("b.png", (8, 9))):
        Image.new("RGB", size).save(tmp_path / name)
    data = ImageFolder(str(tmp_path), transform=v2.ToImage(), batch_size=2)
    data.setup("predict")
    with pytest.raises(InputError, match=r"b\.png has shape"):
        next(iter(data.predict_dataloader()))
