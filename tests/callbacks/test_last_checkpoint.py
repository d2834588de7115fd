"""The last checkpoint survives a run that dies while it saves."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_certattr.callbacks import LastCheckpoint
from lit_certattr.data import Digits
from lit_certattr.models import SmallCNN
from lit_certattr.modules import RobustClassifier
from lit_certattr.objectives import CrossEntropy


def fit(folder: Path, epochs: int, **settings) -> LastCheckpoint:
    last = LastCheckpoint(folder)
    quiet = dict.fromkeys(("logger", "enable_model_summary", "enable_progress_bar"), False)
    best = ModelCheckpoint(folder, filename="best", monitor="val/loss", mode="max", enable_version_counter=False)
    limits = {"limit_train_batches": 2, "limit_val_batches": 1, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=epochs, callbacks=[best, last], default_root_dir=folder, **quiet, **limits, **settings)
    trainer.fit(RobustClassifier(SmallCNN(image_size=8, width=2), CrossEntropy()), datamodule=Digits())
    return last


def test_it_is_the_last_epoch_and_says_where(tmp_path):
    last = fit(tmp_path / "run", 3)
    assert Path(last.saved) == tmp_path / "run/last.ckpt"
    assert torch.load(last.saved, weights_only=True)["epoch"] == 2
    assert torch.load(tmp_path / "run/best.ckpt", weights_only=True)["epoch"] == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_it_is_saved_in_epochs_without_validation(tmp_path):
    last = fit(tmp_path / "run", 3, check_val_every_n_epoch=2)
    assert torch.load(last.saved, weights_only=True)["epoch"] == 2


def test_a_run_that_dies_while_it_saves_keeps_the_one_before(tmp_path, monkeypatch):
    save = Trainer.save_checkpoint

    def die(self, path, *args, **kwargs):
        if self.current_epoch == 1 and "last" in Path(path).name:
            Path(path).write_bytes(b"half a checkpoint")
            raise OSError("No space left on device")
        save(self, path, *args, **kwargs)

    monkeypatch.setattr(Trainer, "save_checkpoint", die)
    with pytest.raises(OSError, match="No space"):
        fit(tmp_path / "run", 3)
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["epoch"] == 0
