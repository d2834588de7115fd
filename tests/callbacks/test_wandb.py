"""What Weights & Biases receives from a real offline fit, read back from the files of the run."""

import json

import numpy as np
import pytest
import torch
import wandb
from lightning import Callback, Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from wandb_files import only_run

from lit_certattr.attribution import Gradient
from lit_certattr.callbacks import CertificationCallback
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.certification import Certifier
from lit_certattr.data import SampleSet, collate
from lit_certattr.modules import RobustClassifier
from lit_certattr.objectives import CrossEntropy
from lit_certattr.smoothing import GaussianNoise

pytestmark = pytest.mark.figures  # the pictures have the size that users get

METRIC = "certified/one_share_k25_r0_10"


@pytest.fixture
def run(tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 1, 6, 6, generator=generator)
    data = DataLoader(SampleSet(images, [0, 1, 2, 0], list("abcd")), batch_size=2, collate_fn=collate)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.Linear(144, 3))
    certificates = [PixelCertificate(top_k=[0.5, 0.25], alpha=0.05), TopKOverlapCertificate(top_k=0.25, alpha=0.05)]
    certifier = Certifier(Gradient(), GaussianNoise(0.25), certificates, num_samples=100)
    seen = []

    class Record(Callback):
        def on_validation_end(self, trainer, pl_module):
            seen.append(float(trainer.callback_metrics[METRIC]))

    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=WandbLogger(project="test", save_dir=tmp_path, offline=True),
        callbacks=[CertificationCallback(certifier, num_images=3, num_panels=2), Record()],
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    try:
        trainer.fit(RobustClassifier(net, CrossEntropy()), data, data)
    finally:
        wandb.finish()
    return only_run(tmp_path), seen


@pytest.mark.slow
def test_offline_run_holds_config_scalars_pictures_and_the_table(run):
    run, seen = run
    settings = run.config["certification"]
    assert settings["num_samples"] == 100
    assert settings["noise"] == "GaussianNoise(sigma=0.25)"
    assert settings["certificates"]["pixel"] == {
        "type": "PixelCertificate",
        "alpha": 0.05,
        "top_k": [0.5, 0.25],
        "tau": 0.5,
    }

    scalars = [row for row in run.history if METRIC in row]
    assert [row[METRIC] for row in scalars] == pytest.approx(seen)
    assert [row["epoch"] for row in scalars] == [0, 1]
    steps = [row["trainer/global_step"] for row in scalars]
    assert steps[0] < steps[1]
    defined = {metric.glob_name: metric.step_metric for metric in run.metrics}
    assert defined["certified/*"] == "trainer/global_step"

    panels = [row for row in run.history if "certified/panels/filenames" in row]
    assert len(panels) == 2
    for row, step in zip(panels, steps, strict=True):
        assert row["certified/panels/captions"] == ["a", "b"]
        assert abs(row["trainer/global_step"] - step) <= 1  # Lightning counts the step of an epoch's end its own way
        for name in row["certified/panels/filenames"]:
            pixels = np.asarray(Image.open(run.files / name))
            assert min(pixels.shape[:2]) > 100
            assert pixels.std() > 10  # something is drawn

    assert "holds at E times alpha" in settings["selection"]
    spent = [row["certified/alpha_after_selection"] for row in run.history if "certified/alpha_after_selection" in row]
    assert spent == pytest.approx([0.1, 0.2])  # two certificates of .05, one network more in each epoch

    (row,) = [row for row in run.history if "certified/results/path" in row]  # once, at the end
    table = json.loads((run.files / row["certified/results/path"]).read_text())
    assert len(table["data"]) == 3 * (2 + 1)  # three images; two levels and one overlap
    rows = [dict(zip(table["columns"], values, strict=True)) for values in table["data"]]
    assert {entry["id"] for entry in rows} == set("abc")
    assert {entry["epoch"] for entry in rows} == {1}
    assert {entry["alpha_after_selection"] for entry in rows} == {0.2}
    shares = [entry["one_share_r0_1"] for entry in rows if entry["kind"] == "pixel" and entry["top_k"] == 0.25]
    assert np.mean(shares) == pytest.approx(seen[-1], abs=1e-6)
    assert [entry["label"] for entry in rows if entry["kind"] == "topk_overlap"] == [0, 1, 2]


def test_validate_logs_the_table_too(tmp_path):
    data = DataLoader(SampleSet(torch.rand(2, 1, 6, 6), [0, 1], list("ab")), batch_size=2, collate_fn=collate)
    certifier = Certifier(Gradient(), GaussianNoise(0.25), [PixelCertificate(top_k=[0.5], alpha=0.05)], num_samples=60)
    trainer = Trainer(
        accelerator="cpu",
        logger=WandbLogger(project="test", save_dir=tmp_path, offline=True),
        callbacks=[CertificationCallback(certifier, num_images=2)],
        enable_progress_bar=False,
    )
    try:
        trainer.validate(
            RobustClassifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), CrossEntropy()), data, verbose=False
        )
    finally:
        wandb.finish()
    run = only_run(tmp_path)
    assert sum("certified/results/path" in row for row in run.history) == 1
    assert sum("certified/panels/filenames" in row for row in run.history) == 1
    assert run.config["certification"]["targets"] == "predicted"
