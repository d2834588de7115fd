"""What Weights & Biases receives from a real offline fit, read back from the files of the run."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import wandb
from lightning import Callback, Trainer
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from wandb.proto import wandb_internal_pb2

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
BLOCK = 2**15


def records(path: Path) -> Iterator[wandb_internal_pb2.Record]:
    """Records of a ``.wandb`` file, a LevelDB log: blocks of 32 KiB with chunks of (crc, length, kind, bytes)."""
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last chunk
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def read(folder: Path) -> SimpleNamespace:
    """Config, history, defined metrics and the folder of media files of the one run below ``folder``."""
    wandb.teardown()  # the service writes on its own: the file is whole when it has ended
    (path,) = folder.rglob("*.wandb")
    run = SimpleNamespace(config={}, history=[], metrics=[], files=path.parent / "files")
    for record in records(path):
        match record.WhichOneof("record_type"):
            case "run":
                updates = record.run.config.update
                run.config |= {item.key: json.loads(item.value_json) for item in updates}
            case "config":
                run.config |= {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.config.update
                }
            case "metric":
                run.metrics.append(record.metric)
            case "history":
                run.history.append(
                    {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                )
    return run


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
    found = read(tmp_path)
    found.seen, found.images = seen, images
    return found


@pytest.mark.slow
def test_offline_run_holds_config_scalars_pictures_and_the_table(run):
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
    assert [row[METRIC] for row in scalars] == pytest.approx(run.seen)
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
    assert np.mean(shares) == pytest.approx(run.seen[-1], abs=1e-6)
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
    run = read(tmp_path)
    assert sum("certified/results/path" in row for row in run.history) == 1
    assert sum("certified/panels/filenames" in row for row in run.history) == 1
    assert run.config["certification"]["targets"] == "predicted"
