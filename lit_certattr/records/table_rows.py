"""The rows of a large table one by one: values are converted when they are asked for, and never all of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def filled_table(path: Path, only: Callable[[Sequence[str], pa.Schema], Sequence[str]] | None = None) -> pa.Table:
    """The columns of a table that have values; most kinds of certificate leave most columns empty.

    Args:
        path: A file that a run wrote.
        only: Chooses among the names of these columns, given the schema; ``None`` takes all of them.
    """
    file = pq.ParquetFile(path)
    about, names = file.metadata, file.schema_arrow.names
    empty = set(range(len(names)))
    for group in range(about.num_row_groups):
        part = about.row_group(group)
        for place in list(empty):
            statistics = part.column(place).statistics
            if statistics is None or not statistics.has_null_count or statistics.null_count < part.num_rows:
                empty.discard(place)
    filled = [name for place, name in enumerate(names) if place not in empty]
    return file.read(columns=filled if only is None else list(only(filled, file.schema_arrow)))


class TableRows:
    """The rows of a table as mappings.

    Args:
        table: The table; columns that it lacks are empty.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._column = cache(self._combined)

    def of(self, certificate: str) -> list[Mapping[str, Any]]:
        """The rows of one certificate, in order.

        Args:
            certificate: Its name.
        """
        names = self._table.column("certificate")
        found, place = [], 0
        for chunk in names.chunks:
            for name in chunk.to_pylist():
                if name == certificate:
                    found.append(_Row(self, place))
                place += 1
        return list(found)

    def value(self, place: int, column: str) -> Any:
        """One value.

        Args:
            place: Number of the row.
            column: Name of the column.
        """
        values = self._column(column)
        return None if values is None else values[place].as_py()

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._table.column_names)

    def _combined(self, column: str) -> Any:
        if column not in self._table.column_names:
            return None
        return self._table.column(column).combine_chunks()


class _Row(Mapping[str, Any]):
    """One row; a column that the table lacks is empty, as it is for all images."""

    __slots__ = ("_place", "_rows")

    def __init__(self, rows: TableRows, place: int) -> None:
        self._rows, self._place = rows, place

    def __getitem__(self, column: str) -> Any:
        return self._rows.value(self._place, column)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows.names)

    def __len__(self) -> int:
        return len(self._rows.names)
