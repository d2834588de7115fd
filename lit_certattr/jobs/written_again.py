"""Writes a run whose images another run has sampled: packed as ``run`` packs them, and resumed where it was stopped."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lit_certattr.records.run_directory import Record, RunDirectory, image_rows
from lit_certattr.reports.html import write_report


def write_again(
    new: RunDirectory,
    ids: Sequence[str],
    records: Callable[[Sequence[str]], Iterable[Record]],
    sessions: Sequence[Mapping[str, Any]],
    radii: Sequence[float],
    max_panels: int,
) -> None:
    """Fill a run directory; images that are there from an attempt that was stopped are kept.

    Args:
        new: The directory, opened and locked by this process.
        ids: Ids of all images, in the order of the table.
        records: Gives the records of some of these images, in their order.
        sessions: What the record says of the sessions in which the images were sampled.
        radii: Radii of the table's columns, in pixel l2 units.
        max_panels: Largest number of images with a panel in the report.
    """
    for session in sessions[len(new.provenance().get("sessions", [])) :]:
        new.log_session(session)
    groups, finished = new.groups(ids, radii), new.finished()
    groups.start(finished)
    for record in records([image_id for image_id in ids if image_id not in finished]):
        new.write(record.id, record.results, record.image, record.clean_map, record.facts)
        groups.add(record.id, image_rows(record.id, record.results, record.facts, radii))
    groups.pack()
    groups.write_table(new.table)
    write_report(new, ids, max_panels)
    groups.clear()
