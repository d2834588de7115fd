"""The directory that ``certify.py evaluate`` writes, and from which an interrupted evaluation resumes."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from typing_extensions import override

from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import kind_of, read_json
from lit_certattr.files.whole_file import write_whole
from lit_certattr.records.ids import check_ids
from lit_certattr.records.job_directory import JobDirectory

_WANDB = "wandb_run"
_MAX_BATCH = 2**28
"""Bytes of the rows of a batch; one image takes some kilobytes."""


class Mean(NamedTuple):
    """A mean over images.

    Attributes:
        search: ``"attack"``, ``"random"``, or empty for accuracies and what the maps of the clean images are worth.
        number: Name of the number.
        mean: Mean over the images for which the number is defined; NaN if there is none.
        standard_error: Standard error of the mean; NaN for fewer than two images.
        num_images: Number of images for which the number is defined.
    """

    search: str
    number: str
    mean: float
    standard_error: float
    num_images: int


def means(
    rows: Sequence[Mapping[str, Any]], searches: Sequence[str], numbers: Sequence[str], of_maps: Sequence[str] = ()
) -> list[Mean]:
    """The means that papers report: accuracies over all images, agreement over the images for which it is defined.

    Args:
        rows: One row per image, see :class:`~lit_certattr.robustness.protocol.RobustnessProtocol`.
        searches: Names of the searches.
        numbers: Names of the numbers of a search, in the order of the result; a number that is defined for no image is
            left out.
        of_maps: Names of the numbers of the maps of the clean images, likewise.

    Example:
        >>> means([{"correct": True}, {"correct": False}], [], [])
        [Mean(search='', number='natural_accuracy', mean=0.5, standard_error=0.5, num_images=2)]
    """
    found = [_mean("", "natural_accuracy", [row["correct"] for row in rows])]
    if any(row.get("adversarial_correct") is not None for row in rows):
        found.append(_mean("", "adversarial_accuracy", [row["adversarial_correct"] for row in rows]))
    columns = [("", name, name) for name in of_maps]
    columns += [(search, number, f"{search}_{number}") for search in searches for number in numbers]
    for search, number, column in columns:
        if values := [row[column] for row in rows if row.get(column) is not None]:
            found.append(_mean(search, number, values))
    return found


def _mean(search: str, number: str, values: Sequence[float]) -> Mean:
    count = len(values)
    mean = math.fsum(values) / count if count else math.nan
    spread = math.fsum((value - mean) ** 2 for value in values)
    error = math.sqrt(spread / (count - 1) / count) if count > 1 else math.nan
    return Mean(search, number, mean, error, count)


class EvaluationDirectory(JobDirectory):
    """Layout, atomic writing and resuming of an evaluation.

    ``settings.json``, ``config.yaml``, ``batches/<first id>.json`` (the journal), and at the end ``images.parquet``
    (one row per image), ``summary.csv`` (one row per mean), ``summary.md`` (a table for readers) and
    ``agreement.png``; ``wandb.json`` if Weights & Biases shows the evaluation. Every file is written completely or not
    at all, and contains no time.

    Args:
        path: The directory; created by :meth:`open`, not before.

    Raises:
        InputError: If the path is empty or contains control characters.
    """

    kind = "evaluation"

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.batches = self.path / "batches"
        self.settings_file, self.config = self.path / "settings.json", self.path / "config.yaml"
        self.images, self.summary = self.path / "images.parquet", self.path / "summary.csv"
        self.text, self.figure = self.path / "summary.md", self.path / "agreement.png"
        self.record, self.folders = self.settings_file, (self.batches,)
        self.wandb = self.path / "wandb.json"
        self.files = (self.config, self.images, self.summary, self.text, self.figure, self.wandb)

    @override
    def stored_settings(self) -> Any:
        try:
            return read_json(self.settings_file)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.settings_file} is damaged ({error}); use --overwrite to delete it and start again"
            ) from None

    @override
    def finished(self) -> frozenset[str]:
        return frozenset(self.rows())

    @override
    def own_files(self) -> list[Path]:
        return [path for path in self.batches.glob("[!.]*.json") if _is_batch(path)]

    def open(self, settings: Mapping[str, Any], *, overwrite: bool = False, config: str | None = None) -> None:
        """Create the directory, or continue the evaluation with the same settings that it contains.

        Args:
            settings: Everything that determines the numbers, as plain nested values.
            overwrite: Delete an existing evaluation.
            config: Resolved configuration as YAML.

        Raises:
            InputError: See :meth:`check`; also if the directory cannot be written.
        """
        self.check(settings, overwrite)
        self._start((json.dumps(settings, indent=2) + "\n").encode(), overwrite)
        if config is not None:
            write_whole(self.config, config.encode())

    def log_wandb(self, run_id: str) -> None:
        """Record which run of Weights & Biases shows this evaluation.

        Args:
            run_id: Id of the run of W&B.
        """
        write_whole(self.wandb, (json.dumps({_WANDB: run_id}) + "\n").encode())

    def wandb_run(self) -> Any:
        """What is recorded as that id; ``None`` if there is none or the file is damaged. The file is untrusted."""
        try:
            content = read_json(self.wandb)
        except (OSError, ValueError):
            return None
        return content.get(_WANDB) if isinstance(content, Mapping) else None

    def write_batch(self, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Store the rows of a batch. Several processes may write different batches at the same time.

        Args:
            rows: Id and row of each image of the batch, at least one.

        Raises:
            InputError: If the first id cannot be a file name.
        """
        first = rows[0][0]
        check_ids([first])
        content = [{"id": image_id, **row} for image_id, row in rows]
        write_whole(self.batches / f"{first}.json", json.dumps(content).encode())

    def rows(self) -> dict[str, dict[str, Any]]:
        """The stored rows that are not damaged, by id."""
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.batches.glob("[!.]*.json")):
            try:
                found |= {str(row["id"]): dict(row) for row in read_json(path, _MAX_BATCH)}
            except (OSError, ValueError, KeyError, TypeError):
                continue  # evaluated again
        return found

    def finish(
        self,
        ids: Sequence[str],
        searches: Sequence[str],
        words: Mapping[str, str],
        numbers: Sequence[str],
        of_maps: Sequence[str] = (),
    ) -> list[Mean]:
        """Write the tables.

        Args:
            ids: Ids of all images, in the order of the table.
            searches: Names of the searches.
            words: Description of each number that ``summary.md`` shows, by name.
            numbers: All numbers of a search, in the order of the tables.
            of_maps: All numbers of the maps of the clean images.

        Returns:
            The means over the images.
        """
        stored = self.rows()
        rows = [stored[image_id] for image_id in ids]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=_schema(rows)), sink)
        write_whole(self.images, sink.getvalue().to_pybytes())
        found = means(rows, searches, numbers, of_maps)
        text = io.BytesIO()
        pyarrow.csv.write_csv(pa.Table.from_pylist([mean._asdict() for mean in found]), text)
        write_whole(self.summary, text.getvalue())
        write_whole(self.text, summary_markdown(found, searches, words).encode())
        return found


def _is_batch(path: Path) -> bool:
    """Whether a file is a batch of rows, whole or cut short: it begins with the id that is its name."""
    if kind_of(path.lstat().st_mode) is not None:
        return False
    begins = f'[{{"id": {json.dumps(path.stem)},'.encode()
    with path.open("rb") as file:
        return file.read(len(begins)) == begins


def _schema(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """Columns in the order in which they first occur: text, booleans and whole numbers as such, the rest real."""
    kinds: dict[str, pa.DataType] = {}
    for row in rows:
        for name, value in row.items():
            exact = {str: pa.string(), bool: pa.bool_(), int: pa.int64()}.get(type(value), pa.float64())
            if value is not None or name not in kinds:
                kinds[name] = exact
    return pa.schema(list(kinds.items()))


def table_rows(
    found: Sequence[Mean], searches: Sequence[str], words: Mapping[str, str]
) -> list[tuple[str, list[str], str]]:
    """Rows of the table for readers: description, one cell per search (mean and standard error), and chance level.

    Args:
        found: The means.
        searches: Names of the searches.
        words: Description of each number to show, by name.
    """
    known = {(mean.search, mean.number): mean for mean in found}
    lines = []
    for number, what in (("natural_accuracy", "natural accuracy"), ("adversarial_accuracy", "adversarial accuracy")):
        if mean := known.get(("", number)):
            lines.append((what, [_cell(mean)] + [""] * (len(searches) - 1), ""))
    for number, what in words.items():
        plain = known.get(("", number))
        cells = [known.get((search, number)) for search in searches]
        cells = cells if plain is None else [plain] + [None] * (len(searches) - 1)
        if not any(cells):
            continue
        chance = known.get((searches[0] if plain is None else "", f"{number}_chance"))
        lines.append(
            (
                what,
                ["" if mean is None else _cell(mean) for mean in cells],
                "" if chance is None else f"{chance.mean:.3f}",
            )
        )
    return lines


def _cell(mean: Mean) -> str:
    error = "" if math.isnan(mean.standard_error) else f" ± {mean.standard_error:.3f}"
    return f"{mean.mean:.3f}{error}"


def summary_markdown(found: Sequence[Mean], searches: Sequence[str], words: Mapping[str, str]) -> str:
    """The table in Markdown.

    Args:
        found: The means.
        searches: Names of the searches.
        words: Description of each number to show, by name.
    """
    head = ["", *searches, "chance"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join([what, *cells, chance])} |" for what, cells, chance in table_rows(found, searches, words)]
    return "\n".join(lines) + "\n"
