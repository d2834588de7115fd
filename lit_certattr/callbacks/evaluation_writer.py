"""Writes each batch that was evaluated as soon as it is done."""

from collections.abc import Mapping
from typing import Any

from lightning import LightningModule, Trainer

from lit_certattr.callbacks.locked import Locked
from lit_certattr.data import Sample
from lit_certattr.modules.evaluation import EvaluationModule
from lit_certattr.records.evaluation_directory import EvaluationDirectory


class EvaluationWriter(Locked):
    """Fills an :class:`~lit_certattr.records.evaluation_directory.EvaluationDirectory` from the predict loop.

    Opens the directory before the loop and tells the module which images are done already. Every process writes its own
    batches.

    Args:
        directory: Where to write.
        settings: Everything that decides the numbers.
        overwrite: Delete an evaluation of other settings that is there.
        config: Resolved configuration as YAML.
    """

    def __init__(
        self,
        directory: EvaluationDirectory,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        config: str | None = None,
    ) -> None:
        super().__init__(directory)
        self.directory, self.settings, self.overwrite, self.config = directory, settings, overwrite, config

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the directory, and skip what it holds."""
        assert isinstance(pl_module, EvaluationModule)
        super().setup(trainer, pl_module, stage)
        if trainer.is_global_zero:
            self.directory.open(self.settings, overwrite=self.overwrite, config=self.config)
        trainer.strategy.barrier("evaluation directory")
        pl_module.skip_ids = frozenset(self.directory.rows())

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Sample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the rows of this batch."""
        if outputs:
            self.directory.write_batch(outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for all processes, whose rows the tables need."""
        trainer.strategy.barrier("all images evaluated")
