"""The recipe for a pretrained network trains on a small folder, and leaves its first layers as they were."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lit_certattr.cli.train import main
from lit_certattr.models import EfficientNetLite0

ROOT = Path(__file__).parents[2]


def test_two_steps_of_the_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    for index in range(8):
        folder = tmp_path / "images/train" / f"class_{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (224, 224, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    quick = ["accelerator=cpu", "enable_progress_bar=false", "enable_model_summary=false", "max_epochs=1"]
    limits = ["limit_train_batches=2", "limit_val_batches=1", "log_every_n_steps=1"]
    config = f"--config={ROOT}/configs/train/fine_tune_noise.yaml"
    main(["fit", config, "--data.init_args.batch_size=2", *(f"--trainer.{one}" for one in (*quick, *limits))])
    saved = torch.load(tmp_path / "runs/fine_tune_noise/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    before = EfficientNetLite0().state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, saved[f"net.{name}"])}
    frozen = tuple(f"network.{name}." for name in ("conv_stem", "bn1", "blocks.0", "blocks.1"))
    assert not [name for name in changed if name.startswith(frozen)]
    assert {name for name in before if name.endswith("running_mean") and not name.startswith(frozen)} <= changed
    assert "network.classifier.weight" in changed
