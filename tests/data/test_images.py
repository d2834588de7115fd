"""Reading image files: every bit of 16-bit and float data, no bit changed in 8-bit data, hostile and odd files."""

import os

import numpy as np
import pytest
import tifffile
import torch
from data.deep_files import netpbm, png16
from PIL import Image, ImageOps

from lit_certattr.data.image_header import FORMATS, MAX_PIXELS, open_image
from lit_certattr.data.images import IMAGE_SUFFIXES, centre_square, read_image
from lit_certattr.data.sample import ImageError

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 4096, (8, 8)).astype(np.uint16)
RGB = RNG.integers(0, 4096, (8, 8, 3)).astype(np.uint16)
BYTES = RNG.integers(0, 256, (9, 13, 3)).astype(np.uint8)


def tiff(array, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


def lzw(array):
    return lambda path: Image.fromarray(array).save(path, compression="tiff_lzw")


def raw(data):
    return lambda path: path.write_bytes(data)


def planar(array):
    return array.transpose(2, 0, 1)


WRITE = {
    "gray": {
        "png": ("a.png", raw(png16(GRAY))),
        "png with alpha": ("a.png", raw(png16(np.dstack([GRAY, GRAY[::-1]])))),
        "tiff": ("a.tif", tiff(GRAY)),
        "big-endian tiff": ("a.tif", tiff(GRAY, byteorder=">")),
        "lzw tiff": ("a.tif", lzw(GRAY)),
        "deflate tiff": ("a.tif", tiff(GRAY, compression="zlib", predictor=True)),
        "uint32 tiff": ("a.tif", tiff(GRAY.astype(np.uint32))),
        "deflate uint32 tiff": ("a.tif", tiff(GRAY.astype(np.uint32), compression="zlib")),
        "int16 tiff": ("a.tif", tiff(GRAY.astype(np.int16))),
        "float tiff": ("a.tif", tiff(GRAY.astype(np.float32))),
        "double tiff": ("a.tif", tiff(GRAY.astype(np.float64))),
        "pgm 4095": ("a.pgm", raw(netpbm(GRAY, 4095))),
        "pgm 65535": ("a.pgm", raw(netpbm(GRAY, 65535))),
        "plain pgm": ("a.pgm", raw(netpbm(GRAY, 4095, plain=True))),
        "plain pgm 65535": ("a.pgm", raw(netpbm(GRAY, 65535, plain=True))),
    },
    "rgb": {
        "png": ("a.png", raw(png16(RGB))),
        "png with alpha": ("a.png", raw(png16(np.dstack([RGB, GRAY])))),
        "tiff": ("a.tif", tiff(RGB, photometric="rgb")),
        "big-endian deflate tiff": ("a.tif", tiff(RGB, photometric="rgb", compression="zlib", byteorder=">")),
        "planar tiff": ("a.tif", tiff(planar(RGB), photometric="rgb", planarconfig="separate")),
        "planar deflate tiff": (
            "a.tif",
            tiff(planar(RGB), photometric="rgb", planarconfig="separate", compression="zlib"),
        ),
        "tiled tiff": ("a.tif", tiff(RGB, photometric="rgb", compression="zlib", tile=(16, 16))),
        "4-band tiff": ("a.tif", tiff(np.dstack([RGB, GRAY]), photometric="rgb", extrasamples=[0])),
        "float tiff": ("a.tif", tiff(RGB.astype(np.float32), photometric="rgb")),
        "ppm": ("a.ppm", raw(netpbm(RGB, 4095))),
        "plain ppm": ("a.ppm", raw(netpbm(RGB, 4095, plain=True))),
    },
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, files in WRITE.items() for name in files])
def test_the_same_numbers_are_the_same_image_in_every_format(tmp_path, kind, name):
    file, write = WRITE[kind][name]
    write(tmp_path / file)
    image = read_image(tmp_path / file, size=8, channels=1 if kind == "gray" else 3, white_level=4095)
    numbers = GRAY[..., None] if kind == "gray" else RGB
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.from_numpy((numbers / 4095).astype(np.float32)).permute(2, 0, 1))


def test_pgm_says_itself_what_white_is(tmp_path):
    for maxval in (15, 255, 4095):
        (tmp_path / "a.pgm").write_bytes(netpbm(np.array([[0, maxval], [maxval // 3, maxval]]), maxval))
        image = read_image(tmp_path / "a.pgm", size=2, channels=1)
        torch.testing.assert_close(image[0], torch.tensor([[0, 1], [maxval // 3 / maxval, 1]]))


@pytest.mark.parametrize("channels", [1, 3])
def test_8_bit_images_are_what_pillow_makes_of_them(tmp_path, channels):
    for name in ("a.png", "a.bmp", "a.ppm", "a.tif", "a.gif", "a.webp", "a.jpg"):
        Image.fromarray(BYTES).save(tmp_path / name)
        with Image.open(tmp_path / name) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB" if channels == 3 else "L")
        for size, crop in ((9, 1.0), (5, 0.875)):
            expected = np.asarray(centre_square(picture, size, crop)).reshape(size, size, -1)
            image = read_image(tmp_path / name, size, channels, crop)
            assert torch.equal(image, torch.from_numpy(expected.copy()).permute(2, 0, 1).float() / 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_images_are_turned_cropped_and_scaled_like_8_bit_ones(tmp_path, channels):
    """They differ by less than the two roundings of an 8-bit resize, and by nothing without one."""
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        Image.fromarray(BYTES).save(tmp_path / "a.png", exif=exif)
        tag = [(274, 3, 1, orientation, True)]
        tifffile.imwrite(tmp_path / "a.tif", BYTES.astype(np.uint16) * 257, photometric="rgb", extratags=tag)
        deep = BYTES[..., 0].astype(np.uint16) * 257
        Image.fromarray(BYTES[..., 0]).save(tmp_path / "g.png", exif=exif)
        Image.fromarray(deep).save(tmp_path / "g16.png", exif=exif)
        Image.fromarray(deep).save(tmp_path / "g16.tif", compression="tiff_lzw", tiffinfo={274: orientation})
        for shallow, names in (("a.png", ["a.tif"]), ("g.png", ["g16.png", "g16.tif"])):
            expected = read_image(tmp_path / shallow, 5, channels)
            for name in names:
                assert (read_image(tmp_path / name, 5, channels) - expected).abs().max() < 1 / 255


def test_a_resize_keeps_more_than_8_bits(tmp_path):
    steps = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", steps)
    image = read_image(tmp_path / "a.tif", size=32, channels=1)
    assert len(image.unique()) == 32 * 32
    assert image.min() >= 0
    assert image.max() <= 1


def test_a_white_level_below_255_applies_to_8_bit_images_and_a_larger_one_does_not(tmp_path):
    Image.fromarray(BYTES[:8, :8] % 16).save(tmp_path / "a.png")
    dark, bright = (read_image(tmp_path / "a.png", 8, white_level=white) for white in (4095, 15))
    assert torch.equal(dark, read_image(tmp_path / "a.png", 8))
    torch.testing.assert_close(bright, dark * 17)
    with pytest.raises(ImageError, match=r"values up to 15, above white \(10\); set white_level higher"):
        read_image(tmp_path / "a.png", 8, white_level=10)


def test_white_can_be_0(tmp_path):
    for options in ({}, {"compression": "zlib"}):
        tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="miniswhite", **options)
        image = read_image(tmp_path / "a.tif", 8, channels=1, white_level=4095)
        torch.testing.assert_close(image[0], torch.from_numpy(1 - GRAY / 4095).float())


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (tiff(GRAY.astype(np.int16)), "signed integers .* set white_level"),
        (tiff(GRAY.astype(np.float32)), r"outside \[0, 1\]; set white_level"),
        (tiff(GRAY.astype(np.int16) - 5000), "negative values, down to -"),
        (tiff(np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)), "negative values, down to -1"),
        (tiff(np.full((8, 8), np.nan, np.float32)), "not finite"),
        (tiff(GRAY.astype(np.complex64)), "type complex64, which are not read; convert"),
        (tiff(np.dstack([RGB, GRAY]), photometric="separated"), "16-bit SEPARATED samples"),
        (tiff(np.dstack([RGB, RGB]), photometric="minisblack", planarconfig="contig"), "6 bands that are no colours"),
        (tiff(np.stack([GRAY] * 4), volumetric=True, photometric="minisblack"), "convert it to grayscale or RGB"),
        (raw(netpbm(GRAY, 4095)[:-5]), "truncated"),
        (raw(netpbm(GRAY, 4095, plain=True)[:-40]), "truncated"),
        (raw(b"P2 2 2 300 1 2 x 4"), "invalid literal"),
        (raw(b"P2 2 2 300 1 2 301 4"), r"up to 301, above white \(300\); repair"),
        (raw(png16(RGB)[:200]), "cannot be read"),
        (raw(png16(GRAY)[:100]), "cannot be read"),
        (raw(b"II*\0"), "cannot be read"),
        (raw(b"II*\0" + bytes(range(100))), "truncated or damaged"),
        (raw(b""), "holds none of BMP, GIF"),
        (
            raw(b"P5 60000 60000 255\n0"),
            "60000 x 60000 pixels, more than the limit .* set max_pixels to at least 3600000000",
        ),
        (
            raw(png16(GRAY, size=(1 << 20, 1 << 20))),
            "max_pixels",
        ),
    ],
)
def test_what_cannot_be_an_image_is_named_in_one_line(tmp_path, write, message, capsys):
    path = tmp_path / "bad.png"  # what counts is what the file holds
    write(path)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path, 8)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""


def test_a_truncated_tiff_is_not_filled_up(tmp_path):
    for options in ({}, {"compression": "zlib"}):
        tifffile.imwrite(tmp_path / "a.tif", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), **options)
        (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-100])
        with pytest.raises(ImageError, match="cannot be read"):
            read_image(tmp_path / "b.tif", 8)


def test_other_formats_are_never_handed_to_other_programs(tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", never)
    monkeypatch.setattr("subprocess.check_call", never)
    Image.fromarray(BYTES).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(ImageError, match="holds none of BMP"):
        read_image(tmp_path / "a.png", 8)
    assert set(FORMATS) == {Image.registered_extensions()[suffix] for suffix in IMAGE_SUFFIXES}


def test_colour_spaces_that_pillow_converts_in_two_steps(tmp_path):
    tifffile.imwrite(tmp_path / "lab.tif", BYTES, photometric="cielab")
    alpha = np.dstack([BYTES, BYTES[..., 0] | 1])
    tifffile.imwrite(tmp_path / "premultiplied.tif", alpha, photometric="rgb", extrasamples=["assocalpha"])
    for name in ("lab.tif", "premultiplied.tif"):
        for channels in (1, 3):
            assert read_image(tmp_path / name, 8, channels).shape == (channels, 8, 8)


def test_a_conversion_that_fails_is_one_line(tmp_path, monkeypatch):
    def fail(self, mode):
        raise ValueError(f"conversion from {self.mode} to {mode} not supported")

    Image.fromarray(BYTES).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(ImageError, match=r"a\.png cannot be read \(conversion from RGB to L not supported\)"):
        read_image(tmp_path / "a.png", 8, channels=1)


def test_the_limit_of_pixels_can_be_raised_and_pillow_keeps_its_own(tmp_path):
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="set max_pixels to at least 10000"):
        read_image(tmp_path / "a.png", 8, max_pixels=9999)
    read_image(tmp_path / "a.png", 8, max_pixels=10000)
    assert before == Image.MAX_IMAGE_PIXELS
    assert 2 * before == MAX_PIXELS


def test_more_than_8_bits_do_not_hide_behind_the_ending_of_jpeg(tmp_path):
    (tmp_path / "a.jpg").write_bytes(png16(GRAY))
    with pytest.raises(
        ImageError, match=r"a\.jpg is no JPEG file and has more than 8 bits; rename it as its format requires"
    ):
        read_image(tmp_path / "a.jpg", 8)
    Image.fromarray(BYTES).save(tmp_path / "b.jpg", format="PNG")
    read_image(tmp_path / "b.jpg", 8)


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match="not a regular file"), open_image(tmp_path / "a.png"):
        pass
