"""Logs a finished run to a Lightning logger."""

from collections.abc import Sequence

import pyarrow.parquet as pq
import yaml
from lightning.pytorch.loggers import Logger, WandbLogger
from PIL import Image

from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.records.table import means

MAX_PICTURES = 16
"""Largest number of pictures that are logged per run; more would only fill the disk."""


def log_run(logger: Logger, directory: RunDirectory, ids: Sequence[str], config: str | None = None) -> None:
    """Log the configuration, the means over the images, at most 16 panels, and the table of certificates.

    Every logger receives the configuration and the means; Weights & Biases also receives the panels and the table.

    Args:
        logger: The logger.
        directory: A finished run.
        ids: Ids of its images, in the order of the table; the panels of the first images are logged.
        config: Resolved configuration as YAML.
    """
    table = pq.read_table(directory.table)
    logger.log_hyperparams(yaml.safe_load(config) if config else dict(directory.provenance()["settings"]))
    logger.log_metrics(means(table), step=0)
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
