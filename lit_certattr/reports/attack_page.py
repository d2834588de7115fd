"""``attack.html``: certified and attacked values, in one file that opens offline."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from torch import Tensor

from lit_certattr.certificates.drawing import name_of
from lit_certattr.certificates.quantity import pixelwise_names
from lit_certattr.partitions import spread
from lit_certattr.records.attack_directory import AttackDirectory
from lit_certattr.records.run_directory import Record, RunDirectory
from lit_certattr.reports.answers import Answer, answer, how_many_right
from lit_certattr.reports.attack_figure import (
    PERTURBATION,
    perturbation_figure,
    sandwich_figure,
    sandwich_layout,
    series,
)
from lit_certattr.reports.page import Cell, Column, Table, render, scripts, template
from lit_certattr.reports.upper_bounds import AT_MOST
from lit_certattr.robustness import ImageSandwich
from lit_certattr.statistics.rounding import at_least, at_most, exact, fixed_at_least, fixed_at_most


def write_attack_page(
    run: RunDirectory, ids: Sequence[str], max_panels: int = 16, directory: AttackDirectory | None = None
) -> None:
    """Draw the figures of finished attacks and write ``attack.html``.

    The page contains its pictures, style and script and loads nothing; all text from files or names is escaped.

    Args:
        run: A run for which the images and the table of the attacks are already written.
        ids: Ids of the images, in the order of the table.
        max_panels: Largest number of images with a panel; the first images get one.
        directory: Directory of the attacks; ``attack/`` in the run by default.

    Raises:
        InputError: If a file is missing or damaged.
    """
    directory = run.attacks if directory is None else directory
    panels, curves, words, definition = [], [], {}, ""
    for number, (image_id, sandwich) in enumerate(directory.sandwiches(ids)):
        record = run.read(image_id)
        words[image_id] = answer(record.facts, next(iter(record.results.values())).sampling.get("target"))
        curves.append((record.results, sandwich.rows))
        definition = next(iter(record.results.values())).change_budget.definition  # the same for all images
        if number < max_panels:
            panels.append(_panel(directory, record, sandwich, words[image_id], f"picture-{number}"))
    means = series(curves)
    summary = sandwich_figure(means)
    directory.write_figure("sandwich.pdf", render(summary, "pdf"))
    png = render(summary)
    directory.write_figure("sandwich.png", png)
    table, settings = directory.read_table(len(ids)), directory.settings() or {}
    content = {
        "report": "../report.html" if directory.path.absolute() == run.attack.absolute() else "",
        "network": (run.provenance().get("network") or {}).get("class", "network"),
        "num_images": len(ids),
        "definition": definition,
        "tables": [_table(table)],
        "violations": [violation(row) for row in table.to_pylist() if row["contradicted"]],
        "summary": sandwich_layout(means).on_page(
            "picture-of-all",
            base64.b64encode(png).decode(),
            "Certified lower bounds and attacked upper bounds against the budget, means over the images. The table "
            "below has the numbers.",
        ),
        "right": how_many_right(list(words.values())),
        "panels": panels,
        "settings": [(key.replace("_", " "), str(value)) for key, value in settings.items()],
        "error": exact(settings.get("error", 0)),
        "samples": f"{settings.get('num_samples', 0):,}",
        "random": bool(settings.get("random_search")),
        "keep_label": bool(settings.get("keep_label")),
        "budgets": ", ".join(exact(budget) for budget in settings.get("budgets", [])),
        **scripts(),
    }
    directory.write_page(template("attack.html.j2").render(content))


def violation(row: Mapping[str, Any]) -> str:
    """One line about a row whose certificate is contradicted.

    Args:
        row: Row of the table, see :func:`lit_certattr.records.attack_directory.schema`.
    """
    claims = f" ({row['contradicted']} pixels)" if row["quantity"] in pixelwise_names() else ""
    return (
        f"{row['id']}, {row['certificate']}: {what_of(row)}, budget {exact(row['budget'])}: certified "
        f"{exact(row['certified'])}, but at most {exact(row['attacked_upper'])} remains under attack{claims}"
    )


def what_of(row: Mapping[str, Any]) -> str:
    """What a row is about: the quantity, with its K or the name of its claim.

    Args:
        row: Row of the table, see :func:`lit_certattr.records.attack_directory.schema`.

    Example:
        >>> what_of({"quantity": "important", "top_k": 0.25, "claim": None})
        'important, K = 25 %'
    """
    claim = "" if row.get("claim") is None else f"{row['claim']}, "
    return f"{claim}{row['quantity']}" + ("" if row["top_k"] is None else f", K = {name_of(row['top_k'])}")


def _panel(
    directory: AttackDirectory, record: Record, sandwich: ImageSandwich, answered: Answer, name: str
) -> dict[str, Any]:
    """Draw the curves of one image and its worst perturbation at the largest budget."""
    largest = max(one.budget for one in sandwich.candidates)
    attacked = [index for index, one in enumerate(sandwich.candidates) if one.budget == largest]
    shown = min(attacked, key=lambda index: sandwich.candidates[index].random)
    curves = series([(record.results, sandwich.rows)])
    png = render(sandwich_figure(curves), dpi=110)
    directory.write_figure(f"{record.id}.png", png)
    pair = perturbation_figure(
        record.image,
        sandwich.images[shown],
        _in_pixels(record, sandwich.maps[0], sandwich.maps[shown]),
        f"Attacked, budget {exact(largest)}",
    )
    picture = render(pair, dpi=110)
    directory.write_figure(f"{record.id}-perturbed.png", picture)
    worst = "; ".join(
        f"{what_of(row)}: certified {at_least(row['certified'])}, attacked {at_most(row['attacked'])}"
        for row in sandwich.rows
        if row["budget"] == largest
    )
    return {
        "id": record.id,
        "classes": answered.in_words(),
        "curves": sandwich_layout(curves).on_page(
            f"{name}-curves",
            base64.b64encode(png).decode(),
            f"Certified and attacked values of {record.id} against the budget; at {exact(largest)}: {worst}",
        ),
        "picture": PERTURBATION.on_page(
            name,
            base64.b64encode(picture).decode(),
            f"{record.id}: image, perturbed image, perturbation, and the smoothed maps of both.",
        ),
        "attack": sandwich.candidates[shown].attack,
    }


def _in_pixels(record: Record, clean: Tensor, perturbed: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps as pictures: where the values belong to regions, each pixel shows that of its region."""
    partition = next(iter(record.results.values())).partition
    if partition is None:
        return clean, perturbed
    return spread(clean[0], partition).nan_to_num(), spread(perturbed[0], partition).nan_to_num()


def _table(table: pa.Table) -> Table:
    """Means over the images, one row per quantity and budget."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["certificate"], row["quantity"], row["level"], row["budget"]), []).append(row)
    random = any(row["random"] is not None for rows in groups.values() for row in rows)
    heads = ["budget", "certified", *(["random"] if random else []), "attacked", "attacked, at most", "gap"]
    columns = [Column("certificate", text=True), Column("quantity", text=True), *(Column(head) for head in heads)]
    columns.append(Column("contradicted claims"))
    cells = []
    for (certificate, _, _, budget), rows in groups.items():
        what = what_of(rows[0])
        keys = ["certified", *(["random"] if random else []), "attacked", "attacked_upper", "gap"]
        means = [math.fsum(row[key] for row in rows) / len(rows) for key in keys]
        fallen = sum(row["contradicted"] for row in rows)
        cells.append(
            [Cell(certificate, certificate, text=True), Cell(what, what, text=True), Cell(repr(budget), exact(budget))]
            + [
                Cell(repr(mean), (fixed_at_least if key == "certified" else fixed_at_most)(mean))
                for key, mean in zip(keys, means, strict=True)
            ]
            + [Cell(str(fallen), str(fallen))]
        )
    return Table(
        "Means over the images",
        columns,
        cells,
        f"{AT_MOST} For each image, see sandwich.parquet or sandwich.csv.",
    )
