"""The checkpoint of the last completed epoch, from which training can be resumed."""

import os
import warnings
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Saves ``last.ckpt`` at the end of every epoch, after the validation, independent of any metric.

    Lightning's ``ModelCheckpoint(save_last=True)`` saves its last checkpoint only together with one of the best, so it
    contains the best epoch if the metric gets worse. The file is replaced atomically: a run that is killed while it
    saves keeps the previous checkpoint. Place this callback after the callbacks that save the best epochs, so that the
    checkpoint contains their state.

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
        """Determine the folder; without Lightning's warning about older checkpoints, which a resumed run always has."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            super().setup(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """No state: the file is always the last checkpoint."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Write beside the file, then rename: Lightning itself may copy into it from another disk."""
        if not isinstance(self._fs, LocalFileSystem):
            super()._save_checkpoint(trainer, filepath)
            return
        part = f"{filepath}.part"
        super()._save_checkpoint(trainer, part)
        if trainer.is_global_zero:
            Path(part).replace(filepath)
        trainer.strategy.barrier()
        self._last_checkpoint_saved = filepath
