"""``certify.py covers``: what holds for particular changed images; files are loaded as the run loaded its images."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, PixelCertificate, PredictionCertificate
from lit_certattr.cli.certify import main
from lit_certattr.data import ImageFolder
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.smoothing import ExposureNoise, GammaNoise, NuisanceNoise

CPU = jobs.TrainerOptions(accelerator="cpu", threads=1)
LAWS = {
    "nuisance": NuisanceNoise(0.5, brightness=0.4),
    "exposure": ExposureNoise(exposure=0.5, sigma=0.3),
    "gamma": GammaNoise(0.3),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("covers")
    (folder / "images").mkdir()
    pixels = np.linspace(60, 190, 144).reshape(12, 12).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "images" / "ramp.png")
    found = {}
    for name, law in LAWS.items():
        torch.manual_seed(0)
        certificates = [PixelCertificate([0.5]), PredictionCertificate()]
        certificates += [CosineCertificate(nonnegative=True)] if name == "nuisance" else []
        data = ImageFolder(str(folder / "images"), size=8, channels=1, crop=2 / 3)
        config = (
            f"data:\n  class_path: lit_certattr.data.ImageFolder\n  init_args: {{crop: {2 / 3}, white_level: full}}\n"
        )
        found[name] = jobs.run(
            Certifier(Gradient(), law, certificates, num_samples=200, batch_size=50),
            data,
            SmallCNN(image_size=8),
            output=folder / name,
            trainer=CPU,
            config=config,
            progress=False,
        )
    return found


def save(folder, name, image):
    path = folder / name
    np.save(path, image.numpy())
    return path


def certified(run):
    return run.read("ramp.png")


@pytest.mark.parametrize("law", LAWS)
def test_a_change_inside_the_budget_is_covered_as_holds_for_says(runs, law, tmp_path):
    record = certified(runs[law])
    budget = record.results["pixel"].change_budget
    radius = float(record.results["pixel"].radius.max()) / 2
    changed = budget.edges(record.image, radius)[0].image.float()
    for one in jobs.covers(runs[law].path, "ramp.png", [save(tmp_path, "changed.npy", changed)]):
        result = record.results[one.certificate]
        expected = result.holds_for(record.image, changed)
        assert one.length == expected.length
        if one.certificate == "cosine":
            assert one.holds is None
            assert one.reason.startswith("cosine at least 0.")
        else:
            assert (one.holds, one.total) == (expected.certified, expected.total)
    found = jobs.covers(runs[law].path, "ramp.png", [tmp_path / "changed.npy"])
    (pixel,) = (one for one in found if one.certificate == "pixel")
    assert 0 < pixel.holds < pixel.certified
    assert math.isfinite(pixel.length)
    assert "the longest change for which something holds is" in pixel.reason


def test_the_ending_of_the_id_may_be_left_out(runs):
    changed = [runs["gamma"].path.parent / "images" / "ramp.png"]
    assert jobs.covers(runs["gamma"].path, "ramp", changed) == jobs.covers(runs["gamma"].path, "ramp.png", changed)


def test_the_split_names_the_amounts(runs, tmp_path):
    image = certified(runs["nuisance"]).image
    one = jobs.covers(runs["nuisance"].path, "ramp.png", [save(tmp_path, "a.npy", image + 0.1)])[0]
    assert one.split["brightness"] == pytest.approx(0.1, rel=0.05)
    assert one.split["largest rest"] < 0.01
    image = certified(runs["exposure"]).image
    one = jobs.covers(runs["exposure"].path, "ramp.png", [save(tmp_path, "b.npy", image * 2**0.25)])[0]
    assert one.split["exposure in stops"] == pytest.approx(0.25, rel=1e-5)
    image = certified(runs["gamma"]).image
    one = jobs.covers(runs["gamma"].path, "ramp.png", [save(tmp_path, "c.npy", image**1.2)])[0]
    assert one.split["gamma"] == pytest.approx(1.2, rel=1e-5)


def test_a_file_is_loaded_as_the_run_loaded_its_images(runs, tmp_path):
    original = runs["nuisance"].path.parent / "images" / "ramp.png"
    for one in jobs.covers(runs["nuisance"].path, "ramp.png", [original]):
        assert one.length == 0
        assert one.holds is None or one.holds == one.certified
    assert jobs.covers(runs["nuisance"].path, "ramp.png", [original], crop=1.0)[0].length > 0.01


def test_a_rounded_image_is_no_pure_gamma_and_says_how_far_off_it_is(runs, tmp_path, capsys):
    image = certified(runs["gamma"]).image
    grey = (image[0].numpy() ** 1.1 * 255).round().astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "rounded.png")
    main(
        ["covers", str(runs["gamma"].path), "--image=ramp.png", "--crop=1", "--changed", str(tmp_path / "rounded.png")]
    )
    said = capsys.readouterr().out
    assert "gamma 1.1" in said
    assert "pixel: length inf: 0 of" in said
    assert "it is no change of gamma alone, up to 0.5" in said


def test_json_holds_the_same(runs, tmp_path, capsys):
    image = certified(runs["gamma"]).image
    paths = [str(save(tmp_path, f"{gamma}.npy", image**gamma)) for gamma in (1.0, 1.05)]
    paths.append(str(save(tmp_path, "other.npy", image.flip(1))))
    main(["covers", str(runs["gamma"].path), "--image=ramp.png", "--json=true", "--changed", *paths])
    found = json.loads(capsys.readouterr().out)
    expected = jobs.covers(runs["gamma"].path, "ramp.png", paths)
    assert [one["file"] for one in found] == [path for path in paths for _ in ("pixel", "prediction")]
    for one, other in zip(found, expected, strict=True):
        assert one["length"] == (other.length if math.isfinite(other.length) else None)
        assert (one["holds"], one["split"]) == (other.holds, dict(other.split))


def test_a_folder_gives_its_images_in_order(runs, tmp_path):
    image = certified(runs["gamma"]).image
    for name in ("b.npy", "a.npy"):
        save(tmp_path, name, image)
    (tmp_path / "notes.txt").write_text("no image")
    found = jobs.covers(runs["gamma"].path, "ramp.png", [tmp_path])
    assert [one.file for one in found] == [str(tmp_path / name) for name in ("a.npy", "a.npy", "b.npy", "b.npy")]


def broken(tmp_path, name):
    image = torch.full((1, 8, 8), 0.5)
    if name == "another shape":
        return save(tmp_path, "x.npy", image[:, :4])
    if name == "not finite":
        return save(tmp_path, "x.npy", image * math.nan)
    if name == "whole numbers":
        return save(tmp_path, "x.npy", torch.zeros(8, 8, dtype=torch.int64))
    path = tmp_path / {"an empty array file": "x.npy", "a damaged picture": "x.png", "no image": "x.txt"}[name]
    path.write_bytes(b"nothing")
    return path


@pytest.mark.parametrize(
    ("name", "says"),
    {
        "another shape": "has the shape 1 x 4 x 8, the images of the run have 1 x 8 x 8",
        "not finite": "the changed image has values that are NaN or infinite",
        "whole numbers": "must hold an array [C, H, W] or [H, W] of floats in [0, 1]",
        "an empty array file": "is no .npy file of numbers",
        "a damaged picture": "x.png",
        "no image": "is no image file",
    }.items(),
)
def test_bad_files_are_refused_in_one_line(runs, tmp_path, capsys, name, says):
    path = broken(tmp_path, name)
    with pytest.raises(SystemExit) as stopped:
        main(["covers", str(runs["gamma"].path), "--image=ramp.png", "--changed", str(path)])
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert says in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not said.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--image=cat", "--changed=x.npy"], "there is no image 'cat'; the first are ramp.png"),
        (["--image=ramp.png", "--changed=missing.png"], "missing.png: no such file"),
        (["--image=ramp.png", "--changed=x.npy", "--crop=2"], "crop must lie in (0, 1]"),
        (["--image=ramp.png"], "changed"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(runs, tmp_path, capsys, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    save(tmp_path, "x.npy", torch.full((1, 8, 8), 0.5))
    with pytest.raises(SystemExit) as stopped:
        main(["covers", str(runs["gamma"].path), *arguments])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert says in said
    assert len(said.strip().splitlines()) == 1


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        jobs.covers(tmp_path, "ramp.png", [tmp_path])


def test_a_white_level_that_the_run_has_found_must_be_given(runs, tmp_path):
    run = runs["gamma"]
    path, before = save(tmp_path, "x.npy", certified(run).image), run.config.read_text()
    run.config.write_text(before.replace("full", "auto"))
    try:
        with pytest.raises(InputError, match="give the number that it has found with --white_level"):
            jobs.covers(run.path, "ramp.png", [path])
        assert jobs.covers(run.path, "ramp.png", [path], white_level=4095.0)[0].length == 0
    finally:
        run.config.write_text(before)
