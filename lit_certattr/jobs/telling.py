"""What a run says at its end about the noisy accuracy of its images."""

import logging
import sys

import pyarrow.parquet as pq

from lit_certattr.certificates.noisy_accuracy import in_one_line, warning
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.records.table import noisy_accuracies

log = logging.getLogger(__name__)


def tell_noisy_accuracy(directory: RunDirectory, progress: bool) -> None:
    """Print the noisy accuracy of a finished run, and log one warning for all images where it is low.

    Args:
        directory: The run.
        progress: Whether to print; the warning is logged in any case.
    """
    accuracies = noisy_accuracies(pq.read_table(directory.table))
    if progress and (line := in_one_line(accuracies)):
        sys.stderr.write(f"{line}\n")
    if line := warning(accuracies):
        log.warning("warning: %s", line)
