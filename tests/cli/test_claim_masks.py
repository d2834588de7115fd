"""``certify.py run``, ``attack`` and ``audit`` with a mask for each image, and forged masks that are found."""

import json
import shutil
from pathlib import Path

import attrs
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from lit_certattr.certificates.claims_result import masks_identity
from lit_certattr.cli.certify import main
from lit_certattr.data import Digits
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.reports.html import write_report

ROOT = Path(__file__).parents[2]
NUMBERS = "lit_certattr.numbers"


def _claim(name, kind, **settings):
    number = {"class_path": f"{NUMBERS}.{kind}", "init_args": settings}
    return {"class_path": "lit_certattr.certificates.Claim", "init_args": {"name": name, "number": number}}


def _config(masks):
    folder = {"class_path": "lit_certattr.regions.MaskFolder", "init_args": {"path": str(masks)}}
    anything = {"class_path": f"{NUMBERS}.RegionMask", "init_args": {"regions": folder}}
    region = {"class_path": f"{NUMBERS}.RegionMask", "init_args": {"regions": folder, "labels": [1]}}
    left = {"top": 0.0, "left": 0.0, "bottom": 1.0, "right": 0.5}
    claims = [
        _claim("on the object", "EnergyInside", mask=region),
        _claim("on all objects", "PointingGame", mask=anything),
        _claim("on the left", "EnergyInside", mask=left),
        _claim("more", "MoreThan", more=region, less=left),
    ]
    return {
        "data": {"class_path": "lit_certattr.data.Digits", "init_args": {"max_images": 2}},
        "certifier": {
            "attribution": "lit_certattr.attribution.Gradient",
            "noise": {"class_path": "lit_certattr.smoothing.GaussianNoise", "init_args": {"sigma": 0.3}},
            "certificates": [
                {"class_path": "lit_certattr.certificates.ClaimCertificate", "init_args": {"claims": claims}},
                {"class_path": "lit_certattr.certificates.PercentileCertificate", "init_args": {"claims": claims[:1]}},
            ],
            "num_samples": 100,
            "batch_size": 50,
        },
        "network": {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}},
        "max_panels": 1,
        "trainer": {"accelerator": "cpu", "threads": 1},
    }


def _ids():
    data = Digits(max_images=2)
    data.setup("predict")
    return data.predict_set.ids[:2]


def _masks(folder):
    folder.mkdir()
    for number, image_id in enumerate(_ids()):
        mask = np.zeros((8, 8), np.uint8)
        mask[1 + number : 5 + number, 2:6] = 1
        mask[7, 7] = 3
        np.save(folder / f"{image_id}.npy", mask)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run and its masks, never touched."""
    folder = tmp_path_factory.mktemp("masks")
    torch.manual_seed(0)
    torch.save(SmallCNN(image_size=8).state_dict(), folder / "digits.pt")
    (folder / "run.yaml").write_text(yaml.safe_dump(_config(_masks(folder / "masks"))))
    main(["run", f"--config={folder}/run.yaml", f"--checkpoint={folder}/digits.pt", f"--output={folder}/run"])
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return RunDirectory(shutil.copytree(finished / "run", tmp_path / "run"))


@pytest.fixture
def moved(finished):
    """The masks are somewhere else for a while."""
    (finished / "masks").rename(finished / "elsewhere")
    yield finished / "masks"
    shutil.rmtree(finished / "masks", ignore_errors=True)
    (finished / "elsewhere").rename(finished / "masks")


def _status(capsys, *arguments):
    capsys.readouterr()
    try:
        main(list(arguments))
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    output = capsys.readouterr()
    return status, " ".join((output.out + output.err).split())


def test_an_honest_run_passes_also_with_fresh_noise(run, capsys):
    status, out = _status(capsys, "audit", str(run.path), "--fresh", "--replay=2")
    assert status == 0, out
    assert "compared bit by bit" in out
    rows = pq.read_table(run.table).to_pylist()
    covered = {row["claim"]: row["claim_covered"] for row in rows if row["certificate"] == "claims"}
    assert covered == {"on the object": 16 / 64, "on all objects": 17 / 64, "on the left": 0.5, "more": None}
    page = run.report.read_text()
    assert "mask covers" in page
    for words in ("a pixel has the colour", "A pixel that abstains", "pure noise"):
        assert words not in page, "there are no labels of pixels"
    assert all(name in page for name in covered)


def test_the_attack_uses_the_masks_of_the_run(run, capsys):
    status, out = _status(
        capsys, "attack", str(run.path), "--search.steps=2", "--draws=2", "--judge_draws=8", "--budgets=[0.05]"
    )
    assert status == 0, out
    rows = pq.read_table(run.attacks.table).to_pylist()
    assert len(rows) == 2 * 5 * 2 * 2  # images, claims, sides, and the clean image beside the budget
    assert all(row["certified"] <= row["attacked_upper"] for row in rows)


def test_a_run_is_audited_where_its_masks_are_not(run, moved, capsys):
    status, out = _status(capsys, "audit", str(run.path))
    assert status == 0, out


@pytest.mark.parametrize("command", [["attack", "--search.steps=1"], ["audit", "--fresh"]])
def test_other_masks_than_those_of_the_run_prove_nothing_about_it(run, moved, capsys, command):
    moved.mkdir()
    for image_id in _ids():
        np.save(moved / f"{image_id}.npy", np.eye(8, dtype=np.uint8))
    status, out = _status(capsys, command[0], str(run.path), *command[1:])
    assert status != 0
    assert "masks; sha256" in out or "not the one that was certified" in out


def test_without_masks_nothing_is_sampled(run, moved, capsys, tmp_path):
    status, out = _status(
        capsys, "run", f"--config={moved.parent}/run.yaml", f"--checkpoint={moved.parent}/digits.pt",
        f"--output={tmp_path}/new",
    )  # fmt: skip
    assert status == 2
    assert "mask folder" in out
    assert not (tmp_path / "new").exists()


def _with(run, change):
    """The run with other masks in every certificate, hashed anew and drawn anew as a careful forger would."""
    ids = list(dict.fromkeys(pq.read_table(run.table).column("id").to_pylist()))
    for image_id in ids:
        record = run.read(image_id)
        results = {}
        for name, result in record.results.items():
            masks = change(result.masks.clone())
            sampling = result.sampling | {"masks": masks_identity(masks)}
            results[name] = attrs.evolve(result, masks=masks, sampling=sampling)
        run.write(image_id, results, record.image, record.clean_map, record.facts)
    run.write_table(ids)
    write_report(run, ids, max_panels=1)
    return run


def _everything(index):
    def change(masks):
        if index < len(masks):
            masks[index] = True
        return masks

    return change


def _nothing(masks):
    return masks & False


def test_a_forged_box_is_found_without_sampling(run, capsys):
    status, out = _status(capsys, "audit", str(_with(run, _everything(2)).path))
    assert status == 1
    assert "the mask of claim 'on the left' is not the one that was certified" in out


def test_an_empty_mask_is_found_without_sampling(run, capsys):
    status, out = _status(capsys, "audit", str(_with(run, _nothing).path))
    assert status == 1
    assert "is empty" in out or "not the one that was certified" in out


def test_a_forged_mask_of_an_image_is_found_with_fresh_noise(run, capsys):
    forged = _with(run, _everything(0))
    assert _status(capsys, "audit", str(forged.path))[0] == 0, "nothing in the run says what the file held"
    status, out = _status(capsys, "audit", str(forged.path), "--fresh")
    assert status == 1
    assert "masks" in out


def test_a_mask_without_its_hash_is_found(run, capsys):
    ids = list(dict.fromkeys(pq.read_table(run.table).column("id").to_pylist()))
    record = run.read(ids[0])
    masks = record.results["claims"].masks.clone()
    masks[0, 0] = True
    results = record.results | {"claims": attrs.evolve(record.results["claims"], masks=masks)}
    run.write(ids[0], results, record.image, record.clean_map, record.facts)
    status, out = _status(capsys, "audit", str(run.path))
    assert status == 1
    assert "sha256" in out


def test_the_lesion_config(tmp_path, monkeypatch):
    spec = {"in_channels": 3, "num_classes": 2, "image_size": 48}
    state = {f"net.{name}": value for name, value in SmallCNN(**spec).state_dict().items()}
    (tmp_path / "runs/lesion/checkpoints").mkdir(parents=True)
    network = {"class_path": "lit_certattr.models.SmallCNN", "init_args": spec}
    content = {"state_dict": state, "hyper_parameters": {"net": network}}
    torch.save(content, tmp_path / "runs/lesion/checkpoints/best.ckpt")
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    (tmp_path / "lesions/images").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "lesions/images/spot.png")
    (tmp_path / "lesions/masks").mkdir()
    entry = {"id": 1, "file_name": "spot.png", "height": 96, "width": 96}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [24, 24, 48, 48]}
    (tmp_path / "lesions/masks/instances.json").write_text(json.dumps({"images": [entry], "annotations": [box]}))
    monkeypatch.chdir(tmp_path)
    main(["run", f"--config={ROOT}/configs/certify/lesion.yaml", "--certifier.num_samples=40", "--max_panels=0"])
    rows = pq.read_table("runs/certify/lesion/results.parquet").to_pylist()
    assert [row["claim"] for row in rows] == ["half of the map lies on it", "the map points at it"]
    assert {row["claim_covered"] for row in rows} == {0.25}
