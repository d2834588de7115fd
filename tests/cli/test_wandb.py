"""Trainings and runs of certification side by side in Weights & Biases, read back from its offline files."""

import os
import signal
from pathlib import Path

import pytest
import wandb
import yaml
from wandb_files import runs

from lit_certattr import jobs
from lit_certattr.cli.certify import main as certify
from lit_certattr.cli.train import main as train
from lit_certattr.modules import RobustClassifier
from lit_certattr.records import RunDirectory
from lit_certattr.reports.compare_tables import machine_rows

ROOT = Path(__file__).parents[2]
SHARE = "certified/one_share_k25_r0_10"
CERTIFIER = {
    "attribution": {"class_path": "lit_certattr.attribution.Gradient"},
    "noise": {"class_path": "lit_certattr.smoothing.GaussianNoise", "init_args": {"sigma": 0.25}},
    "certificates": [
        {"class_path": "lit_certattr.certificates.PixelCertificate", "init_args": {"top_k": [0.5, 0.25], "alpha": 0.05}}
    ],
    "num_samples": 100,
    "batch_size": 100,
}
LIMITS = ["--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "WANDB_DATA_DIR", str(tmp_path / "staged")
    )  # copies of files of artifacts, until they are synced
    callback = {
        "class_path": "lit_certattr.callbacks.CertificationCallback",
        "init_args": {"num_images": 2, "num_panels": 1, "certifier": {"class_path": "lit_certattr.Certifier"}},
    }
    callback["init_args"]["certifier"]["init_args"] = CERTIFIER
    Path("certified.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [callback]}}))
    job = {"data": {"class_path": "lit_certattr.data.Digits"}, "certifier": CERTIFIER, "radii": [0.05, 0.1, 0.25]}
    Path("job.yaml").write_text(yaml.safe_dump(job))
    return tmp_path


def fit(*arguments, name="digits"):
    layers = [ROOT / f"configs/train/{name}.yaml", "certified.yaml", ROOT / "configs/logger/wandb_offline.yaml"]
    try:
        train(["fit", *(f"--config={layer}" for layer in layers), *LIMITS, *arguments])
    finally:
        wandb.finish()  # as the end of the process does


def run(name):
    logger = ["--logger=WandbLogger", "--logger.offline=true", "--logger.save_dir=runs"]
    checkpoint = f"--checkpoint=runs/{name}/checkpoints/best.ckpt"
    certify(["run", "--config=job.yaml", "--max_images=3", checkpoint, f"--output=runs/certify/{name}", *logger])


@pytest.mark.slow
def test_columns_names_pictures_and_lineage(here):
    fit("--trainer.max_epochs=2")
    mine = ["--seed_everything=1", "--trainer.logger.init_args.tags=[mine]"]
    fit("--trainer.max_epochs=1", *mine, name="digits_noise")
    run("digits")
    first, second, certified = runs(here)

    names = [one.record.display_name for one in (first, second, certified)]
    assert names == [
        "digits-cross_entropy-seed0",
        "digits-noise_augmentation-s0.25-seed1",
        "digits-gradient-s0.25-n100-seed0",
    ]
    assert [one.record.job_type for one in (first, second, certified)] == ["train", "train", "certify"]
    assert [one.record.run_group for one in (first, certified)] == [
        "digits-cross_entropy",
        "digits-gradient-s0.25-n100",
    ]
    assert list(first.record.tags) == ["digits", "small_cnn", "cross_entropy"]
    assert list(second.record.tags) == ["mine"]
    assert {one.record.project for one in (first, second, certified)} == {"lit-certattr"}

    for one in (first, second, certified):
        assert {SHARE, "certified/null_k25_r0_10", "certified/mean_radius_k25", "certified/noisy_accuracy"} < set(
            one.last()
        )
        settings = one.config["certification"]
        assert (settings["sigma"], settings["num_samples"]) == (0.25, 100)
        assert (settings["certificates"]["pixel"]["alpha"], settings["certificates"]["pixel"]["top_k"]) == (
            0.05,
            [0.5, 0.25],
        )
        summaries = {metric.name: metric.summary for metric in one.metrics if metric.name}
        assert summaries[SHARE].max
        assert summaries[SHARE].last
        assert "certified/null_k25_r0_10" not in summaries, "a baseline has no best value"
    summaries = {metric.name: metric.summary for metric in first.metrics if metric.name}
    assert summaries["val/loss"].min
    assert summaries["val/accuracy"].max

    (compared,) = machine_rows(jobs.compare(["runs/certify/digits"]))
    numbers = {key for key in compared if key.startswith("certified/") and not key.endswith(("_low", "_high"))}
    assert numbers < set(certified.last())
    assert certified.last()[SHARE] == pytest.approx(compared[SHARE], abs=1e-6)

    rows = certified.table("certified/images")
    assert len(rows) == 3
    assert {"image", "map", "certified/labels_k25_r0_05", SHARE} < set(rows[0])
    contents = [item.path for one in certified.artifacts for item in one.manifest.contents]
    assert sum(path.startswith("media/images/") for path in contents) == 9, "three pictures of each image"

    made = {tuple(one.aliases): one for one in first.artifacts if one.type == "model"}
    best = next(one for aliases, one in made.items() if "best" in aliases)
    assert any("last" in aliases for aliases in made)
    (used,) = [one for one in certified.artifacts if one.use_after_commit]
    assert (used.name, used.digest) == (best.name, best.digest) == (f"checkpoint-{first.record.run_id}", used.digest)
    (results,) = [one for one in certified.artifacts if one.type == "certification"]
    stored = {item.path for item in results.manifest.contents}
    assert stored == {"results.parquet", "config.yaml", "provenance.json", "report.html"}
    (config,) = [one for one in first.artifacts if one.type == "config"]
    assert [item.path for item in config.manifest.contents] == ["config.yaml"]
    assert "digits-cross_entropy" not in Path("runs/digits/config.yaml").read_text(), "names are not settings"

    run("digits")  # nothing is left to certify, and the run of W&B is the same
    again = runs(here)[-1]
    assert (
        again.record.run_id == certified.record.run_id == RunDirectory("runs/certify/digits").provenance()["wandb_run"]
    )
    assert again.last()[SHARE] == certified.last()[SHARE]


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_in_its_run(here, monkeypatch):
    steps = RobustClassifier.training_step

    def stopped(self, batch, batch_idx):
        if self.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return steps(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(RobustClassifier, "training_step", stopped)
        with pytest.raises(SystemExit) as stop:
            fit("--trainer.max_epochs=2")
    assert stop.value.code == 128 + signal.SIGTERM
    fit("--trainer.max_epochs=2", "--ckpt_path=runs/digits/checkpoints/last.ckpt")

    before, after = runs(here)
    assert before.record.run_id == after.record.run_id
    assert before.record.display_name == after.record.display_name
    epochs = [[row["epoch"] for row in one.history if SHARE in row] for one in (before, after)]
    assert epochs == [[0], [1]]
    assert not [one for one in before.artifacts if one.type == "model"], "it was not finished"
    assert {one.name for one in after.artifacts if one.type == "model"} == {f"checkpoint-{before.record.run_id}"}
