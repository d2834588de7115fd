"""The checkpoint of the last completed epoch, from which training can be resumed."""

import os
import warnings
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_certattr.callbacks.whole_checkpoint_io import WholeCheckpointIO


class LastCheckpoint(ModelCheckpoint):
    """Saves ``last.ckpt`` at the end of every epoch, after the validation, independent of any metric.

    Lightning's ``ModelCheckpoint(save_last=True)`` saves its last checkpoint only together with one of the best, so it
    contains the best epoch if the metric gets worse. Every checkpoint of the Trainer, the best ones too, is replaced
    atomically, so a run that is killed while it saves keeps the previous one: the Trainer gets a
    :class:`~lit_certattr.callbacks.whole_checkpoint_io.WholeCheckpointIO` in place of Lightning's usual plugin. Place
    this callback after the callbacks that save the best epochs, so that the checkpoint contains their state.

    Args:
        dirpath: Folder of ``last.ckpt``; ``None`` takes ``checkpoints`` in the folder of the first logger.

    Example:
        >>> trainer = Trainer(callbacks=[ModelCheckpoint(monitor="val/accuracy", mode="max"), LastCheckpoint()])
        >>> [type(callback).__name__ for callback in trainer.checkpoint_callbacks]
        ['ModelCheckpoint', 'LastCheckpoint']
    """

    def __init__(self, dirpath: str | Path | None = None) -> None:
        super().__init__(dirpath, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)

    @property
    def saved(self) -> str | None:
        """Path of the file that this run wrote; ``None`` before the end of its first epoch."""
        return self.best_model_path or None

    def place(self, dirpath: str | Path) -> None:
        """Set the folder, before the run.

        Args:
            dirpath: Folder of ``last.ckpt``; ``~`` is the home directory.
        """
        self.dirpath = os.path.realpath(Path(dirpath).expanduser())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Determine the folder, without Lightning's warning about older checkpoints, which a resumed run always has.

        The folder loses what a killed training has left there: a checkpoint that it had not written to the end.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeCheckpointIO()
        if trainer.is_global_zero and stage == "fit" and self.dirpath is not None:
            for leftover in Path(self.dirpath).glob(".*.ckpt.partial"):
                leftover.unlink()

    def state_dict(self) -> dict[str, Any]:
        """No state: the file is always the last checkpoint."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore."""
