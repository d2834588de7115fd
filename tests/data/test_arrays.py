"""Images of every kind that users have at hand become the same float tensors."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from lit_certattr.data import ImageError
from lit_certattr.data.arrays import as_pixels
from lit_certattr.data.images import centre_square, to_pixels

BYTES = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(BYTES).permute(2, 0, 1).float() / 255


def png(tmp_path, picture, name="one.png"):
    picture.save(tmp_path / name)
    return tmp_path / name


def test_one_image_in_all_its_forms(tmp_path):
    path = png(tmp_path, Image.fromarray(BYTES))
    forms = (
        path,
        str(path),
        Image.fromarray(BYTES),
        BYTES,
        np.moveaxis(BYTES, 2, 0),
        BYTES / 255,
        (BYTES / 255).astype(">f4"),
        PIXELS,
        torch.from_numpy(BYTES).permute(2, 0, 1),
        tv_tensors.Image(torch.from_numpy(BYTES).permute(2, 0, 1)),
    )
    for form in forms:
        pixels = as_pixels(form, "a")
        assert type(pixels) is torch.Tensor
        assert pixels.is_floating_point()
        assert torch.allclose(pixels.float(), PIXELS, atol=1e-6), form


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "F"]
)
def test_every_mode_of_a_picture(mode):
    gray = Image.new("L", (5, 4), 51)
    if mode == "F":
        picture = Image.fromarray(np.full((4, 5), 0.2, np.float32))
    elif mode == "I;16":
        picture = Image.fromarray(np.full((4, 5), 51 * 257, np.uint16))
    elif mode == "LAB":
        picture = Image.new("LAB", (5, 4), (51, 128, 128))
    else:
        picture = gray.convert("RGBA").convert(mode) if mode == "RGBa" else gray.convert("RGB").convert(mode)
    assert picture.mode == mode
    for channels in (1, 3):
        pixels = as_pixels(picture, "a", channels)
        assert pixels.shape == (channels, 4, 5)
        if mode not in ("1", "LAB"):  # black and white, and another lightness
            assert torch.allclose(pixels, torch.full_like(pixels, 0.2), atol=0.01)


def test_gray_and_alpha_follow_the_network():
    gray = BYTES[..., 0]
    assert as_pixels(gray, "a").shape == (1, 6, 8)
    assert torch.equal(as_pixels(gray, "a", channels=3), as_pixels(gray, "a").expand(3, -1, -1))
    assert as_pixels(Image.fromarray(BYTES), "a", channels=1).shape == (1, 6, 8)
    alpha = np.concatenate([BYTES, BYTES[..., :1]], axis=2)
    assert torch.equal(as_pixels(alpha, "a"), as_pixels(BYTES, "a"))
    assert as_pixels(alpha, "a", channels=4).shape == (4, 6, 8)


def test_deep_files_keep_their_bits(tmp_path):
    deep = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    path = png(tmp_path, Image.fromarray(deep))
    expected = torch.from_numpy(deep.astype(np.float32) / 65535)[None]
    assert torch.allclose(as_pixels(path, "a"), expected, atol=1e-7)
    assert torch.allclose(as_pixels(deep, "a"), expected, atol=1e-7)
    assert torch.allclose(as_pixels(Image.fromarray(deep), "a"), expected, atol=1e-7)


def test_a_size_is_that_of_the_data_modules(tmp_path):
    picture = Image.fromarray(BYTES)
    path = png(tmp_path, picture)
    expected = to_pixels(centre_square(picture, 4)).float() / 255
    assert torch.equal(as_pixels(path, "a", size=4), expected)
    for form in (picture, BYTES, np.moveaxis(BYTES, 2, 0), torch.from_numpy(BYTES).permute(2, 0, 1)):
        assert torch.equal(as_pixels(form, "a", size=4), expected)
    floats = as_pixels(PIXELS, "a", size=4)
    assert torch.allclose(floats, expected, atol=1 / 255)
    assert not torch.equal(floats, expected)  # floats are not rounded to bytes
    assert as_pixels(PIXELS[:, :6, :6], "a", size=6) is not None


def test_numbers_of_more_than_8_bits_are_scaled_alike_as_picture_and_as_array():
    deep = np.kron(np.random.default_rng(1).integers(0, 2, (4, 4)), np.ones((2, 2))).astype(np.uint16) * 65535
    picture = as_pixels(Image.fromarray(deep), "a", size=5)
    assert torch.equal(picture, as_pixels(deep, "a", size=5))
    assert 0 <= picture.min() <= picture.max() <= 1


def test_a_picture_that_lies_on_its_side_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(BYTES).save(tmp_path / "side.png", exif=exif)
    assert as_pixels(tmp_path / "side.png", "a").shape == (3, 8, 6)
    with Image.open(tmp_path / "side.png") as picture:
        assert torch.equal(as_pixels(picture, "a"), as_pixels(tmp_path / "side.png", "a"))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(6, 8, 3), r"use permute\(2, 0, 1\)"),
        (torch.zeros(3, 6, 8, dtype=torch.int64), r"image a is torch.int64: use image.float\(\) divided"),
        (torch.zeros(2, 3, 6, 8), r"must be a tensor \[C, H, W\], got shape \[2, 3, 6, 8\]"),
        (np.zeros((6, 8, 3), np.int32), r"image a is int32: divide it by its largest possible value"),
        (np.zeros((5, 6, 7)), r"must be an array \[H, W, C\], \[C, H, W\] or \[H, W\], got shape \[5, 6, 7\]"),
        (Image.new("I", (4, 4)), "white of a PIL picture of mode I is unknown"),
        ("nowhere.png", "nowhere.png: no such file"),
        (3.0, "must be a path, a PIL picture, a NumPy array or a tensor, got float"),
    ],
)
def test_what_cannot_be_read_gets_the_remedy(image, words):
    with pytest.raises(ImageError, match=words) as caught:
        as_pixels(image, "a")
    assert "\n" not in str(caught.value)


def test_a_folder_gets_two_remedies(tmp_path):
    with pytest.raises(ImageError, match=r"is a folder: give a list of files, .*folder.yaml"):
        as_pixels(tmp_path, "a")
