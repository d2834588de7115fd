"""The job ``status``: how far a run is, while it goes on, after it was stopped or killed, and when it is finished."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import attrs
import pyarrow as pa

from lit_certattr.certificates.presentation import Tile
from lit_certattr.errors import InputError
from lit_certattr.jobs.arguments import checked
from lit_certattr.jobs.trust import import_packages
from lit_certattr.records.groups import parts_in
from lit_certattr.records.lock import Holder
from lit_certattr.records.run_directory import Record, RunDirectory, image_rows
from lit_certattr.records.stored_table import MAX_ROWS, read_table
from lit_certattr.records.table import RADII, schema
from lit_certattr.records.working import Working, working
from lit_certattr.reports.html import certified_tiles

State = Literal["running", "stopped", "finished"]
_MOST_LOOSE = 1024
"""Number of images with files of their own that are read for the numbers so far."""


@attrs.frozen
class Status:
    """How far a run is.

    Attributes:
        directory: The run.
        state: ``"running"`` if a process holds the lock, ``"finished"`` if table and page are written, else
            ``"stopped"``: the same command resumes it.
        done: Number of certified images.
        total: Number of all images; ``None`` if the run does not tell.
        processes: Number of processes of the latest start; ``None`` if unknown.
        holder: The process that holds the lock, the first one of the run; ``None`` if there is none.
        rate: Images per second since the latest start, up to the latest image; ``None`` before the first one.
        idle: Seconds since the latest image; ``None`` before the first one.
        working: What each of several processes has done, by rank; empty for one process, and if none works.
        numbers: What is certified, as means over ``num_counted`` images.
        num_counted: Number of images of these means.
    """

    directory: RunDirectory
    state: State
    done: int
    total: int | None
    processes: int | None
    holder: Holder | None
    rate: float | None
    idle: float | None
    working: list[Working]
    numbers: list[Tile]
    num_counted: int

    @property
    def seconds_left(self) -> float | None:
        """Forecast of the time until all images are certified; ``None`` if unknown, or if no process works."""
        if self.state != "running" or self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate


@checked
def status(directory: str | Path, imports: Sequence[str] = ()) -> Status:
    """Tell how far a run is; writes nothing, and does not disturb the run.

    Files are taken as they are: ``certify.py audit`` tells whether the certificates are those of the recorded counts.

    Args:
        directory: Output directory of ``certify.py run``, finished or not.
        imports: Packages whose certificates are read like those of this package.

    Raises:
        InputError: If the directory holds no run, or its record is damaged.

    Example:
        >>> from lit_certattr import jobs
        >>> jobs.status("runs/certify/mnist5k").done  # doctest: +SKIP
        20
    """
    run = RunDirectory(directory)
    if not run.path.is_dir():
        raise InputError(f"{run.path} is no directory; give the output directory of lit-certattr certify run")
    if not run.provenance_file.exists():
        raise InputError(f"{run.path} holds no run: there is no provenance.json")
    import_packages(imports, run.path)
    session = _latest(run.provenance())
    holder = run.lock.holder()
    latest, done = _latest_image(run), len(run.image_files.stored())
    total = session.get("total")
    total = total if isinstance(total, int) and not isinstance(total, bool) and total >= done else None
    complete = run.table.exists() and run.report.exists()
    if total is None and complete:
        total = done
    state: State = "running" if holder is not None else "finished" if complete and done == total else "stopped"
    processes = session.get("processes") if isinstance(session.get("processes"), int) else None
    table, first = _rows_so_far(run)
    numbers = [] if first is None else certified_tiles(first.results, table)
    return Status(
        run,
        state,
        done,
        total,
        processes,
        holder,
        _rate(session, done, total, latest),
        None if latest is None else max(0.0, time.time() - latest),
        [] if holder is None or processes is None else working(run.path, holder, processes),
        numbers,
        0 if first is None else len(set(table.column("id").to_pylist())),
    )


def _latest(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """The latest session of a run; empty if none was recorded."""
    sessions = provenance.get("sessions")
    found = [one for one in sessions if isinstance(one, Mapping)] if isinstance(sessions, list) else []
    return found[-1] if found else {}


def _latest_image(run: RunDirectory) -> float | None:
    """When the latest image was written, in seconds since 1970; ``None`` if there is none."""
    times = []
    for path in run.images.glob("[!.]*"):
        with suppress(FileNotFoundError):  # packed meanwhile
            times.append(path.stat().st_mtime)
    return max(times, default=None)


def _rate(session: Mapping[str, Any], done: int, total: int | None, latest: float | None) -> float | None:
    """Images per second of the latest session."""
    todo, started = session.get("images"), session.get("started")
    if total is None or latest is None or not isinstance(todo, int) or not isinstance(started, str):
        return None
    try:
        seconds = latest - datetime.fromisoformat(started).timestamp()
    except (ValueError, OverflowError):
        return None
    new = done - (total - todo)
    return new / seconds if new > 0 and seconds > 0 else None


def _rows_so_far(run: RunDirectory) -> tuple[pa.Table, Record | None]:
    """The rows of the images that are certified, and the record of one of them."""
    tables, seen, most = [], set[str](), MAX_ROWS * (len(run.image_files.stored()) + 1)
    for path in [run.table] if run.table.exists() else parts_in(run.parts):
        with suppress(FileNotFoundError, InputError):  # an audit says what is wrong with it
            tables.append(read_table(path, most))
            seen.update(tables[-1].column("id").to_pylist())
    entries, own = [], dict[str, type]()
    first: Record | None = None
    loose = sorted(run.image_files.loose(run.images) - seen)
    for image_id in [*loose[:_MOST_LOOSE], *sorted(seen)[:1]]:
        with suppress(InputError):  # damaged: it will be certified again
            record = run.read(image_id)
            first = first or record
            if image_id not in seen:
                rows = image_rows(image_id, record.results, record.facts, RADII)
                entries += rows.entries
                own |= rows.own
    if entries:
        tables.append(pa.Table.from_pylist(entries, schema(RADII, own)))
    return pa.concat_tables(tables, promote_options="permissive") if tables else schema().empty_table(), first
