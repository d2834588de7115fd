"""Mask files of others: found by the image's id, scaled by nearest neighbour, and refused in one line."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from lit_certattr.errors import InputError
from lit_certattr.partitions import count_regions, in_words
from lit_certattr.regions import MaskFolder

IMAGE = torch.zeros(3, 8, 8)
HALVES = np.repeat([[0, 7]], 4, axis=0).repeat(2, axis=1).astype(np.uint8)  # 4 x 4: left 0, right 7


def png(folder, name, array, mode=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array, mode).save(path) if mode is None else Image.fromarray(array).convert(mode).save(path)


def npy(folder, name, array):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=True)


@pytest.mark.parametrize("name", ["test/cat/001.png", "test__cat__001.png", "test/cat/001.jpg.png"])
def test_mask_is_found_by_the_id_of_its_image(tmp_path, name):
    png(tmp_path, name, HALVES)
    labels = MaskFolder(str(tmp_path))(IMAGE, "test__cat__001.jpg")
    assert labels[:, :4].unique().tolist() == [-1]
    assert labels[:, 4:].unique().tolist() == [0]
    assert in_words(labels) == "1 regions; 50.0 % of the pixels lie in no region"


def test_background_is_the_first_region(tmp_path):
    png(tmp_path, "chelsea.png", HALVES)
    labels = MaskFolder(str(tmp_path), background=True)(IMAGE, "chelsea")
    assert labels[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64, np.bool_])
def test_arrays_of_integers_are_labels(tmp_path, dtype):
    npy(tmp_path, "a.npy", HALVES.astype(dtype))
    assert MaskFolder(str(tmp_path))(IMAGE, "a")[0].tolist() == [-1, -1, -1, -1, 0, 0, 0, 0]


def test_sixteen_bits_and_palettes_are_labels(tmp_path):
    png(tmp_path, "deep.png", HALVES.astype(np.uint16) * 1000)
    picture = Image.fromarray(HALVES).convert("P")
    picture.putdata(HALVES.flatten().tolist())
    picture.save(tmp_path / "palette.png")
    masks = MaskFolder(str(tmp_path))
    assert torch.equal(masks(IMAGE, "deep"), masks(IMAGE, "palette"))


def test_boolean_masks_may_overlap(tmp_path):
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :4], masks[1, 2:6] = True, True
    npy(tmp_path, "a.npy", masks)
    found = MaskFolder(str(tmp_path))(IMAGE, "a")
    assert torch.equal(found, torch.from_numpy(masks))
    with_rest = MaskFolder(str(tmp_path), background=True)(IMAGE, "a")
    assert count_regions(with_rest) == 3
    assert with_rest[2].sum() == 16


def test_scaling_takes_the_nearest_pixel(tmp_path):
    mask = np.arange(1, 17).reshape(4, 4)
    npy(tmp_path, "a.npy", mask)
    large = MaskFolder(str(tmp_path))(IMAGE, "a")
    assert torch.equal(large, torch.from_numpy(mask - 1).repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert torch.equal(MaskFolder(str(tmp_path))(torch.zeros(1, 4, 4), "a"), torch.from_numpy(mask - 1))


def test_a_side_that_was_rounded_when_both_were_scaled_is_no_other_aspect_ratio(tmp_path):
    """An image of 17 x 16, scaled to 8 pixels in height, has 8 x 7.5: whoever rounds up gets 8 x 8."""
    npy(tmp_path, "a.npy", np.arange(1, 17 * 16 + 1).reshape(17, 16) > 30)
    assert MaskFolder(str(tmp_path))(IMAGE, "a").shape[-2:] == (8, 8)


@pytest.mark.parametrize(("path", "background"), [(5, False), (None, False), ("masks", "no"), ("masks", 1)])
def test_settings_of_another_kind_are_refused(path, background):
    with pytest.raises(InputError, match="must be"):
        MaskFolder(path, background)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no such folder"):
        MaskFolder(str(tmp_path / "none"))(IMAGE, "a")


def test_missing_mask_names_the_file_to_add(tmp_path):
    with pytest.raises(InputError, match=r"cat__1.jpg has no mask in .*: add one as cat/1.png or cat/1.npy"):
        MaskFolder(str(tmp_path))(IMAGE, "cat__1.jpg")


def test_two_masks_for_an_image_are_refused(tmp_path):
    png(tmp_path, "a.png", HALVES)
    npy(tmp_path, "a.npy", HALVES)
    with pytest.raises(InputError, match="several masks"):
        MaskFolder(str(tmp_path))(IMAGE, "a")


@pytest.mark.parametrize("image_id", ["..__secret", "/etc__passwd", "a__..__..__b", "x" * 5000, "a\0b"])
def test_ids_never_lead_out_of_the_folder(tmp_path, image_id):
    inside = tmp_path / "masks"
    inside.mkdir()
    png(tmp_path, "secret.png", HALVES)
    with pytest.raises(InputError) as refused:
        MaskFolder(str(inside))(IMAGE, image_id)
    assert "\n" not in str(refused.value)


def faulty(name):
    """A file that is no mask, and what the message says."""
    wide = np.ones((4, 8), np.uint8)
    dot = np.zeros((800, 800), np.uint8)
    dot[0, 0] = 1
    empty = np.stack([np.ones((8, 8), bool), np.zeros((8, 8), bool)])
    return {
        "colours": ("a.png", lambda path: Image.new("RGB", (8, 8)).save(path), "one whole number per pixel"),
        "jpeg": ("a.png", lambda path: Image.fromarray(HALVES).save(path, "JPEG"), "must be a PNG file"),
        "text": ("a.png", lambda path: path.write_text("no"), "cannot be read"),
        "truncated": ("a.png", lambda path: path.write_bytes(_png()[:50]), "cannot be read"),
        "folder": ("a.png", lambda path: path.mkdir(), "directory"),
        "ratio": ("a.npy", lambda path: np.save(path, wide), "another aspect ratio"),
        "a column more": ("a.npy", lambda path: np.save(path, np.ones((8, 9), np.uint8)), "another aspect ratio"),
        "negative": ("a.npy", lambda path: np.save(path, np.full((8, 8), -1)), "at least 0, got -1"),
        "floats": ("a.npy", lambda path: np.save(path, np.ones((8, 8))), "integers .* got float64"),
        "volume": ("a.npy", lambda path: np.save(path, np.ones((2, 8, 8), np.int64)), "integers"),
        "pickle": ("a.npy", lambda path: np.save(path, np.array([[{}]]), allow_pickle=True), "cannot be read"),
        "no array": ("a.npy", lambda path: path.write_bytes(b""), "cannot be read"),
        "archive": ("a.npy", lambda path: path.write_bytes(_archive()), "cannot be read"),
        "nothing": ("a.npy", lambda path: np.save(path, np.zeros((8, 8), np.int64)), "no region"),
        "no mask": ("a.npy", lambda path: np.save(path, empty[:0]), "cannot be read|is empty"),
        "empty": ("a.npy", lambda path: np.save(path, empty), "region 1 of mask .* is empty"),
        "vanishes": ("a.npy", lambda path: np.save(path, dot), "region 1 of mask .* has no pixel left at 8 x 8"),
    }[name]


def _png():
    written = BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(written, "PNG")
    return written.getvalue()


def _archive():
    written = BytesIO()
    np.savez(written, a=np.ones(2))
    return written.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "colours",
            "jpeg",
            "text",
            "truncated",
            "folder",
            "ratio",
            "a column more",
            "negative",
            "floats",
            "volume",
            "pickle",
        ),
        *("no array", "archive", "nothing", "no mask", "empty", "vanishes"),
    ],
)
def test_file_that_is_no_mask_is_refused_in_one_line(tmp_path, name):
    file, write, match = faulty(name)
    write(tmp_path / file)
    with pytest.raises(InputError, match=match) as refused:
        MaskFolder(str(tmp_path))(IMAGE, "a")
    assert "\n" not in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_header_that_announces_a_giant_reads_nothing(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 2**20)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InputError, match="cannot be read"):
        MaskFolder(str(tmp_path))(IMAGE, "a")
