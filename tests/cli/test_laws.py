"""``certify.py`` with laws that transform images: honest runs pass the audit, forged laws do not."""

import json
import shutil

import attrs
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from lit_certattr.cli.certify import main
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.records.run_directory import fingerprint
from lit_certattr.records.table import RADII
from lit_certattr.reports.html import write_report

pytestmark = pytest.mark.slow

WHOLE = {"class_path": "lit_certattr.regions.Grid", "init_args": {"cells": 1}}
NO_MASKS = {"class_path": "lit_certattr.regions.MaskFolder", "init_args": {"path": "nowhere"}}
REGIONS = {"class_path": "lit_certattr.regions.Superpixels", "init_args": {"count": 9, "sigma": 0.0}}
LAWS = {
    "exposure": ("ExposureNoise", {"exposure": 0.5, "sigma": 0.1}, ("exposure=0.5", "exposure=1.0")),
    "gamma": ("GammaNoise", {"log_gamma": 0.2}, ("log_gamma=0.2", "log_gamma=0.4")),
    "affine": ("AffineNoise", {"log_contrast": 0.2, "brightness": 0.3}, ("brightness=0.3", "brightness=0.6")),
    "blur": ("BlurNoise", {"rate": 1.5}, ("rate=1.5", "rate=0.5")),
    "patches": ("PatchMaskNoise", {"keep": 0.25, "cells": 4}, ("keep=0.25", "keep=0.1")),
    "regions": ("RegionMaskNoise", {"keep": 0.25, "regions": REGIONS}, ("keep=0.25", "keep=0.1")),
}


def config_of(law, settings, **changes):
    path = "lit_certattr.certificates"
    return {
        "data": {"class_path": "lit_certattr.data.Digits", "init_args": {"max_images": 2}},
        "certifier": {
            "attribution": "lit_certattr.attribution.Gradient",
            "noise": {"class_path": f"lit_certattr.smoothing.{law}", "init_args": settings},
            "certificates": [
                {"class_path": f"{path}.PixelCertificate", "init_args": {"top_k": [0.5]}},
                {"class_path": f"{path}.PredictionCertificate"},
                {"class_path": f"{path}.ClaimCertificate"},
            ],
            "num_samples": 150,
            "batch_size": 50,
        },
        "network": {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}},
        "max_panels": 1,
        "trainer": {"accelerator": "cpu", "threads": 1},
    } | changes


def run(folder, name, config):
    torch.manual_seed(0)
    torch.save(SmallCNN(image_size=8).state_dict(), folder / "digits.pt")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    main(["run", f"--config={folder / name}.yaml", f"--checkpoint={folder}/digits.pt", f"--output={folder / name}"])
    return folder / name


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("laws"), {}

    def find(name):
        if name not in made:
            made[name] = run(folder, name, config_of(*LAWS[name][:2]))
        return made[name]

    return find


def audit(path, capsys, *extra):
    capsys.readouterr()
    try:
        main(["audit", str(path), *extra])
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.mark.parametrize("name", LAWS)
def test_honest_runs_pass_and_pages_name_the_law(name, honest, capsys):
    assert audit(honest(name), capsys)[0] == 0
    page = (honest(name) / "report.html").read_text()
    assert LAWS[name][0] in page
    assert "l2 radius" not in page


def forged(directory, old, new, everywhere):
    """A run whose results are derived from another law; table, page and fingerprint are made to fit."""
    ids = list(dict.fromkeys(pq.read_table(directory.table).column("id").to_pylist()))
    content = directory.provenance()
    if everywhere:
        content["settings"] = json.loads(json.dumps(content["settings"]).replace(old, new))
        config = directory.config.read_text()
        directory.config.write_text(config.replace(old.replace("=", ": "), new.replace("=", ": ")))
    content["fingerprint"] = fingerprint(content["settings"])
    directory.provenance_file.write_text(json.dumps(content))
    for image_id in ids:
        record = directory.read(image_id)
        results = {}
        for name, one in record.results.items():
            sampling = one.sampling
            if everywhere:
                sampling = json.loads(json.dumps(sampling).replace(old, new))
            changed = attrs.evolve(one, noise_settings=one.noise_settings.replace(old, new), sampling=sampling)
            results[name] = changed.rederive()
        facts = json.loads(json.dumps(record.facts).replace(old, new)) if everywhere else record.facts
        directory.write(image_id, results, record.image, record.clean_map, facts)
    directory.write_table(ids, one.change_budget.usual_radii(RADII))
    write_report(directory, ids, max_panels=1)


@pytest.mark.parametrize("name", LAWS)
def test_results_of_a_stronger_law_are_found_out(name, honest, tmp_path, capsys):
    directory = RunDirectory(shutil.copytree(honest(name), tmp_path / "run"))
    forged(directory, *LAWS[name][2], everywhere=False)
    status, said = audit(directory.path, capsys)
    assert status == 1
    assert f"noise_settings: stored {LAWS[name][0]}" in said


@pytest.mark.parametrize("name", LAWS)
def test_a_run_whose_law_was_changed_everywhere_is_found_out_by_sampling_again(name, honest, tmp_path, capsys):
    directory = RunDirectory(shutil.copytree(honest(name), tmp_path / "run"))
    forged(directory, *LAWS[name][2], everywhere=True)
    status, said = audit(directory.path, capsys, "--fresh", "--replay=2")
    assert status == 1
    assert "Traceback" not in said
    assert "drawn again" in said


def test_regions_that_were_exchanged_are_found_out_by_sampling_again(honest, tmp_path, capsys):
    directory = RunDirectory(shutil.copytree(honest("regions"), tmp_path / "run"))
    ids = list(dict.fromkeys(pq.read_table(directory.table).column("id").to_pylist()))
    for image_id in ids:
        record, results = directory.read(image_id), {}
        for name, one in record.results.items():
            changed = attrs.evolve(one, noise_partition=one.noise_partition.flip(0))
            results[name] = attrs.evolve(changed, sampling=one.sampling | changed.places())
        directory.write(image_id, results, record.image, record.clean_map, record.facts)
    directory.write_table(ids, one.change_budget.usual_radii(RADII))
    write_report(directory, ids, max_panels=1)
    status, said = audit(directory.path, capsys, "--fresh", "--replay=2")
    assert status == 1
    assert "masked regions" in said
    directory.write(image_id, {"pixel": attrs.evolve(one, noise_partition=None)}, record.image, record.clean_map, {})
    assert "masked regions" in audit(directory.path, capsys)[1]


@pytest.mark.parametrize(
    ("law", "settings", "reason"),
    [
        ("PatchMaskNoise", {"keep": 0.25, "cells": 9}, "a grid of 9 x 9 patches does not fit an image of 8 x 8 pixels"),
        ("PatchMaskNoise", {"keep": 1.5, "cells": 4}, "keep must lie between 0 and 1, both excluded"),
        ("RegionMaskNoise", {"keep": 0.25, "regions": WHOLE}, "has 1 region: RegionMaskNoise needs at least 2"),
        ("RegionMaskNoise", {"keep": 0.25, "regions": NO_MASKS}, "mask folder nowhere: there is no such folder"),
        ("RegionMaskNoise", {"keep": 0.25}, "regions"),
        ("BlurNoise", {"rate": -1.0}, "rate must lie between"),
        ("ExposureNoise", {"sigma": 0.1}, "needs at least one of exposure, white_balance and shading"),
        ("ExposureNoise", {"exposure": 100.0}, "exposure must lie between 1e-4 and 10"),
        ("GammaNoise", {"log_gamma": 0.0}, "log_gamma must lie between"),
        ("AffineNoise", {"log_contrast": 0.1, "brightness": 0.0}, "brightness must lie between"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(law, settings, reason, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, "bad", config_of(law, settings))
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert reason in " ".join(said.split())
    assert "Traceback" not in said
    assert not (tmp_path / "bad").exists()


def test_an_image_without_a_mask_is_named_before_anything_is_written(tmp_path, capsys):
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks" / "0.npy", np.arange(64).reshape(8, 8) // 8)
    rule = {"class_path": "lit_certattr.regions.MaskFolder", "init_args": {"path": str(tmp_path / "masks")}}
    settings = {"keep": 0.25, "regions": rule}
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, "bad", config_of("RegionMaskNoise", settings))
    assert stopped.value.code == 2
    assert "has no mask in" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "bad").exists()
