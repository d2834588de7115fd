"""The rows of the table that an audit derives: most wait packed as Parquet, a few at a time as mappings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lit_certattr.records.table import schema
from lit_certattr.records.table_rows import PIECE


class DerivedRows:
    """Rows in the order in which they are added; they can be gone through any number of times.

    Args:
        radii: Radii of the columns, in pixel l2 units.
    """

    def __init__(self, radii: Sequence[float]) -> None:
        self.radii = radii
        self.columns: dict[str, type] = {}
        self._pieces: list[pa.Buffer] = []
        self._latest: list[dict[str, Any]] = []

    def add(self, rows: Iterable[dict[str, Any]], columns: Mapping[str, type]) -> None:
        """Add the rows of one image.

        Args:
            rows: The rows.
            columns: Columns that only the kinds of its results have, with the type of their values.
        """
        self.columns |= columns
        self._latest += rows
        if len(self._latest) >= PIECE:
            sink = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(self._latest, self.schema), sink)
            self._pieces.append(sink.getvalue())
            self._latest = []

    @property
    def schema(self) -> pa.Schema:
        """Columns and types that a table of these rows has."""
        return schema(self.radii, self.columns)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for piece in self._pieces:
            yield from pq.read_table(pa.BufferReader(piece)).to_pylist()
        yield from self._latest
