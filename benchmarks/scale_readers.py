"""What compare, export, loggers and recertify cost as the number of images of a run grows: tiny images.

python -m benchmarks.scale_readers --images 3000 10000 --folder /dev/shm    # docs/scale.md; 15 minutes on one core

The runs are those of benchmarks.scale. Each job has a process of its own. Times are CPU seconds, and are printed in
units of the time in which every image of the run is read once, so that they depend little on the machine.
"""

import argparse
import logging
import multiprocessing
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from benchmarks.scale import certified, certifier
from lit_certattr import jobs
from lit_certattr.records.run_directory import RunDirectory
from lit_certattr.records.table import RADII
from lit_certattr.records.table_rows import RowGroups, values_of
from lit_certattr.reports.log_run import log_run


class Cost(NamedTuple):
    """What a job took.

    Attributes:
        seconds: CPU seconds.
        peak: Largest resident memory of the process in bytes.
        files: Number of files that it wrote.
    """

    seconds: float
    peak: int
    files: int


def _ids(run: RunDirectory) -> list[str]:
    return list(dict.fromkeys(values_of(RowGroups(run.table), "id")))


def _read(run: RunDirectory, place: Path) -> None:
    for _ in run.records(_ids(run)):
        pass


def _compare(run: RunDirectory, place: Path) -> None:
    jobs.compare([run.path, run.path], names=["a", "b"], output=place / "compared", progress=False)


def _means(run: RunDirectory, place: Path) -> None:
    jobs.export(run.path, "markdown", place / "means.md")


def _csv(run: RunDirectory, place: Path) -> None:
    jobs.export(run.path, "csv", place / "images.csv", per_image=True)


def _latex(run: RunDirectory, place: Path) -> None:
    jobs.export(run.path, "latex", place / "images.tex", per_image=True)


def _pdf(run: RunDirectory, place: Path) -> None:
    jobs.export(run.path, "pdf", place / "run.pdf")


def _logged(run: RunDirectory, logger: Logger) -> None:
    log_run(logger, run, _ids(run), certifier(), RADII)


def _log(run: RunDirectory, place: Path) -> None:
    _logged(run, CSVLogger(place, "log", ""))


def _wandb(run: RunDirectory, place: Path) -> None:
    os.environ |= {"WANDB_SILENT": "true", "WANDB_DATA_DIR": str(place / "staged")}
    _logged(run, WandbLogger(save_dir=place, offline=True))


def _recertify(run: RunDirectory, place: Path) -> None:
    jobs.recertify(run.path, place / "again", alpha=0.05)


JOBS: dict[str, Callable[[RunDirectory, Path], None]] = {
    "read": _read,
    "compare of two runs": _compare,
    "export": _means,
    "export --format=csv --per_image": _csv,
    "export --format=latex --per_image": _latex,
    "export --format=pdf": _pdf,
    "CSVLogger": _log,
    "WandbLogger, offline": _wandb,
    "recertify": _recertify,
}


def measure(name: str, path: Path) -> Cost:
    """Do a job in this process.

    Args:
        name: The job.
        path: Directory of the run.
    """
    logging.getLogger("lit_certattr").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        start = time.process_time()
        JOBS[name](RunDirectory(path), Path(place))
        seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Cost(seconds, peak, sum(one.is_file() for one in Path(place).rglob("*")))


def main() -> None:
    """Certify runs, do each job on each of them in a process of its own, and print what grows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_readers", description=__doc__)
    parser.add_argument("--images", type=int, nargs=2, default=[3000, 10000])
    parser.add_argument("--folder", help="where the runs lie while they are measured")
    chosen = parser.parse_args()
    few, many = chosen.images
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as place:
        paths = [Path(place) / str(count) for count in (few, many)]
        for count, path in zip((few, many), paths, strict=True):
            with context.Pool(1) as pool:
                pool.apply(certified, (count, str(path)))
        reading = 0.0
        for name in JOBS:
            found = []
            for path in paths:
                with context.Pool(1) as pool:
                    found.append(pool.apply(measure, (name, path)))
            first, last = found
            slope = (last.seconds - first.seconds) / (many - few)
            reading = reading or slope
            growth = (last.peak - first.peak) / (many - few) / 1024
            print(
                f"{name}: {first.peak / 2**20:,.0f} MiB and {last.peak / 2**20:,.0f} MiB, {growth:.1f} KiB per image; "
                f"{slope / reading:.1f} times reading; {first.files} and {last.files} files",
                flush=True,
            )


if __name__ == "__main__":
    main()
