"""Which number is white in a folder of images with more than 8 bits, and what is said about its files."""

import numpy as np
import pytest
import tifffile
import torch
from data.deep_files import netpbm, png16
from PIL import Image

from lit_certattr.data import ImageFolder
from lit_certattr.errors import InputError

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 3000, (8, 8)).astype(np.uint16)


def write(root, **arrays):
    for name, array in arrays.items():
        tifffile.imwrite(root / f"{name}.tif", array)


def folder(root, **options):
    module = ImageFolder(str(root), **{"size": 8, "channels": 1, **options})
    module.setup("predict")
    return module


def largest(module):
    return [float(module.test_set[index].image.max()) for index in range(len(module.test_set))]


def test_12_bits_in_a_16_bit_file_are_warned_about(tmp_path):
    write(tmp_path, a=GRAY, b=GRAY)
    with pytest.warns(UserWarning, match=r"in 2 of its 2 images .* but white is 65535: they use 4\.\d % of the range"):
        folder(tmp_path)
    write(tmp_path, b=GRAY * 10)  # one bright image is enough
    assert folder(tmp_path).white_level == "full"


def test_a_number_means_white_and_nothing_may_be_above_it(tmp_path):
    write(tmp_path, a=GRAY)
    assert largest(folder(tmp_path, white_level=4095)) == pytest.approx([GRAY.max() / 4095])
    module = folder(tmp_path, white_level=1000)
    with pytest.raises(InputError, match=r"above white \(1000\); set white_level higher"):
        largest(module)
    with pytest.warns(UserWarning, match="white is 70000"):
        module = folder(tmp_path, white_level=70000)
    with pytest.raises(InputError, match="white_level 70000 is above 65535"):
        largest(module)


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), True, "bright"])
def test_white_levels_that_are_none(tmp_path, bad):
    write(tmp_path, a=GRAY)
    with pytest.raises(InputError, match="white_level must be a number above 0, 'auto' or 'full'"):
        folder(tmp_path, white_level=bad)


def test_auto_reads_metadata(tmp_path):
    files = {
        "tag": lambda path: tifffile.imwrite(path / "a.tif", GRAY, extratags=[(281, 3, 1, 4095, True)]),
        "ome": lambda path: tifffile.imwrite(path / "a.tif", GRAY, description='<Pixels SignificantBits="12"/>'),
        "pgm": lambda path: (path / "a.pgm").write_bytes(netpbm(GRAY, 4095)),
        "png": lambda path: (path / "a.png").write_bytes(png16(GRAY, significant_bits=12)),
    }
    for name, save in files.items():
        (tmp_path / name).mkdir()
        save(tmp_path / name)
        module = folder(tmp_path / name, white_level="auto")
        assert module.white_level == 4095
        assert largest(module) == pytest.approx([GRAY.max() / 4095])


def test_auto_knows_that_png_stretches_fewer_bits_to_16(tmp_path):
    stretched = GRAY * 16 + (GRAY >> 8)
    for name, numbers in (("dark", stretched // 100), ("bright", stretched)):
        (tmp_path / f"{name}.png").write_bytes(png16(numbers, significant_bits=12))
    assert folder(tmp_path, white_level="auto").white_level == 65535


def test_auto_takes_the_largest_number_of_all_splits_and_says_so(tmp_path):
    for split, numbers in (("train", GRAY), ("test", GRAY // 2)):
        for name in ("1", "2"):
            (tmp_path / split / "a").mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / split / "a" / f"{name}.tif", numbers)
    for stage in ("fit", "predict"):
        module = ImageFolder(str(tmp_path), size=8, white_level="auto")
        with pytest.warns(UserWarning, match=f"set white_level to {GRAY.max()} to keep it"):
            module.setup(stage)
        assert module.white_level == GRAY.max()
        module.setup(stage)  # says nothing again, and keeps the number


def test_auto_refuses_what_has_no_single_answer(tmp_path):
    (tmp_path / "a.pgm").write_bytes(netpbm(GRAY, 4095))
    (tmp_path / "b.pgm").write_bytes(netpbm(GRAY // 4, 1023))
    with pytest.raises(InputError, match=r"disagree: white is 4095 in a\.pgm and 1023 in b\.pgm; set white_level"):
        folder(tmp_path, white_level="auto")
    assert largest(folder(tmp_path)) == pytest.approx([GRAY.max() / 4095, (GRAY // 4).max() / 1023])
    (tmp_path / "b.pgm").unlink()
    write(tmp_path, c=GRAY.astype(np.float32))
    with pytest.raises(InputError, match=r"images of one kind, but .* holds float and unsigned"):
        folder(tmp_path, white_level="auto")
    (tmp_path / "c.tif").unlink()
    (tmp_path / "a.pgm").write_bytes(netpbm(GRAY * 0, 65535))
    with pytest.raises(InputError, match=r"all numbers .* are 0"):
        folder(tmp_path, white_level="auto")


def test_8_bit_images_need_no_white_level(tmp_path):
    Image.fromarray(GRAY.astype(np.uint8)).save(tmp_path / "a.png")
    images = [folder(tmp_path, white_level=white).test_set[0].image for white in ("full", "auto", 255, 4095)]
    assert all(torch.equal(image, images[0]) for image in images)


def test_floats_above_1_need_one(tmp_path):
    write(tmp_path, a=GRAY.astype(np.float32))
    module = folder(tmp_path)
    with pytest.raises(InputError, match=r"outside \[0, 1\]; set white_level"):
        largest(module)
    assert largest(folder(tmp_path, white_level=3000.0)) == pytest.approx([GRAY.max() / 3000])


def test_training_does_not_go_on_with_another_white(tmp_path):
    write(tmp_path, a=GRAY)
    state = folder(tmp_path, white_level=4095).state_dict()
    assert state == {"white_level": 4095.0}
    folder(tmp_path, white_level=4095).load_state_dict(state)
    with pytest.warns(UserWarning, match="no metadata declare white"):
        module = folder(tmp_path, white_level="auto")
    with pytest.raises(InputError, match=r"was 4095.0 in the checkpoint; set white_level to 4095.0"):
        module.load_state_dict(state)
    assert ImageFolder(str(tmp_path)).state_dict() == {}


def test_pages_and_bands_that_are_not_used_are_counted(tmp_path):
    frames = [Image.fromarray(RNG.integers(0, 256, (8, 8, 3)).astype(np.uint8)) for _ in range(2)]
    for name in ("a.gif", "a.webp", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    tifffile.imwrite(tmp_path / "b.tif", np.stack([GRAY * 20] * 2), photometric="minisblack")
    Image.new("RGBA", (8, 8)).save(tmp_path / "c.png")
    (tmp_path / "d.png").write_bytes(png16(np.dstack([GRAY, GRAY])))
    tifffile.imwrite(tmp_path / "e.tif", np.zeros((8, 8, 4), np.uint8), photometric="rgb", extrasamples=[0])
    with pytest.warns(UserWarning, match="bands|pages") as seen:
        folder(tmp_path)
    said = [str(warning.message) for warning in seen]
    assert len(said) == 2
    assert "of 4 files (the first is a.gif) with several pages or frames only the first is used" in said[0]
    assert "alpha or further bands are dropped from 3 files (the first is c.png)" in said[1]


def test_a_damaged_file_is_named_when_it_is_read(tmp_path):
    write(tmp_path, a=GRAY * 20)
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-20])
    module = folder(tmp_path)
    assert module.test_set[0].id == "a.tif"
    with pytest.raises(InputError, match=r"b\.tif cannot be read \(file is truncated\)"):
        module.test_set[1]
    with pytest.raises(InputError, match=r"b\.tif cannot be read"):
        folder(tmp_path, white_level="auto")  # its numbers count
