"""Hands a finished run to a Lightning logger."""

from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from lightning.pytorch.loggers import Logger

from lit_certattr.reports.run_directory import RunDirectory


def log_run(logger: Logger, directory: RunDirectory, ids: Sequence[str], config: str | None = None) -> None:
    pass
