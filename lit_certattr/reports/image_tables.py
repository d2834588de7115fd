"""The tables of ``report.html``: one row for each image, with its classes and its certified numbers."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from lit_certattr.certificates import Result
from lit_certattr.certificates.guarded import presentation_of
from lit_certattr.certificates.presentation import percent
from lit_certattr.reports.answers import Answer
from lit_certattr.reports.page import Cell, Column, Table
from lit_certattr.statistics.rounding import fixed_at_least, fixed_at_most


def certificate_table(name: str, result: Result, table: pa.Table, answers: Mapping[str, Answer]) -> Table:
    """One row per image, the levels side by side.

    Args:
        name: Name of the certificate.
        result: Its result for one image of the run.
        table: Content of ``results.parquet``.
        answers: Classes of each image by id.
    """
    data = [row for row in table.to_pylist() if row["certificate"] == name]
    images = list(dict.fromkeys(row["id"] for row in data))
    rows = {(row["id"], row["level"] or 0): row for row in data}
    columns = [Column("image", text=True)]
    cells = {image_id: [Cell(image_id, image_id, text=True)] for image_id in images}
    for head, words in _classes({image_id: answers[image_id] for image_id in images}).items():
        columns.append(Column(head, text=True))
        for image_id, word in words.items():
            cells[image_id].append(Cell(word, word, text=True))
    filled = [column for column in table.column_names if any(row[column] is not None for row in data)]
    sheet = presentation_of(result).sheet(filled)
    for head, key, level, form in sheet.columns:
        columns.append(Column(head))
        for image_id in images:
            value = rows.get((image_id, level), {}).get(key)
            cells[image_id].append(Cell(repr(value), shown(value, form)))
    if "noisy_accuracy" in filled:
        columns.append(Column("noisy accuracy"))
        for image_id in images:
            share = rows.get((image_id, 0), {}).get("noisy_accuracy")
            cells[image_id].append(Cell(repr(share), shown(share, "share")))
    if "looks" in result.sampling:
        columns.append(Column("samples"))
        samples = {row["id"]: row["num_samples"] for row in data}
        for image_id in images:
            drawn = samples[image_id]
            cells[image_id].append(Cell(str(drawn), f"{drawn:,}"))
    return Table(f"{sheet.title} ({name})", columns, list(cells.values()), sheet.note)


def _classes(answers: Mapping[str, Answer]) -> dict[str, dict[str, str]]:
    """Columns of words about classes; those that say nothing more than another one are left out."""
    columns = {"explained class": {image_id: one.explained for image_id, one in answers.items()}}
    if any(one.predicted not in ("", one.explained) for one in answers.values()):
        columns["prediction"] = {image_id: one.predicted for image_id, one in answers.items()}
    if any(one.label for one in answers.values()):
        columns["label"] = {image_id: one.label for image_id, one in answers.items()}
        columns["network is"] = {image_id: one.verdict for image_id, one in answers.items()}
    return columns


def shown(value: Any, form: str) -> str:
    """A value of the table as text; certified numbers are rounded to the safe side: down, but upper bounds up.

    Args:
        value: The value; ``None`` for an empty cell.
        form: See :class:`~lit_certattr.certificates.presentation.SheetColumn`.
    """
    if not isinstance(value, int | float):
        return "" if value is None else str(value)
    if form == "share":
        return percent(value)
    if form == "upper":
        return fixed_at_most(value)
    return "none" if form == "radius" and not value else fixed_at_least(value)
