"""``certify.py modes``: from a folder of pictures to a file that a noise law takes."""

import numpy as np
import pytest
import torch
from PIL import Image

from lit_certattr import jobs
from lit_certattr.cli.certify import main
from lit_certattr.errors import InputError
from lit_certattr.smoothing import NuisanceNoise


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for scene in ("a", "b", "c"):
        (tmp_path / "scenes" / scene).mkdir(parents=True)
        base = rng.uniform(80, 160, size=(8, 8, 3))
        for number, light in enumerate((-30, 0, 30)):
            picture = np.clip(base + light, 0, 255).round().astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "scenes" / scene / f"{number}.png")
    return tmp_path / "scenes"


def test_brightness_is_found_in_exposure_series(folder, tmp_path, capsys):
    output = tmp_path / "modes.npy"
    main(["modes", str(folder), f"--output={output}", "--count=1", "--size=8"])
    said = capsys.readouterr().out
    assert "9 pictures of 3 scenes" in said
    assert "mode 1: 99" in said
    assert f"images: {output}, images_tau: 0.11" in said  # std of -30, 0, 30 over 255
    fields = np.load(output)
    assert fields.shape == (1, 3, 8, 8)
    np.testing.assert_allclose(fields, 1, atol=0.02)
    law = NuisanceNoise(0.25, images=str(output), images_tau=30 / 255)
    grey = torch.full((3, 8, 8), 0.5)
    assert law.budget.length(grey, grey + 30 / 255) == pytest.approx(0.25, rel=0.05)
    assert law.images_sha256 in said


def test_consecutive_files_are_series(folder, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for scene in "abc":
        for number in range(3):
            (folder / scene / f"{number}.png").rename(flat / f"{scene}{number}.png")
    fitted = jobs.fit_modes(flat, tmp_path / "modes.npy", count=1, size=8, series=3)
    assert (fitted.num_scenes, fitted.num_images) == (3, 9)
    assert fitted.tau == pytest.approx(30 / 255, rel=0.02)
    assert 0.99 < fitted.shares[0] <= 1


def test_an_existing_file_stays_unless_told(folder, tmp_path):
    output = tmp_path / "modes.npy"
    first = jobs.fit_modes(folder, output, count=1, size=8)
    with pytest.raises(InputError, match="exists already"):
        jobs.fit_modes(folder, output, count=1, size=4)
    assert jobs.fit_modes(folder, output, count=1, size=8, overwrite=True).sha256 == first.sha256


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--output=modes.txt"], "modes.txt must end in .npy"),
        (["--output=modes.npy", "--count=7", "--size=1"], "set count to at most"),
        (["--output=modes.npy", "--count=0"], "count"),
        (["--output=modes.npy", "--channels=2"], "channels must be 1 or 3"),
        (["--output=modes.npy", "--series=2"], "holds 0 images, which are no series of 2"),
        ([], "output"),
    ],
)
def test_bad_arguments_are_one_line_and_write_nothing(folder, tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["modes", str(folder), *arguments])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert says in said
    assert len(said.strip().splitlines()) == 1
    assert not list(tmp_path.glob("modes*"))


def test_folders_without_scenes_are_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "one" / "scene").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "one" / "scene" / "x.png")
    for name, says in (("empty", "has no sub-folders"), ("one", "holds one image"), ("none", "is no folder")):
        with pytest.raises(SystemExit):
            main(["modes", str(tmp_path / name), f"--output={tmp_path}/modes.npy"])
        assert says in capsys.readouterr().err
