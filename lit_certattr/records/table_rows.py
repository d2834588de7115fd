"""Large tables piece by piece: what is read is one row group, or one column, and never the whole table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PIECE = 1024
"""Number of rows that are in memory at once."""


class Columns(Protocol):
    """Columns of a table that are read in pieces; a ``pyarrow.Table`` is one in memory, :class:`RowGroups` a file."""

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""

    def select(self, columns: Sequence[str]) -> Self:
        """Some of the columns.

        Args:
            columns: Their names.
        """

    def to_batches(self, max_chunksize: int | None = None) -> Iterable[pa.RecordBatch]:
        """The rows, in order.

        Args:
            max_chunksize: Largest number of rows of a piece.
        """


class RowGroups:
    """The columns of a Parquet file that have values; most kinds of certificate leave most columns empty.

    Args:
        path: A file that a run wrote.
    """

    def __init__(self, path: Path) -> None:
        with pq.ParquetFile(path) as file:
            self.schema = pa.schema([file.schema_arrow.field(name) for name in _filled(file)])
        self._path = path

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema.names)

    def select(self, columns: Sequence[str]) -> Self:
        """Some of the columns.

        Args:
            columns: Their names.
        """
        some = object.__new__(type(self))
        some._path, some.schema = self._path, pa.schema([self.schema.field(name) for name in columns])
        return some

    def to_batches(self, max_chunksize: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, in order; at most one row group is in memory.

        Args:
            max_chunksize: Largest number of rows of a piece.
        """
        names = self.column_names
        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(max_chunksize or PIECE, columns=names, use_threads=False):
                yield batch.select(names)


def _filled(file: pq.ParquetFile) -> list[str]:
    """Names of the columns that have values, as the statistics of the row groups say."""
    about, names = file.metadata, file.schema_arrow.names
    empty = set(range(len(names)))
    for group in range(about.num_row_groups):
        part = about.row_group(group)
        for place in list(empty):
            statistics = part.column(place).statistics
            if statistics is None or not statistics.has_null_count or statistics.null_count < part.num_rows:
                empty.discard(place)
    return [name for place, name in enumerate(names) if place not in empty]


def values_of(table: Columns, column: str) -> Iterator[Any]:
    """The values of one column, in order.

    Args:
        table: The table.
        column: Name of the column.
    """
    for batch in table.select([column]).to_batches(max_chunksize=PIECE):
        yield from batch.column(column).to_pylist()


def rows_where(table: Columns, column: str, values: Iterable[str]) -> pa.Table:
    """The rows that have one of some values in a column.

    Args:
        table: The table.
        column: Name of the column.
        values: The values.
    """
    wanted = pa.array(list(values), pa.string())
    found = (batch.filter(pc.is_in(batch.column(column), wanted)) for batch in table.to_batches(max_chunksize=PIECE))
    return pa.Table.from_batches(found, table.schema)


class TableRows:
    """The rows of a table as mappings; a column is read when a value of it is asked for.

    Args:
        table: The table; columns that it lacks are empty.
    """

    def __init__(self, table: Columns) -> None:
        self._table = table
        self._column = cache(self._read)

    def of(self, certificate: str) -> list[Mapping[str, Any]]:
        """The rows of one certificate, in order.

        Args:
            certificate: Its name.
        """
        names = values_of(self._table, "certificate")
        return [_Row(self, place) for place, name in enumerate(names) if name == certificate]

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

    def _read(self, column: str) -> Any:
        if column not in self._table.column_names:
            return None
        pieces = self._table.select([column]).to_batches()
        kind = self._table.schema.field(column).type
        return pa.chunked_array([piece.column(column) for piece in pieces], kind).combine_chunks()


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
