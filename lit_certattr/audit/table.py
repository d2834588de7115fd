"""Compares ``results.parquet`` of an audited run cell by cell."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from lit_certattr.audit.finding import Finding, show


def check_table(
    table: pa.Table, derived: Sequence[Mapping[str, Any]], expected: pa.Schema, skip: Sequence[tuple[str, str]] = ()
) -> Iterator[Finding]:
    """Compare the table with the derived rows, cell by cell and in their order.

    Args:
        table: The table of the run.
        derived: Rows that were derived from the certificates.
        expected: Columns and types that the table must have, except columns without a value in these rows; other
            columns belong to the skipped rows.
        skip: Image and certificate of the rows that cannot be derived.
    """
    silent = {name for name in expected.names if all(row.get(name) is None for row in derived)}
    # An older version wrote no columns for what it did not know.
    names = [name for name in expected.names if name in table.column_names or name not in silent]
    columns = [name for name in table.column_names if name in names or not skip]
    if columns != names:
        odd = sorted(set(columns) ^ set(names)) or ["order"]
        yield Finding("results.parquet", f"columns ({', '.join(odd[:5])})", str(table.num_columns), str(len(names)))
    else:
        for own in (expected.field(name) for name in names):
            if (kind := table.schema.field(own.name).type) != own.type:
                yield Finding("results.parquet", f"type of {own.name}", str(kind), str(own.type))
    stored = table.to_pylist()
    held = {_key(row): row for row in stored}
    if len(held) < table.num_rows:
        yield Finding("results.parquet", "holds a row twice", str(table.num_rows), str(len(held)))
    known = [_key(row) for row in derived]
    derivable, skipped = set(known), set(skip)
    order = [key for key in held if key in derivable]
    if order != [key for key in known if key in held]:
        yield Finding("results.parquet", "order of the rows")
    for row in derived:
        place = f"results.parquet, {row['id']}, {row['certificate']}, level {row.get('level')}"
        if (own := held.pop(_key(row), None)) is None:
            yield Finding(place, "row is missing")
            continue
        for name in (name for name in names if name in own):
            one, two = own[name], row.get(name)
            if one != two and not (one != one and two != two):
                yield Finding(place, name, show(one), show(two))
    for image_id, name, level in held:
        if (image_id, name) not in skipped:
            yield Finding(f"results.parquet, {image_id}, {name}, level {level}", "no certificate belongs to this row")


def _key(row: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return row["id"], row.get("certificate"), row.get("level")
