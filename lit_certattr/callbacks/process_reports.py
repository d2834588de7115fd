"""Lets each of several processes tell how far it is, while it works."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from lit_certattr.callbacks.result_writer import ResultWriter
from lit_certattr.records.lock import this_process
from lit_certattr.records.working import ProcessFile


class ProcessReports(Callback):
    """Keeps a file of each process in the directory of a run, for ``certify.py status``; one process alone needs none.

    Args:
        writer: What writes the run; it comes before this callback.
    """

    def __init__(self, writer: ResultWriter) -> None:
        self._writer = writer
        self._file: ProcessFile | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin the file."""
        team = self._writer.team
        if team.world > 1:
            self._file = ProcessFile(self._writer.directory.path, team.rank, team.from_first(this_process))
            self._file.count(0)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the images of this batch."""
        if self._file is not None and outputs:
            self._file.count(len(outputs))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Delete the file: this process has nothing more to do."""
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Delete the file."""
        self._end()

    def _end(self) -> None:
        if self._file is not None:
            self._file.remove()
