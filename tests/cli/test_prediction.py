"""The configuration of certified predictions, through everything that becomes of a run."""

import shutil
from pathlib import Path

import attrs
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from lit_certattr.certificates import joint_statement
from lit_certattr.cli.certify import main
from lit_certattr.data import Digits
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory
from lit_certattr.reports.html import write_report

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "configs" / "certify" / "prediction.yaml"


def trained():
    """A network that has seen noisy digits for a moment, so that it recognises some of the noisy copies."""
    torch.manual_seed(0)
    data = Digits()
    data.setup("fit")
    images = torch.stack([data.train_set[index].image for index in range(1000)])
    labels = torch.tensor([int(data.train_set[index].target) for index in range(1000)])
    network = SmallCNN(image_size=8)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for batch in torch.randperm(1000).split(100):
        noisy = images[batch] + 0.25 * torch.randn_like(images[batch])
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(noisy), labels[batch]).backward()
        optimizer.step()
    return network


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prediction")
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    state = {f"net.{name}": value for name, value in trained().state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, folder / "digits.ckpt")
    small = ["--certifier.num_samples=200", "--data.init_args.max_images=3", "--max_panels=3"]
    main(["run", f"--config={CONFIG}", f"--checkpoint={folder / 'digits.ckpt'}", f"--output={folder / 'run'}", *small])
    return RunDirectory(folder / "run")


@pytest.fixture
def run(finished, tmp_path):
    return RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))


def audit(run, capsys, *extra):
    capsys.readouterr()
    try:
        main(["audit", str(run.path), *extra])
        status = 0
    except SystemExit as stopped:
        status = stopped.code
    return status, " ".join(capsys.readouterr().out.split())


def test_each_image_has_a_row_a_sentence_and_one_sentence_about_everything(finished):
    rows = [row for row in pq.read_table(finished.table).to_pylist() if row["certificate"] == "prediction"]
    page = finished.report.read_text()
    assert len(rows) == 3
    joined = 0
    for row in rows:
        results = finished.read(row["id"]).results
        found = results["prediction"]
        assert (row["claim_lower"], row["claim_upper"], row["claim_radius"]) == (*found.interval(), found.radius)
        assert row["claim_verdict"] == found.verdict
        assert row["claim_lower"] <= row["noisy_accuracy"] <= row["claim_upper"]
        assert row["num_extra_passes"] == 0
        if said := joint_statement(results):
            joined += said in page
            assert "With probability at least 0.998" in said
    assert joined, "no image of the test has both"
    assert "Certified prediction (prediction)" in page
    assert "Prediction under noise" not in page, "titles are in the pictures"


def test_it_is_audited_with_fresh_noise(run, capsys):
    assert audit(run, capsys)[0] == 0
    status, out = audit(run, capsys, "--fresh", "--replay=2")
    assert status == 0, out


def test_votes_that_are_not_those_of_the_noisy_accuracy_are_found(run, capsys):
    ids = list(dict.fromkeys(pq.read_table(run.table).column("id").to_pylist()))
    record = run.read(ids[0])
    forged = attrs.evolve(record.results["prediction"], votes=torch.tensor([199, 1])).rederive()
    run.write(ids[0], record.results | {"prediction": forged}, record.image, record.clean_map, record.facts)
    run.write_table(ids)
    write_report(run, ids, max_panels=3)
    status, out = audit(run, capsys)
    assert status == 1
    assert "prediction: votes: stored 199 of 200" in out


def test_both_sides_are_attacked(run):
    small = ["--budgets=[0.1,0.5]", "--search.steps=3", "--num_samples=100", "--max_images=1"]
    main(["attack", str(run.path), *small])
    rows = pq.read_table(next((run.path / "attack").rglob("*.parquet"))).to_pylist()
    own = [row for row in rows if row["certificate"] == "prediction"]
    assert {row["quantity"] for row in own} == {"predicted as the class", "predicted as another class"}
    assert all(row["contradicted"] == 0 for row in rows)
    assert all(row["certified"] <= row["attacked_upper"] for row in rows)
    down = {row["budget"]: row["attacked"] for row in own if row["quantity"] == "predicted as the class"}
    assert down[0.5] <= down[0.0]


def test_alone_it_can_be_attacked_and_audited(finished, tmp_path, capsys):
    config = tmp_path / "alone.yaml"
    config.write_text("certifier:\n  certificates: [lit_certattr.certificates.PredictionCertificate]\n")
    folder = tmp_path / "run"
    checkpoint = finished.path.parent / "digits.ckpt"
    small = ["--certifier.num_samples=100", "--data.init_args.max_images=1"]
    main(
        ["run", f"--config={CONFIG}", f"--config={config}", f"--checkpoint={checkpoint}", f"--output={folder}", *small]
    )
    status, out = audit(RunDirectory(folder), capsys, "--fresh")
    assert status == 0, out
    main(["attack", str(folder), "--budgets=[0.3]", "--search.steps=2", "--num_samples=50"])
    rows = pq.read_table(next((folder / "attack").rglob("*.parquet"))).to_pylist()
    assert len(rows) == 4
