"""The last checkpoint survives a run that dies while it saves."""

import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_certattr.callbacks import LastCheckpoint
from lit_certattr.data import Digits
from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import whole_file
from lit_certattr.models import SmallCNN
from lit_certattr.modules import RobustClassifier
from lit_certattr.objectives import CrossEntropy


def fit(folder: Path, epochs: int, mode: str = "max", **settings) -> LastCheckpoint:
    last = LastCheckpoint(folder)
    quiet = dict.fromkeys(("logger", "enable_model_summary", "enable_progress_bar"), False)
    best = ModelCheckpoint(folder, filename="best", monitor="val/loss", mode=mode, enable_version_counter=False)
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


def test_a_checkpoint_is_not_written_through_the_folder_of_temporary_files(tmp_path, monkeypatch):
    """It may be too small, or on another disk; and a killed process would leave a file there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert Path(fit(tmp_path / "run", 1).saved).exists()


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_run_that_dies_while_it_saves_keeps_the_one_before(tmp_path, monkeypatch, name):
    names = []

    @contextmanager
    def full(path):
        names.append(path.name)
        with whole_file(path) as file:
            yield file
            if names.count(f"{name}.ckpt") == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lit_certattr.callbacks.whole_checkpoint_io.whole_file", full)
    with pytest.raises(InputError, match=rf"{name}\.ckpt cannot be written: No space left"):
        fit(tmp_path / "run", 20, mode="min")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert torch.load(tmp_path / f"run/{name}.ckpt", weights_only=True)["epoch"] == 0


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_what_a_killed_training_has_half_written_is_deleted(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.best-3.ckpt.partial").write_bytes(b"half a checkpoint")
    fit(tmp_path / "run", 1)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_plugin_of_the_user_stays(tmp_path):
    class Own(TorchCheckpointIO):
        saved = 0

        def save_checkpoint(self, *args, **kwargs):
            self.saved += 1
            super().save_checkpoint(*args, **kwargs)

    own = Own()
    fit(tmp_path / "run", 1, plugins=[own])
    assert own.saved == 2
