"""Tests the certificates of a run against fresh noise, image by image."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from lit_certattr.audit.finding import Finding
from lit_certattr.audit.fresh import contradictions
from lit_certattr.data import Sample
from lit_certattr.modules import CertificationModule
from lit_certattr.records.run_directory import RunDirectory


class FreshNoise(Callback):
    """Compares what the predict loop of a :class:`CertificationModule` finds with what a run has stored.

    Args:
        directory: The run.
        level: Probability of error for each claim, see :func:`lit_certattr.audit.fresh.contradictions`.
        seed: Seed of the fresh noise; all processes take that of the first one.

    Attributes:
        findings: The claims that fall, over all processes once the loop has ended.
    """

    def __init__(self, directory: RunDirectory, level: float, seed: int) -> None:
        self.directory, self.level, self.seed = directory, level, seed
        self.findings: list[Finding] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Agree on the seed."""
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
