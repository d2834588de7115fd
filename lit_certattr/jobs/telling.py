"""What a run says at its end about the noisy accuracy of its images."""

import logging
import sys

from lit_certattr.certificates.majority import MOVED
from lit_certattr.certificates.noisy_accuracy import in_one_line, remedy_of, warning
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.records.stored_table import MAX_ROWS, read_table
from lit_certattr.records.table import noisy_accuracies, num_moved
from lit_certattr.statistics.rounding import counted

_COLUMNS = ("id", "noisy_accuracy", "target_rule", "target", "prediction")
log = logging.getLogger(__name__)


def tell_noisy_accuracy(directory: RunDirectory, num_images: int, progress: bool) -> None:
    """Print the noisy accuracy of a finished run, and log one warning for all images where it is low.

    Another warning counts the images whose class is the majority of noisy predictions, and not the clean prediction.

    Args:
        directory: The run.
        num_images: Number of its images.
        progress: Whether to print; the warning is logged in any case.
    """
    table = read_table(directory.table, MAX_ROWS * num_images, only=_COLUMNS)
    accuracies = noisy_accuracies(table)
    if progress and (line := in_one_line(accuracies)):
        sys.stderr.write(f"{line}\n")
    law = (directory.provenance().get("settings") or {}).get("noise")
    if line := warning(accuracies, remedy_of(law)):
        log.warning("warning: %s", line)
    if moved := num_moved(table):
        log.warning("warning: %d of %s: %s", moved, counted(len(accuracies), "image"), MOVED)
