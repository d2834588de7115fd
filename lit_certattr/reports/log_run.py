"""Logs a finished run to a Lightning logger."""

from collections.abc import Sequence

import pyarrow.parquet as pq
import yaml
from lightning.pytorch.loggers import Logger, WandbLogger
from PIL import Image

from lit_certattr.certification import Certifier
from lit_certattr.comparison.measures import COMPARED_RADII
from lit_certattr.comparison.reading import RunNumbers, open_run, read_run
from lit_certattr.metrics.naming import directions_of, named_metrics
from lit_certattr.records.run_directory import Record, RunDirectory
from lit_certattr.records.table import means
from lit_certattr.records.table_rows import RowGroups, rows_where
from lit_certattr.reports.certification_settings import certification_settings
from lit_certattr.reports.chosen import Excerpt, is_large
from lit_certattr.reports.image_table import image_table
from lit_certattr.reports.wandb_run import Direction, define_best, log_certification, use_checkpoint

MAX_PICTURES = 16
"""Largest number of images whose pictures are logged per run; more would only fill the disk."""


def log_run(
    logger: Logger,
    directory: RunDirectory,
    ids: Sequence[str],
    certifier: Certifier,
    radii: Sequence[float],
    config: str | None = None,
    checkpoint: str | None = None,
) -> None:
    """Log the configuration and the metrics over the images; to Weights & Biases also pictures, tables and artifacts.

    Every logger receives the configuration and the metrics, under the names that the callback uses in training, so that
    runs of training and of certification stand in one table. Weights & Biases also receives at most 16 panels, the
    table of certificates (of a large run the rows of the images whose rows its page shows), a table of at most 16
    images with pictures and numbers, the files of the run as an artifact, and the checkpoint as an artifact that this
    run uses.

    Args:
        logger: The logger.
        directory: A finished run; ``provenance.json`` then holds the id of the run of W&B.
        ids: Ids of its images, in the order of the table; the panels of the first images are logged.
        certifier: The certifier of the run.
        radii: Radii at which metrics are logged, beside those of a comparison.
        config: Resolved configuration as YAML.
        checkpoint: The weights that were certified.
    """
    settings = yaml.safe_load(config) if config else dict(directory.provenance()["settings"])
    settings |= {"certification": certification_settings(certifier)}
    collections = named_metrics(certifier.certificates, radii) if radii else {}

    def update(record: Record) -> None:
        for name, metrics in collections.items():
            metrics.update([record.results[name]])

    usual = certifier.noise.budget.usual_radii(COMPARED_RADII)
    run = read_run(open_run(directory.path, "run"), [*radii, 0.0, *usual], on_record=update)
    certified = {name: float(value) for metrics in collections.values() for name, value in metrics.compute().items()}
    if isinstance(logger, WandbLogger):
        better: dict[str, Direction] = {
            one.key: "max" if one.better > 0 else "min" for one in (*run.values, *run.whole)
        }
        define_best(logger.experiment, better | directions_of(collections))
    logger.log_hyperparams(settings)
    logger.log_metrics(means(RowGroups(directory.table)) | _compared(run) | certified, step=0)
    if isinstance(logger, WandbLogger):
        _log_to_wandb(logger, directory, ids, run, min((one for one in radii if one > 0), default=0.0))
        if checkpoint is not None:
            use_checkpoint(logger.experiment, checkpoint)
    logger.save()
    logger.finalize("success")
    if isinstance(logger, WandbLogger):
        logger.experiment.finish()  # everything is on the disk when the command returns


def _compared(run: RunNumbers) -> dict[str, float]:
    """The numbers of ``certify.py compare``, and what pure noise would reach, under its names."""
    found = {one.key: value for one, value in run.means.items()}
    found |= {one.key: value for one, value in run.whole.items()}
    return found | {f"{one.key}_null": value for one, value in run.nulls.items()}


def _log_to_wandb(
    logger: WandbLogger, directory: RunDirectory, ids: Sequence[str], run: RunNumbers, radius: float
) -> None:
    """Panels, tables and files."""
    import wandb

    there = {path.name for path in directory.figures.iterdir()}
    chosen = [name for name in ids if f"{name}.png" in there][:MAX_PICTURES]
    if chosen:
        pictures = [Image.open(directory.figures / f"{name}.png", formats=["PNG"]) for name in chosen]
        logger.log_image("certified/panels", pictures, step=0, caption=chosen)
    table, names = RowGroups(directory.table), pq.read_schema(directory.table).names
    shown = Excerpt.of(table, ids, 0).rows if is_large(ids) else ids
    rows = [[row.get(name) for name in names] for row in rows_where(table, "id", shown).to_pylist()]
    logger.log_table("certified/results", columns=names, data=rows, step=0)
    columns, images = image_table(directory, ids[:MAX_PICTURES], run, radius)
    drawn = [[wandb.Image(cell) if hasattr(cell, "shape") else cell for cell in row] for row in images]
    logger.log_table("certified/images", columns=columns, data=drawn, step=0)
    directory.log_wandb(logger.experiment.id)
    log_certification(logger.experiment, directory)
