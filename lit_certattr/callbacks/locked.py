"""Keeps the directory of a predict loop for one process, or for the processes of one Trainer."""

from lightning import Callback, LightningModule, Trainer

from lit_certattr.records.output_directory import OutputDirectory


class Locked(Callback):
    """Holds the lock of a directory from the setup of a predict loop to its end, however it ends.

    Args:
        directory: Where a subclass writes.
    """

    def __init__(self, directory: OutputDirectory) -> None:
        self._lock = directory.lock

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the lock, once for all processes of the Trainer.

        Raises:
            InputError: If a process of another command holds it.
        """
        if trainer.is_global_zero:
            self._lock.take()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the lock back."""
        if trainer.is_global_zero:
            self._lock.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the lock back."""
        if trainer.is_global_zero:
            self._lock.release()
