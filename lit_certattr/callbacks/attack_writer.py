"""Writes each image that was attacked as soon as it is done."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning import LightningModule, Trainer

from lit_certattr.callbacks.locked import Locked
from lit_certattr.data import Sample
from lit_certattr.modules.attack import AttackModule
from lit_certattr.records.attack_directory import AttackDirectory
from lit_certattr.reports.attack_page import write_attack_page


class AttackWriter(Locked):
    """Fills an :class:`~lit_certattr.records.attack_directory.AttackDirectory` from the predict loop.

    Opens the directory before the loop and tells the module which images are done already. Every process writes its own
    images; when all are done, the first one writes the table and the page.

    Args:
        directory: Where to write.
        settings: Everything that decides the results.
        ids: Ids of all images, in the order of the table.
        overwrite: Delete attacks of other settings that are there.
        max_panels: Images that get a panel on the page.
    """

    def __init__(
        self,
        directory: AttackDirectory,
        settings: Mapping[str, Any],
        ids: Sequence[str],
        *,
        overwrite: bool = False,
        max_panels: int = 16,
    ) -> None:
        super().__init__(directory)
        self.directory, self.settings, self.ids = directory, settings, list(ids)
        self.overwrite, self.max_panels = overwrite, max_panels

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Open the directory, and skip what it holds."""
        assert isinstance(pl_module, AttackModule)
        super().setup(trainer, pl_module, stage)
        if trainer.is_global_zero:
            self.directory.open(self.settings, overwrite=self.overwrite)
        trainer.strategy.barrier("attack directory")
        pl_module.skip_ids = self.directory.finished()

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
        for image_id, sandwich in outputs:
            self.directory.write(image_id, sandwich)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for all processes, then write table and page."""
        trainer.strategy.barrier("all images attacked")
        if trainer.is_global_zero:
            self.directory.write_table(self.ids)
            write_attack_page(self.directory, self.ids, max_panels=self.max_panels)
