"""Draws the recorded samples of a few images again, and compares the results."""

import copy
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from typing_extensions import override

from lit_certattr.audit.finding import Finding, show
from lit_certattr.audit.replay import map_faults, replay_faults, same_machine
from lit_certattr.callbacks.result_writer import clean_answers
from lit_certattr.certification import Certifier, Look, StoppingRule
from lit_certattr.data import Sample
from lit_certattr.modules import CertificationModule
from lit_certattr.modules.certification import given_targets
from lit_certattr.records.run_directory import RunDirectory


class Replay(Callback):
    """Certifies images again with the noise of the run, of which every bit is a function of seed, image and sample.

    This finds invented or multiplied votes, a wrong number of ties and a wrong clean map, which no other check can
    find. The images are selected at random, so a forger cannot predict them.

    Args:
        directory: The run.
        certifier: The certifier of the run.
        ids: Ids of the images of the run.
        count: Number of images to certify again.
        seed: Seed of the selection; all processes use the seed of the first process.
        class_names: Names of the classes; empty if unknown.

    Attributes:
        chosen: Ids of the selected images.
        exact: Whether every bit is compared, see :func:`~lit_certattr.audit.replay.same_machine`.
        findings: Differences from the run; after the loop those of all processes.
    """

    def __init__(
        self,
        directory: RunDirectory,
        certifier: Certifier,
        ids: Sequence[str],
        count: int,
        seed: int,
        class_names: Sequence[str] = (),
    ) -> None:
        self.directory, self.certifier = directory, copy.copy(certifier)
        self.ids, self.count, self.seed, self.class_names = list(ids), count, seed, list(class_names)
        self.chosen: list[str] = []
        self.exact = False
        self.findings: list[Finding] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Select the same images in all processes, and decide whether results must agree bit by bit."""
        seed = int(trainer.strategy.broadcast(self.seed))
        self.chosen = random.Random(seed).sample(self.ids, min(self.count, len(self.ids)))  # noqa: S311
        record: Mapping[str, Any] = self.directory.provenance()
        settings = record["settings"]
        self.exact = same_machine(record, settings, trainer.strategy.root_device.type)
        if isinstance(threads := settings.get("threads"), int) and threads != torch.get_num_threads():
            self.exact = False

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Sample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Certify the selected images of this batch again."""
        assert isinstance(pl_module, CertificationModule)
        for index, image_id in enumerate(batch.id):
            if str(image_id) in self.chosen:
                self._again(trainer, pl_module, batch, index, str(image_id))

    def _again(self, trainer: Trainer, module: CertificationModule, batch: Sample, index: int, image_id: str) -> None:
        record = self.directory.read(image_id)
        drawn = next(iter(record.results.values())).num_samples
        self.certifier.stopping = (_At(drawn),) if self.certifier.stopping else ()
        image, target = batch.image[index], int(record.facts["target"])
        given = given_targets(module.targets, torch.tensor([target]))
        with trainer.precision_plugin.predict_step_context():
            (again,) = self.certifier(module.network, image[None], given, [image_id])
        for key, result in again.items():
            for fault in replay_faults(record.results[key], result, self.exact):
                self.findings.append(fault._replace(place=f"{image_id}, {key}, drawn again"))
        prediction, clean_map = clean_answers(trainer, module, image, target, image_id)
        place = f"{image_id}, without noise"
        if prediction != record.facts.get("prediction"):
            self.findings.append(Finding(place, "prediction", show(record.facts.get("prediction")), str(prediction)))
        for fault in map_faults(record.clean_map, clean_map.float().cpu(), self.exact):
            self.findings.append(fault._replace(place=place))
        for kind in ("label", "prediction", "target"):
            number, name = record.facts.get(kind, -1), record.facts.get(f"{kind}_name")
            known = self.class_names[number] or None if 0 <= number < len(self.class_names) else None
            if name != known:
                self.findings.append(Finding(image_id, f"name of class {number}", show(name), show(known)))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the findings of all processes."""
        if trainer.world_size > 1:
            everywhere: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(everywhere, [tuple(finding) for finding in self.findings])
            self.findings = [Finding(*values) for part in everywhere for values in part]


class _At(StoppingRule):
    """Stops where the run stopped, whatever its rule was: any rule is valid, and a time limit is not reproducible."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    @override
    def stop(self, looks: Sequence[Look]) -> bool:
        return looks[-1].num_samples >= self.num_samples
