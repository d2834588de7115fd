"""Checkpoints selected by what is certified; checkpoints certified by what they say of themselves."""

import csv
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.cli import certify, train
from lit_certattr.data import Digits
from lit_certattr.smoothing import GaussianNoise

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
QUICK = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
LAYERS = ["train/digits", "objective/noise_consistency", "trainer/certified"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    return tmp_path


def fit(*args: str) -> None:
    layers = [f"--config={ROOT}/configs/{name}.yaml" for name in LAYERS]
    train.main(["fit", *layers, *QUICK, "--trainer.log_every_n_steps=1", *args])


def validations(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row.get("val/accuracy")]
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


def certified_layer(here: Path, **changes: float) -> str:
    """The layer with fewer images and samples, and other numbers."""
    text = (ROOT / "configs/trainer/certified.yaml").read_text()
    for name, value in {"num_images": 3, "num_samples": 150, **changes}.items():
        before, _, after = text.partition(f"{name}: ")
        assert after, name
        text = f"{before}{name}: {value}{after[after.index(chr(10)) :]}"
    (here / "certified.yaml").write_text(text)
    return f"--config={here / 'certified.yaml'}"


def test_best_checkpoint_is_that_of_the_largest_share_among_the_accurate(here):
    fit(certified_layer(here, at_least=0.5), "--trainer.max_epochs=8", "--trainer.limit_train_batches=5")
    run = here / "runs/digits"
    rows = validations(run)
    share, accuracy = "certified/one_share_k25_r0_10", "val/accuracy"
    assert min(row[accuracy] for row in rows) < 0.5 <= max(row[accuracy] for row in rows)
    selected = [row[share] if row[accuracy] >= 0.5 else 0.0 for row in rows]
    assert [row["certified/selected"] for row in rows] == pytest.approx(selected)
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    (watching,) = [state for name, state in state["callbacks"].items() if name.startswith("ModelCheckpoint")]
    assert watching["monitor"] == "certified/selected"
    assert watching["best_model_score"].item() == pytest.approx(max(selected))
    assert state["epoch"] == selected.index(max(selected))


def test_a_claim_is_selected_among_networks_whose_maps_differ(here):
    text = (ROOT / "configs/trainer/certified_claim.yaml").read_text()
    assert "num_images: 16" in text
    text = text.replace("num_images: 16", "num_images: 2").replace("num_samples: 300", "num_samples: 60")
    text = text.replace("at_least: 0.9\n", "at_least: 0.4\n").replace("at_most: 0.9", "at_most: 0.8")
    (here / "claim.yaml").write_text(text)
    objective = f"--config={ROOT}/configs/objective/claim_hinge.yaml"
    layers = [f"--config={ROOT}/configs/train/digits.yaml", objective, f"--config={here / 'claim.yaml'}"]
    short = ["--trainer.max_epochs=4", "--trainer.limit_train_batches=8", "--trainer.log_every_n_steps=8"]
    train.main(["fit", *layers, *QUICK, *short])
    rows = validations(here / "runs/digits")
    passed = [row["val/accuracy"] >= 0.4 and row["val/same_class_overlap"] <= 0.8 for row in rows]
    assert any(passed)
    assert not all(row["val/same_class_overlap"] <= 0.8 for row in rows)
    selected = [row["certified/claim_middle_r0_10"] * good for row, good in zip(rows, passed, strict=True)]
    assert [row["certified/selected"] for row in rows] == pytest.approx(selected)
    state = torch.load(here / "runs/digits/checkpoints/best.ckpt", weights_only=True)
    assert state["epoch"] == selected.index(max(selected))


@pytest.mark.filterwarnings("default:no epoch has passed the gate")
def test_training_stops_when_the_share_no_longer_grows_and_says_if_nothing_was_selected(here, capsys):
    layer = certified_layer(here, at_least=2.0, patience=2)  # never passed: the metric stays at zero
    fit(layer, "--trainer.max_epochs=9", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
    assert [row["certified/selected"] for row in validations(here / "runs/digits")] == [0.0] * 3
    assert re.search(
        r"warning: no epoch has passed the gate val/accuracy >= 2: the largest was 0\.\d+", capsys.readouterr().err
    )
    assert torch.load(here / "runs/digits/checkpoints/last.ckpt", weights_only=True)["epoch"] == 2


def test_gate_names_a_metric_that_nobody_logs(here, capsys):
    layer = certified_layer(here, metric="certified/fraction_k99")
    with pytest.raises(SystemExit) as stop:
        fit(layer, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
    assert stop.value.code == 2
    assert (
        "MetricGate looks for the metric 'certified/fraction_k99', which nothing has logged" in capsys.readouterr().err
    )


@pytest.mark.parametrize("objective", ["noise_consistency_vote", "attribution_objective", "igr", "free_adversarial"])
def test_checkpoint_is_certified_from_the_command_line_alone(objective, here):
    layers = [f"--config={ROOT}/configs/{name}.yaml" for name in ("train/digits", f"objective/{objective}")]
    steps = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
    train.main(["fit", *layers, *QUICK, *steps, "--trainer.log_every_n_steps=1"])
    checkpoint = here / "runs/digits/checkpoints/last.ckpt"
    torch.load(checkpoint, weights_only=True)
    certify.main(
        [
            "run",
            f"--config={ROOT}/configs/certify/mnist5k.yaml",
            f"--checkpoint={checkpoint}",
            "--data=Digits",
            "--data.init_args.max_images=1",
            "--certifier.num_samples=200",
            "--trainer.accelerator=cpu",
            "--output=runs/certified",
        ]
    )
    assert len(pq.read_table(here / "runs/certified/results.parquet")) == 4 + 1  # levels of two certificates


class TestIsValidation(Digits):
    """Certifies the images by which the checkpoint was chosen, and some others."""

    __test__ = False

    def setup(self, stage):
        super().setup(stage)
        self.test_set = self.val_set.subset(range(6))


def test_a_checkpoint_is_not_certified_by_the_noise_that_has_chosen_it_in_silence(here):
    fit(certified_layer(here, at_least=0.1), "--trainer.max_epochs=2", "--trainer.limit_train_batches=5")
    checkpoint = str(here / "runs/digits/checkpoints/best.ckpt")

    def run(seed, data, output):
        certificates = [PixelCertificate([0.25], alpha=0.01)]
        certifier = Certifier(Gradient(), GaussianNoise(0.25), certificates, num_samples=100, seed=seed)
        options = jobs.TrainerOptions(accelerator="cpu")
        jobs.run(certifier, data, checkpoint=checkpoint, output=str(here / output), max_panels=0, trainer=options)

    with pytest.warns(UserWarning, match=r"chosen by certified/selected, certified with seed 0 on 3 of these") as said:
        run(0, TestIsValidation(), "same")
    (text,) = [str(one.message) for one in said if "may have been chosen" in str(one.message)]
    assert re.search(
        r"best of [12] networks hold at [12] times alpha only. Give another seed, e.g. --certifier.seed=1", text
    )
    assert "\n" not in text
    run(1, TestIsValidation(), "another seed")  # a warning would be an error here
    run(0, Digits(max_images=2), "other images")
