"""Writes each image that was attacked as soon as it is done."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning import Trainer

from lit_certattr.callbacks.job_writer import JobWriter
from lit_certattr.data import Sample
from lit_certattr.modules.attack import AttackModule
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.reports.attack_page import write_attack_page
from lit_certattr.robustness import ImageSandwich


class AttackWriter(JobWriter):
    """Fills an :class:`~lit_certattr.records.attack_directory.AttackDirectory`, and writes its table and its page.

    Args:
        run: The run whose certificates are attacked.
        settings: Everything that decides the results.
        ids: Ids of all images, in the order of the table.
        overwrite: Delete attacks of other settings that are there.
        max_panels: Images that get a panel on the page.
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
    ) -> None:
        super().__init__(run.attacks, ids)
        self.run, self.settings = run, settings
        self.overwrite, self.max_panels = overwrite, max_panels

    def open(self) -> None:
        """See :class:`JobWriter`."""
        self.run.attacks.open(self.settings, overwrite=self.overwrite)

    def write(
        self, trainer: Trainer, module: AttackModule, batch: Sample, outcomes: Sequence[tuple[str, ImageSandwich]]
    ) -> None:
        """See :class:`JobWriter`."""
        for image_id, sandwich in outcomes:
            self.run.attacks.write(image_id, sandwich)

    def finish(self) -> None:
        """Write table and page."""
        self.run.attacks.write_table(self.ids)
        write_attack_page(self.run, self.ids, max_panels=self.max_panels)
