"""The checkpoint of the last whole epoch, from which training can go on."""

import os
import warnings
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Saves ``last.ckpt`` at the end of every epoch, after its validation, whatever any metric says.

    Lightning's ``ModelCheckpoint(save_last=True)`` saves its last checkpoint only beside one of the best, so it holds
    the best epoch when the metric gets worse. The file is replaced at once: a run that is killed while it saves keeps
    the checkpoint before. Place it after the callbacks that save the best epochs, so that it holds what they know.

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
        """Path of the file that this run has written; ``None`` before the end of its first epoch."""
        return self.best_model_path or None

    def place(self, dirpath: str | Path) -> None:
        """Set the folder, before the run."""
        self.dirpath = os.path.realpath(Path(dirpath).expanduser())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the folder. That it holds older checkpoints is no news to whoever resumes."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            super().setup(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the file is always the last one."""
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
