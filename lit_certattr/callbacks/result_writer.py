"""Writes the images of a certification run as soon as their batch is certified: one image, or a few tiny ones."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from lit_certattr.attribution import frozen
from lit_certattr.callbacks.job_writer import JobWriter
from lit_certattr.certificates import Result
from lit_certattr.data import NO_LABEL, Sample
from lit_certattr.data.unchanged import UnchangedSamples
from lit_certattr.models import without_denoiser
from lit_certattr.modules import CertificationModule
from lit_certattr.records.groups import Groups
from lit_certattr.records.run_directory import RunDirectory, image_rows
from lit_certattr.records.table import RADII
from lit_certattr.reports.html import write_report


class ResultWriter(JobWriter):
    """Fills a :class:`~lit_certattr.records.RunDirectory` from the predict loop of a :class:`CertificationModule`.

    A batch is written when it ends, also if an error or a signal interrupts it. When all images are certified, the
    first process writes the table and the report.

    Args:
        directory: Output directory.
        settings: Everything that determines the results, see :func:`lit_certattr.records.provenance.run_settings`.
        ids: Ids of all images, in the order of the data set and of the table.
        class_names: Names of the classes, for the report; empty if unknown.
        overwrite: Delete an existing run.
        config: Resolved configuration as YAML.
        provenance: Result of :func:`lit_certattr.records.provenance.provenance`.
        radii: Radii of the table's columns, in pixel l2 units.
        max_panels: Largest number of images with a panel in the report.
        extension: Images that are added to a finished run, see
            :meth:`RunDirectory.open <lit_certattr.records.RunDirectory.open>`.
        samples: The images. The first process reads all of them before it certifies the first; the others then accept
            no image that differs from what it has read.
    """

    module = CertificationModule

    def __init__(
        self,
        directory: RunDirectory,
        settings: Mapping[str, Any],
        ids: Sequence[str],
        *,
        class_names: Sequence[str] = (),
        overwrite: bool = False,
        config: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        radii: Sequence[float] = RADII,
        max_panels: int = 16,
        extension: Mapping[str, Any] | None = None,
        samples: UnchangedSamples | None = None,
    ) -> None:
        super().__init__(directory, ids, settings)
        self.samples = samples
        self.extension = extension
        self.directory = directory
        self.class_names = list(class_names)
        self.overwrite, self.config, self.provenance = overwrite, config, provenance
        self.radii, self.max_panels = tuple(radii), max_panels
        self._session: dict[str, Any] = {}
        self._number, self._start, self._drawn = 0, 0.0, 0
        self._groups: Groups | None = None  # of the first process

    @override
    def open(self) -> None:
        self.directory.open(
            self.settings,
            overwrite=self.overwrite,
            config=self.config,
            provenance=self.provenance,
            extension=self.extension,
        )
        self._groups = self.directory.groups(self.ids, self.radii)
        self._groups.start(self.directory.finished())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the lock, open the directory, and tell every process what the first one has read.

        Raises:
            InputError: If the module is of another class, if another process holds the lock, or if the directory cannot
                be used.
        """
        super().setup(trainer, pl_module, stage)
        if self.samples is not None and self.team.world > 1:
            self.samples.expect(self.team.from_first(self.samples.digests))

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a session to the provenance."""
        assert isinstance(pl_module, CertificationModule)
        self._start, self._drawn = time.perf_counter(), 0
        remaining = [image_id for image_id in self.ids if image_id not in pl_module.skip_ids]
        self._session = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "images": len(remaining),
            "total": len(self.ids),
            "processes": trainer.world_size,
            **({"split": "samples"} if pl_module.together else {}),
        }
        if trainer.is_global_zero and remaining:
            self._number = self.directory.log_session(self._session)

    @override
    def write(
        self,
        trainer: Trainer,
        module: CertificationModule,
        batch: Sample,
        outcomes: Sequence[tuple[str, dict[str, Result]]],
    ) -> None:
        # One step for all images of the batch, then the next one: code runs faster after itself than after a network.
        places = {str(image_id): index for index, image_id in enumerate(batch.id)}
        found = [self._about(trainer, module, batch, places[image_id], results) for image_id, results in outcomes]
        for (image_id, results), (facts, clean_map) in zip(outcomes, found, strict=True):
            self.directory.write(image_id, results, batch.image[places[image_id]].float(), clean_map.float(), facts)
        if self._groups is not None:
            for (image_id, results), (facts, _) in zip(outcomes, found, strict=True):
                self._groups.add(image_id, image_rows(image_id, results, facts, self.radii))

    def _about(
        self, trainer: Trainer, module: CertificationModule, batch: Sample, index: int, results: dict[str, Result]
    ) -> tuple[dict[str, Any], Tensor]:
        """Facts about an image that is certified, and its map without noise."""
        result = next(iter(results.values()))
        self._drawn += result.num_samples + result.sampling.get("class_samples", 0)
        target = int(result.sampling["target"])
        prediction, clean_map = clean_answers(trainer, module, batch.image[index], target, str(batch.id[index]))
        facts: dict[str, Any] = {"label": int(torch.as_tensor(batch.target)[index]), "prediction": prediction}
        facts |= {"target": target}
        for kind in ("label", "prediction", "target"):
            number = facts[kind]
            if number != NO_LABEL and number < len(self.class_names) and self.class_names[number]:
                facts[f"{kind}_name"] = self.class_names[number]
        return facts, clean_map

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the images of an interrupted batch that are certified, and give the lock back."""
        try:
            if isinstance(pl_module, CertificationModule) and pl_module.interrupted is not None:
                batch, outcomes = pl_module.interrupted
                self.on_predict_batch_end(trainer, pl_module, outcomes, batch, batch_idx=0)
        finally:
            super().on_exception(trainer, pl_module, exception)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the samples of all processes, then finish the directory."""
        self._drawn = sum(self.team.gathered(self._drawn))
        super().on_predict_end(trainer, pl_module)

    def finish(self) -> None:
        """Write the session, the table and the report."""
        if self._session["images"]:
            seconds = time.perf_counter() - self._start
            self._session |= {
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(seconds, 1),
                "samples": self._drawn,
                "samples_per_second": round(self._drawn / seconds, 2),
            }
            self.directory.log_session(self._session, self._number)
        assert self._groups is not None
        self._groups.pack()
        self._groups.write_table(self.directory.table)
        write_report(self.directory, self.ids, max_panels=self.max_panels)
        self._groups.clear()


def clean_answers(
    trainer: Trainer, module: CertificationModule, image: Tensor, target: int, image_id: str
) -> tuple[int, Tensor]:
    """Prediction and attribution map of an image without noise.

    Args:
        trainer: The Trainer, whose precision is used.
        module: Module with the network and the method.
        image: Image ``[C, H, W]`` on the device of the network.
        target: The explained class.
        image_id: Id of the image.

    Returns:
        The predicted class, and the attribution map ``[H, W]``.
    """
    # As in the certifier: outside inference mode, whatever the Trainer does.
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        frozen(module.network),
        trainer.precision_plugin.predict_step_context(),
    ):
        image = image.clone() if image.is_inference() else image
        network = module.certifier.network(module.network, image[None])
        prediction = int(without_denoiser(network)(image[None])[0].argmax())
        explained = torch.tensor([target], device=image.device)
        method = module.certifier.attribution.placed(image, image_id)
        return prediction, method(network, image[None], explained)[0].detach()
