"""``certify.py run``, ``attack`` and ``audit`` with maps of regions, and forged regions that are found."""

import shutil
from pathlib import Path

import attrs
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from lit_certattr.cli.certify import main
from lit_certattr.data import Digits
from lit_certattr.models import SmallCNN
from lit_certattr.partitions import identity
from lit_certattr.records import RunDirectory
from lit_certattr.reports.html import write_report

ROOT = Path(__file__).parents[2]


def _config(regions):
    return {
        "data": {"class_path": "lit_certattr.data.Digits", "init_args": {"max_images": 2}},
        "certifier": {
            "attribution": {
                "class_path": "lit_certattr.attribution.RegionMap",
                "init_args": {"base": "lit_certattr.attribution.Gradient", "regions": regions, "pooling": "sum"},
            },
            "noise": {"class_path": "lit_certattr.smoothing.GaussianNoise", "init_args": {"sigma": 0.3}},
            "certificates": [
                {"class_path": "lit_certattr.certificates.PixelCertificate", "init_args": {"top_k": [0.5]}},
                {"class_path": "lit_certattr.certificates.TopKOverlapCertificate", "init_args": {"top_k": 0.5}},
            ],
            "num_samples": 200,
            "batch_size": 50,
        },
        "network": {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}},
        "max_panels": 1,
        "trainer": {"accelerator": "cpu", "threads": 1},
    }


def _run(folder, regions):
    torch.manual_seed(0)
    torch.save(SmallCNN(image_size=8).state_dict(), folder / "digits.pt")
    (folder / "run.yaml").write_text(yaml.safe_dump(_config(regions)))
    main(
        [
            "run",
            f"--config={folder}/run.yaml",
            f"--checkpoint={folder}/digits.pt",
            f"--output={folder}/run",
        ]
    )
    return RunDirectory(folder / "run")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, never touched."""
    superpixels = {"class_path": "lit_certattr.regions.Superpixels", "init_args": {"count": 8}}
    return _run(tmp_path_factory.mktemp("regions"), superpixels)


@pytest.fixture
def run(finished, tmp_path):
    return RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))


def _audit(run, capsys, *extra):
    capsys.readouterr()
    try:
        main(["audit", str(run.path), *extra])
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    output = capsys.readouterr()
    return status, " ".join((output.out + output.err).split())


def test_an_honest_run_passes_also_with_fresh_noise(run, capsys):
    status, out = _audit(run, capsys, "--fresh", "--replay=2")
    assert status == 0, out
    assert "compared bit by bit" in out
    rows = pq.read_table(run.table).to_pylist()
    assert all(row["num_pixels"] < 20 for row in rows)  # not the 64 pixels of a digit
    page = run.report.read_text()
    assert "Each value of a map belongs to a region of the image" in page


def test_the_attack_judges_the_same_regions(run, capsys):
    main(["attack", str(run.path), "--search.steps=2", "--draws=2", "--judge_draws=8", "--budgets=[0.05]"])
    rows = pq.read_table(run.attacks.table).to_pylist()
    assert rows
    assert all(row["certified"] <= row["attacked_upper"] for row in rows)


def _with(run, change, page=False):
    """The run with other regions in every certificate, hashed anew as a careful forger would."""
    ids = list(dict.fromkeys(pq.read_table(run.table).column("id").to_pylist()))
    for image_id in ids:
        record = run.read(image_id)
        results = {}
        for name, result in record.results.items():
            partition = change(result.partition)
            sampling = {key: value for key, value in result.sampling.items() if key != "regions"}
            sampling |= {} if partition is None else {"regions": identity(partition)}
            results[name] = attrs.evolve(result, partition=partition, sampling=sampling)
        run.write(image_id, results, record.image, record.clean_map, record.facts)
    if page:
        write_report(run, ids, max_panels=1)
    return run


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda labels: labels[:4], "the regions of the image have shape (4, 8)"),
        (lambda labels: labels * 0, "values of the regions"),
        (lambda labels: labels * 2, "region 1 of the image is empty"),
        (lambda labels: None, "regions: stored none"),
    ],
)
def test_regions_that_do_not_fit_are_found(run, capsys, change, expected):
    status, out = _audit(_with(run, change), capsys)
    assert status == 1, out
    assert expected in out


def test_regions_of_another_hash_are_found(run, capsys):
    image_id = pq.read_table(run.table).column("id").to_pylist()[0]
    record = run.read(image_id)
    results = {name: attrs.evolve(one, partition=one.partition.flip(0)) for name, one in record.results.items()}
    run.write(image_id, results, record.image, record.clean_map, record.facts)
    status, out = _audit(run, capsys)
    assert status == 1
    assert f"{image_id}, pixel: regions: stored" in out


def test_regions_of_one_certificate_alone_are_found(run, capsys):
    image_id = pq.read_table(run.table).column("id").to_pylist()[0]
    record = run.read(image_id)
    results = dict(record.results)
    turned = results["pixel"].partition.flip(0)
    sampling = results["pixel"].sampling | {"regions": identity(turned)}
    results["pixel"] = attrs.evolve(results["pixel"], partition=turned, sampling=sampling)
    run.write(image_id, results, record.image, record.clean_map, record.facts)
    status, out = _audit(run, capsys)
    assert status == 1
    assert f"{image_id}, topk_overlap: regions: stored" in out


def test_regions_that_were_invented_throughout_are_found_when_samples_are_drawn(run, capsys):
    forged = _with(run, lambda labels: labels.flip(0), page=True)
    status, out = _audit(forged, capsys)
    assert status == 0, out  # all files fit each other
    status, out = _audit(forged, capsys, "--fresh", "--replay=2")
    assert status == 1, out
    assert ", pixel: regions: stored" in out
    assert ", pixel, drawn again: partition" in out


def test_masks_of_a_folder(tmp_path, capsys):
    data = Digits(max_images=2)
    data.setup("test")
    (tmp_path / "masks").mkdir()
    for number, image_id in enumerate(data.predict_set.ids[:2]):
        mask = np.zeros((16, 16), np.uint8)
        mask[4:12, 4 : 10 + 2 * number], mask[12:], mask[:2, :2] = 1, 2, 3
        np.save(tmp_path / "masks" / f"{image_id}.npy", mask)
    folder = {
        "class_path": "lit_certattr.regions.MaskFolder",
        "init_args": {"path": str(tmp_path / "masks"), "background": True},
    }
    run = _run(tmp_path, folder)
    assert {row["num_pixels"] for row in pq.read_table(run.table).to_pylist()} == {4}
    status, out = _audit(run, capsys)
    assert status == 0, out


def test_a_mask_that_is_missing_for_the_last_image_stops_the_run_before_the_first(tmp_path, capsys):
    data = Digits(max_images=2)
    data.setup("test")
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks" / f"{data.predict_set.ids[0]}.npy", np.arange(64).reshape(8, 8))
    folder = {"class_path": "lit_certattr.regions.MaskFolder", "init_args": {"path": str(tmp_path / "masks")}}
    with pytest.raises(SystemExit) as stopped:
        _run(tmp_path, folder)
    assert stopped.value.code == 2
    assert f"{data.predict_set.ids[1]} has no mask" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_regions_config(tmp_path, capsys):
    config = ROOT / "configs" / "certify" / "regions.yaml"
    small = ["--certifier.num_samples=60", "--ids=[chelsea]", "--max_panels=1", "--trainer.accelerator=cpu"]
    main(["run", f"--config={config}", f"--output={tmp_path / 'run'}", *small])
    rows = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    assert all(40 <= row["num_pixels"] <= 120 for row in rows)
    status, out = _audit(RunDirectory(tmp_path / "run"), capsys)
    assert status == 0, out
