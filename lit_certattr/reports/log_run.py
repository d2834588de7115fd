"""Logs a finished run to a Lightning logger."""

import math
from collections.abc import Sequence

import pyarrow.parquet as pq
import yaml
from lightning.pytorch.loggers import Logger, WandbLogger
from PIL import Image

from lit_certattr.certification import Certifier
from lit_certattr.comparison.reading import open_run, read_run
from lit_certattr.metrics.naming import named_metrics
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.records.table import means
from lit_certattr.reports.certification_settings import certification_settings

MAX_PICTURES = 16
"""Largest number of pictures that are logged per run; more would only fill the disk."""


def log_run(
    logger: Logger,
    directory: RunDirectory,
    ids: Sequence[str],
    certifier: Certifier,
    radii: Sequence[float],
    config: str | None = None,
) -> None:
    """Log the configuration, the metrics over the images, at most 16 panels, and the table of certificates.

    Every logger receives the configuration and the metrics, under the names that the callback uses in training, so that
    runs of training and of certification stand in one table. Weights & Biases also receives the panels and the table.

    Args:
        logger: The logger.
        directory: A finished run.
        ids: Ids of its images, in the order of the table; the panels of the first images are logged.
        certifier: The certifier of the run.
        radii: Radii at which metrics are logged.
        config: Resolved configuration as YAML.
    """
    table = pq.read_table(directory.table)
    settings = yaml.safe_load(config) if config else dict(directory.provenance()["settings"])
    logger.log_hyperparams(settings | {"certification": certification_settings(certifier)})
    logger.log_metrics(means(table) | _compared(directory, radii) | _metrics(directory, ids, certifier, radii), step=0)
    if isinstance(logger, WandbLogger):
        chosen = [name for name in ids[:MAX_PICTURES] if (directory.figures / f"{name}.png").exists()]
        if chosen:
            pictures = [Image.open(directory.figures / f"{name}.png") for name in chosen]
            logger.log_image("certified/panels", pictures, step=0, caption=chosen)
        rows = [[row[name] for name in table.column_names] for row in table.to_pylist()]
        logger.log_table("certified/results", columns=table.column_names, data=rows, step=0)
    logger.save()
    logger.finalize("success")
    if isinstance(logger, WandbLogger):
        logger.experiment.finish()  # everything is on the disk when the command returns


def _compared(directory: RunDirectory, radii: Sequence[float]) -> dict[str, float]:
    """The numbers of ``certify.py compare``, and what pure noise would reach, under its names."""
    run = read_run(open_run(directory.path, "run"), radii)
    found = {one.key: math.fsum(own.values()) / len(own) for one, own in run.values.items()}
    found |= {one.key: value for one, value in run.whole.items()}
    return found | {f"{one.key}_null": value for one, value in run.nulls.items()}


def _metrics(
    directory: RunDirectory, ids: Sequence[str], certifier: Certifier, radii: Sequence[float]
) -> dict[str, float]:
    """The metrics of all certificates; results are read one by one."""
    collections = named_metrics(certifier.certificates, radii) if radii else {}
    for record in directory.records(ids):
        for name, metrics in collections.items():
            metrics.update([record.results[name]])
    return {name: float(value) for metrics in collections.values() for name, value in metrics.compute().items()}
