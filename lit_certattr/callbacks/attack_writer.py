"""Writes each attacked image as soon as its attacks are finished."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning import Trainer
from typing_extensions import override

from lit_certattr.callbacks.job_writer import JobWriter
from lit_certattr.data import Sample
from lit_certattr.modules.attack import AttackModule
from lit_certattr.records.attack_directory import AttackDirectory
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.reports.attack_page import write_attack_page
from lit_certattr.robustness import ImageSandwich


class AttackWriter(JobWriter):
    """Fills an :class:`~lit_certattr.records.attack_directory.AttackDirectory`, and writes its table and its page.

    Args:
        run: The run whose certificates are attacked.
        settings: Everything that determines the results.
        ids: Ids of all images, in the order of the table.
        overwrite: Delete existing attacks.
        max_panels: Largest number of images with a panel on the page.
        directory: Directory of the results; ``attack/`` in the run by default.
    """

    module = AttackModule

    def __init__(
        self,
        run: RunDirectory,
        settings: Mapping[str, Any],
        ids: Sequence[str],
        *,
        overwrite: bool = False,
        max_panels: int = 16,
        directory: AttackDirectory | None = None,
    ) -> None:
        self.attacks = run.attacks if directory is None else directory
        super().__init__(self.attacks, ids, settings)
        self.run, self.overwrite, self.max_panels = run, overwrite, max_panels

    @override
    def open(self) -> None:
        self.attacks.open(self.settings, overwrite=self.overwrite)

    @override
    def write(
        self, trainer: Trainer, module: AttackModule, batch: Sample, outcomes: Sequence[tuple[str, ImageSandwich]]
    ) -> None:
        for image_id, sandwich in outcomes:
            self.attacks.write(image_id, sandwich)

    def finish(self) -> None:
        """Write table and page."""
        self.attacks.write_table(self.ids)
        write_attack_page(self.run, self.ids, max_panels=self.max_panels, directory=self.attacks)
