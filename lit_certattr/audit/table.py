"""Compares ``results.parquet`` of an audited run cell by cell."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

from lit_certattr.audit.finding import Finding, show
from lit_certattr.records.table_rows import PIECE

_Key = tuple[Any, Any, Any]


def check_table(
    table: pa.Table, derived: Iterable[Mapping[str, Any]], expected: pa.Schema, skip: Sequence[tuple[str, str]] = ()
) -> Iterator[Finding]:
    """Compare the table with the derived rows, cell by cell and in their order.

    Args:
        table: The table of the run.
        derived: Rows that were derived from the certificates; they are gone through twice.
        expected: Columns and types that the table must have, except columns without a value in these rows; other
            columns belong to the skipped rows.
        skip: Image and certificate of the rows that cannot be derived.
    """
    known: list[_Key] = []
    filled: set[str] = set()
    for row in derived:
        known.append(_key(row))
        filled.update(name for name, value in row.items() if value is not None)
    # An older version wrote no columns for what it did not know.
    names = [name for name in expected.names if name in table.column_names or name in filled]
    columns = [name for name in table.column_names if name in names or not skip]
    if columns != names:
        odd = sorted(set(columns) ^ set(names)) or ["order"]
        yield Finding("results.parquet", f"columns ({', '.join(odd[:5])})", str(table.num_columns), str(len(names)))
    else:
        for own in (expected.field(name) for name in names):
            if (kind := table.schema.field(own.name).type) != own.type:
                yield Finding("results.parquet", f"type of {own.name}", str(kind), str(own.type))
    stored = _Stored(table)
    held = {_key(stored[place]): place for place in range(table.num_rows)}
    if len(held) < table.num_rows:
        yield Finding("results.parquet", "holds a row twice", str(table.num_rows), str(len(held)))
    derivable, skipped = set(known), set(skip)
    order = [key for key in held if key in derivable]
    if order != [key for key in known if key in held]:
        yield Finding("results.parquet", "order of the rows")
    for row in derived:
        place = f"results.parquet, {row['id']}, {row['certificate']}, level {row.get('level')}"
        if (number := held.pop(_key(row), None)) is None:
            yield Finding(place, "row is missing")
            continue
        own = stored[number]
        for name in (name for name in names if name in own):
            one, two = own[name], row.get(name)
            if one != two and not (one != one and two != two):
                yield Finding(place, name, show(one), show(two))
    for image_id, name, level in held:
        if (image_id, name) not in skipped:
            yield Finding(f"results.parquet, {image_id}, {name}, level {level}", "no certificate belongs to this row")


class _Stored:
    """The rows of a table as mappings, of which a piece is in memory: they are asked for one after another."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._piece = lru_cache(maxsize=1)(self._converted)

    def __getitem__(self, place: int, /) -> Mapping[str, Any]:
        return self._piece(place // PIECE)[place % PIECE]

    def _converted(self, number: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._table.slice(number * PIECE, PIECE).to_pylist()
        return rows


def _key(row: Mapping[str, Any]) -> _Key:
    return row["id"], row.get("certificate"), row.get("level")
