"""Logs pictures, settings and tables to the loggers that accept them; other loggers are skipped."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.loggers import Logger, WandbLogger
from PIL import Image

from lit_certattr.reports.page import render
from lit_certattr.reports.wandb_run import STEP

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PICTURES = 16
"""Largest number of pictures per call; more would only fill the disk."""


def log_figures(loggers: Sequence[Logger], key: str, figures: Sequence[tuple[str, "Figure"]], step: int) -> None:
    """Log captioned figures to every logger that accepts pictures.

    These are loggers with ``log_image`` (Weights & Biases), and loggers whose ``experiment`` has ``add_image``
    (TensorBoard). A CSV logger has neither.

    Args:
        loggers: The Trainer's loggers, in the first process only: in other processes they have no run.
        key: Name under which the pictures are logged.
        figures: Captions and figures.
        step: The Trainer's global step.
    """
    loggers = picture_loggers(loggers)
    if not figures or not loggers:
        return
    pictures = [(caption, _picture(figure)) for caption, figure in figures[:MAX_PICTURES]]
    for logger in loggers:
        if hasattr(logger, "log_image"):
            captions, images = zip(*pictures, strict=True)
            logger.log_image(key, list(images), step=step, caption=list(captions))
        else:
            for caption, image in pictures:
                _experiment(logger).add_image(f"{key}/{caption}", np.asarray(image), step, dataformats="HWC")


def picture_loggers(loggers: Sequence[Logger]) -> list[Logger]:
    """The loggers that accept pictures, so that nothing is drawn for the others.

    Args:
        loggers: The Trainer's loggers.
    """
    return [one for one in loggers if hasattr(one, "log_image") or hasattr(_experiment(one), "add_image")]


def describe_run(loggers: Sequence[Logger], settings: Mapping[str, Any]) -> None:
    """Write the settings into the config of W&B runs, and use the training step as the axis of certified metrics.

    The axis is Lightning's ``trainer/global_step``: in a resumed offline run, W&B's internal step starts at 0 again,
    and W&B drops older steps.

    Args:
        loggers: The Trainer's loggers.
        settings: Plain values.
    """
    for logger in _wandb(loggers):
        logger.experiment.config.update({"certification": dict(settings)}, allow_val_change=True)
        logger.experiment.define_metric("certified/*", step_metric=STEP, step_sync=True)


def log_certificates(loggers: Sequence[Logger], key: str, rows: Sequence[Mapping[str, Any]], step: int) -> None:
    """Log a table of certificates to W&B; do this once per run, since each call uploads and replaces the whole table.

    Args:
        loggers: The Trainer's loggers.
        key: Name of the table.
        rows: Rows by column; a column that a row lacks is empty.
        step: The Trainer's global step.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    data = [[row.get(column) for column in columns] for row in rows]
    for logger in _wandb(loggers):
        logger.log_table(key, columns=columns, data=data, step=step)


def _wandb(loggers: Sequence[Logger]) -> list[WandbLogger]:
    return [logger for logger in loggers if isinstance(logger, WandbLogger)]


def _experiment(logger: Logger) -> Any:
    return getattr(logger, "experiment", None)


def _picture(figure: "Figure") -> Image.Image:
    return Image.open(io.BytesIO(render(figure, dpi=100))).convert("RGB")
