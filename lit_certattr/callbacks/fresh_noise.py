"""Tests the certificates of a run with fresh noise, image by image."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from lit_certattr.audit.finding import Finding
from lit_certattr.audit.fresh import contradictions
from lit_certattr.data import Sample
from lit_certattr.modules import CertificationModule
from lit_certattr.records.run_directory import RunDirectory


class FreshNoise(Callback):
    """Compares the certificates from the predict loop of a :class:`CertificationModule` with those stored in a run.

    Args:
        directory: The run.
        level: Error probability of the test of each claim, see :func:`lit_certattr.audit.fresh.contradictions`.
        seed: Seed of the fresh noise; all processes use the seed of the first process.

    Attributes:
        findings: The contradicted claims; after the loop those of all processes.
    """

    def __init__(self, directory: RunDirectory, level: float, seed: int) -> None:
        self.directory, self.level, self.seed = directory, level, seed
        self.findings: list[Finding] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Use the same seed in all processes."""
        assert isinstance(pl_module, CertificationModule)
        self.seed = int(trainer.strategy.broadcast(self.seed))
        pl_module.certifier.seed = self.seed

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Sample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compare the images of this batch."""
        for image_id, fresh in outputs:
            stored = self.directory.read(image_id).results
            for name, result in fresh.items():
                self.findings += contradictions(image_id, name, stored[name], result, self.level)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the findings of all processes."""
        if trainer.world_size > 1:
            everywhere: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(everywhere, [tuple(finding) for finding in self.findings])
            self.findings = [Finding(*values) for part in everywhere for values in part]
