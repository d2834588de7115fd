"""The share of noisy copies that are predicted as the explained class, in everything that a run leaves."""

import logging
import shutil

import attrs
import pyarrow.parquet as pq
import pytest
import torch

from lit_certattr.cli.certify import main
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.records.table import means
from lit_certattr.reports.html import write_report

pytestmark = pytest.mark.slow

CONFIG = """
data:
  class_path: lit_certattr.data.Digits
  init_args:
    max_images: 3
certifier:
  attribution: lit_certattr.attribution.Gradient
  noise:
    class_path: lit_certattr.smoothing.GaussianNoise
    init_args:
      sigma: 2.0
  certificates:
    - class_path: lit_certattr.certificates.PixelCertificate
      init_args:
        top_k: [0.5, 0.2]
    - class_path: lit_certattr.certificates.TopKOverlapCertificate
      init_args:
        top_k: 0.5
  num_samples: 200
  batch_size: 50
max_panels: 1
trainer:
  accelerator: cpu
  threads: 1
"""
COLUMNS = ("noisy_accuracy", "num_predictions", "num_extra_passes")
WARNING = "the noisy accuracy is below 50 % for 3 of 3 images"


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noisy")
    torch.manual_seed(0)
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    state = {f"net.{name}": value for name, value in SmallCNN(image_size=8).state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, folder / "digits.ckpt")
    (folder / "digits.yaml").write_text(CONFIG)
    return ["run", f"--config={folder / 'digits.yaml'}", f"--checkpoint={folder / 'digits.ckpt'}"], folder


@pytest.fixture(scope="module")
def honest(arguments):
    command, folder = arguments
    main([*command, f"--output={folder / 'run'}"])
    return folder / "run"


@pytest.fixture
def run(honest, tmp_path):
    return RunDirectory(shutil.copytree(honest, tmp_path / "run"))


def audit(run, capsys, *extra):
    capsys.readouterr()
    try:
        main(["audit", str(run.path), *extra])
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    return status, " ".join(capsys.readouterr().out.split())


def rewrite(run, changes, names=("pixel", "topk_overlap")):
    """Alter the flags of all images, and make digests and table fit."""
    ids = list(dict.fromkeys(pq.read_table(run.table).column("id").to_pylist()))
    for image_id in ids:
        record = run.read(image_id)
        results = record.results | {name: attrs.evolve(record.results[name], **changes) for name in names}
        run.write(image_id, results, record.image, record.clean_map, record.facts)
    run.write_table(ids)
    return ids


def test_the_command_says_it_once_for_all_images(arguments, tmp_path, capsys, caplog):
    command, _ = arguments
    with caplog.at_level(logging.INFO):
        main([*command, f"--output={tmp_path / 'run'}"])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("noisy accuracy: ")]
    assert len(said) == 1
    assert "(mean of 3 images)" in said[0]
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == ["lit_certattr.jobs.telling"]
    assert WARNING in warnings[0].getMessage()
    assert "use a smaller sigma" in warnings[0].getMessage()


def test_every_row_the_means_and_the_page_hold_it(run):
    table = pq.read_table(run.table)
    for row in table.to_pylist():
        result = run.read(row["id"]).results[row["certificate"]]
        assert row["noisy_accuracy"] == result.num_predicted / 200 < 0.5
        assert (row["num_predictions"], row["num_extra_passes"]) == (200, 0)
    by_image = {row["id"]: row["noisy_accuracy"] for row in table.to_pylist()}
    assert means(table)["certified/noisy_accuracy"] == pytest.approx(sum(by_image.values()) / 3)
    page = run.report.read_text()
    assert "3 images: Less than half of the noisy copies are predicted as the explained class" in page
    assert page.count('<th scope="col">noisy accuracy</th>') == 2
    first = run.read(next(iter(by_image))).results["pixel"]
    assert f"({first.num_predicted} of all 200 noisy copies)" in page


def test_an_honest_run_is_audited_and_drawn_again(run, capsys):
    assert audit(run, capsys)[0] == 0
    status, out = audit(run, capsys, "--fresh", "--replay=3")
    assert status == 0, out


def test_a_run_of_an_older_version_opens_and_is_audited(run, capsys):
    ids = rewrite(run, {"num_predicted": 0, "num_predictions": 0})
    pq.write_table(pq.read_table(run.table).drop_columns(list(COLUMNS)), run.table)
    write_report(run, ids, max_panels=1)
    assert "noisy accuracy" not in run.report.read_text()
    for extra in ((), ("--fresh", "--replay=3")):
        status, out = audit(run, capsys, *extra)
        assert status == 0, out
    assert run.read(ids[0]).results["pixel"].noisy_accuracy is None


def test_a_flag_that_only_some_certificates_hold_is_found(run, capsys):
    ids = rewrite(run, {"num_predicted": 190}, names=["pixel"])
    write_report(run, ids, max_panels=1)
    status, out = audit(run, capsys)
    assert status == 1
    assert "topk_overlap: predicted noisy copies" in out


def test_an_invented_flag_is_found_when_samples_are_drawn_again(run, capsys):
    ids = rewrite(run, {"num_predicted": 190})
    write_report(run, ids, max_panels=1)
    assert audit(run, capsys)[0] == 0, "consistent throughout: only the samples can tell"
    status, out = audit(run, capsys, "--fresh", "--replay=1")
    assert status == 1
    assert "num_predicted" in out


def test_a_table_that_lacks_what_the_certificates_hold_is_found(run, capsys):
    pq.write_table(pq.read_table(run.table).drop_columns(["noisy_accuracy"]), run.table)
    status, out = audit(run, capsys)
    assert status == 1
    assert "columns (noisy_accuracy)" in out
