"""The recipe for a pretrained network trains on a small folder, and leaves its first layers as they were."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lit_certattr.cli.train import main
from lit_certattr.models import EfficientNetLite0

ROOT = Path(__file__).parents[2]


RECIPE = f"--config={ROOT}/configs/train/fine_tune_noise.yaml"
QUICK = (
    *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
    *("--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"),
    "--trainer.log_every_n_steps=1",
)


def draw(path: Path, index: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(index).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_two_steps_of_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    for index in range(8):
        draw(tmp_path / "images/train" / f"class_{index % 2}" / f"{index}.png", index)
    main(["fit", RECIPE, "--data.init_args.batch_size=2", *QUICK])
    saved = torch.load(tmp_path / "runs/fine_tune_noise/checkpoints/final.ckpt", weights_only=True)["state_dict"]
    before = EfficientNetLite0().state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, saved[f"net.{name}"])}
    frozen = tuple(f"network.{name}." for name in ("conv_stem", "bn1", "blocks.0", "blocks.1"))
    assert not [name for name in changed if name.startswith(frozen)]
    assert not [name for name in changed if "running" in name]
    assert "network.classifier.weight" in changed


def test_it_needs_no_labels_where_the_network_gives_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    for index in range(5):
        draw(tmp_path / "mine/train" / f"{index}.png", index)
    data = f"--config={ROOT}/configs/data/predicted_labels.yaml"
    within = "--data.init_args.data.init_args"
    main(["fit", RECIPE, data, f"{within}.root=mine", f"{within}.batch_size=2", *QUICK])
    metrics = (tmp_path / "runs/fine_tune_noise/metrics.csv").read_text()
    assert "val/accuracy" in metrics.splitlines()[0]
    saved = torch.load(tmp_path / "runs/fine_tune_noise/checkpoints/last.ckpt", weights_only=True)
    assert not torch.equal(
        saved["state_dict"]["net.network.classifier.weight"], EfficientNetLite0().network.classifier.weight
    )
