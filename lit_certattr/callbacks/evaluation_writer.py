"""Writes each evaluated batch as soon as it is finished."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning import Trainer
from typing_extensions import override

from lit_certattr.callbacks.job_writer import JobWriter
from lit_certattr.data import Sample
from lit_certattr.files.whole_file import write_whole
from lit_certattr.modules.evaluation import EvaluationModule
from lit_certattr.records.evaluation_directory import EvaluationDirectory, Mean
from lit_certattr.reports.agreement_figure import agreement_figure
from lit_certattr.robustness.protocol import RobustnessProtocol, column_names
from lit_certattr.statistics.rounding import exact


class EvaluationWriter(JobWriter):
    """Fills an :class:`~lit_certattr.records.evaluation_directory.EvaluationDirectory`, and writes its tables.

    Args:
        directory: Output directory.
        settings: Everything that determines the numbers.
        ids: Ids of all images, in the order of the table.
        protocol: Searches and measures of agreement.
        overwrite: Delete an existing evaluation.
        config: Resolved configuration as YAML.

    Attributes:
        means: Means over the images, available in the first process after the loop.
    """

    module = EvaluationModule

    def __init__(
        self,
        directory: EvaluationDirectory,
        settings: Mapping[str, Any],
        ids: Sequence[str],
        protocol: RobustnessProtocol,
        *,
        overwrite: bool = False,
        config: str | None = None,
    ) -> None:
        super().__init__(directory, ids, settings)
        self.directory, self.protocol = directory, protocol
        self.overwrite, self.config = overwrite, config
        self.means: list[Mean] = []

    @override
    def open(self) -> None:
        self.directory.open(self.settings, overwrite=self.overwrite, config=self.config)

    @override
    def write(
        self,
        trainer: Trainer,
        module: EvaluationModule,
        batch: Sample,
        outcomes: Sequence[tuple[str, Mapping[str, Any]]],
    ) -> None:
        self.directory.write_batch(outcomes)

    def finish(self) -> None:
        """Write the tables and the picture."""
        searches, words = list(self.protocol.searches), column_names(self.protocol)
        numbers = [f"{name}{suffix}" for name in words for suffix in ("", "_chance", "_adjusted")]
        windows = self.protocol.windows
        numbers += [f"diverse_picks_{side}_w{window}" for window in windows for side in ("clean", "perturbed")]
        of_maps = [column for quality in self.protocol.qualities for column in quality.columns]
        self.means = self.directory.finish(self.ids, searches, words, numbers, of_maps)
        if any(mean.search for mean in self.means):
            title = (
                f"{len(self.ids)} images, {self.protocol.search.norm} budget {exact(self.protocol.search.eps)}, "
                f"k = {exact(self.protocol.top_k)}"
            )
            write_whole(self.directory.figure, agreement_figure(self.means, searches, words, title))
