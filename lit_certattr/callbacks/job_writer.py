"""Fills the directory of a job from the predict loop, image by image; a stopped job resumes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from lightning import Callback, LightningModule, Trainer

from lit_certattr.data import Sample
from lit_certattr.errors import InputError
from lit_certattr.modules.image import ImageModule
from lit_certattr.processes import Team, end_with
from lit_certattr.records.job_directory import JobDirectory

KEPT = "finished images are kept; run the same command again to resume"
"""What a process says last when another one has died."""


class JobWriter(Callback, ABC):
    """Writes the results of a module's predict loop as soon as they are computed.

    Before the loop, the writer takes the lock of the directory, opens it and tells the module which images are already
    finished. Every process writes its own images, or the first one all of them if all processes work on each image
    together; when all images are written, the first process finishes the directory. The lock is held until the loop
    ends, also if it ends with an error.

    A subclass defines how to open the directory (:meth:`open`), what to write for a batch (:meth:`write`), and what to
    write when all images are finished (:meth:`finish`).

    Args:
        directory: Output directory.
        ids: Ids of all images, in the order of the data set and of the tables.
        settings: Everything that determines the results.
    """

    module: ClassVar[type[ImageModule]]
    """Class of the module whose results are written."""
    team: Team
    """The processes of the loop, from :meth:`setup` on."""

    def __init__(self, directory: JobDirectory, ids: Sequence[str], settings: Mapping[str, Any]) -> None:
        self._directory, self.ids, self.settings = directory, list(ids), settings

    @abstractmethod
    def open(self) -> None:
        """Open the directory; called in the first process, which holds the lock.

        Raises:
            InputError: If the directory contains something else, or is not writable.
        """

    @abstractmethod
    def write(self, trainer: Trainer, module: Any, batch: Sample, outcomes: Sequence[Any]) -> None:
        """Write the results of a batch.

        Args:
            trainer: The Trainer.
            module: A module of the class :attr:`module`.
            batch: The images.
            outcomes: Results of the predict step for the images that were not finished before.
        """

    def finish(self) -> None:
        """Write tables and pages about all images; called in the first process when all images are written."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the lock, open the directory, skip the images that are finished, and set the recorded number of threads.

        Raises:
            InputError: If the module is of another class, if another process holds the lock, or if the directory cannot
                be used.
        """
        if not isinstance(pl_module, self.module):
            kind = self.module.__name__
            raise InputError(
                f"{type(self).__name__} works with {'an' if kind[0] in 'AEIOU' else 'a'} {kind}, not with "
                f"{type(pl_module).__name__}"
            )
        self.team = Team()
        pl_module.skip_ids = self.team.from_first(self._opened)
        self._check_seen()
        # Lightning gives several processes fewer threads each, after the settings were made.
        if (threads := self.team.from_first(lambda: self.settings.get("threads"))) is not None:
            torch.set_num_threads(int(threads))
        if trainer.is_global_zero and (started := getattr(trainer.strategy.launcher, "procs", [])):
            end_with(started, KEPT, self._directory.lock.release)

    def _opened(self) -> frozenset[str]:
        """Take the lock and open the directory, in the first process; the ids of the finished images."""
        self._directory.lock.take()
        self.open()
        return self._directory.finished()

    def _check_seen(self) -> None:
        """Refuse a directory that some process does not see: what it writes would be elsewhere."""
        blind = [rank for rank, seen in enumerate(self.team.gathered(self._directory.record.exists())) if not seen]
        if not blind:
            return
        if self.team.rank:
            raise SystemExit(2)  # the first process says why
        raise InputError(
            f"process {blind[0]} of {self.team.world} does not see {self._directory.record}: choose an --output on a "
            "file system that all machines share"
        )

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Sample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the images of this batch."""
        if outputs and (trainer.is_global_zero or not getattr(pl_module, "together", False)):
            self.write(trainer, pl_module, batch, outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for all processes, then finish the directory."""
        self.team.wait()
        if trainer.is_global_zero:
            self.finish()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the lock back."""
        if trainer.is_global_zero:
            self._directory.lock.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the lock back."""
        if trainer.is_global_zero:
            self._directory.lock.release()
