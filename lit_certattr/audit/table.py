"""Reads ``results.parquet`` of an audited run within bounds, and compares it cell by cell."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from lit_certattr.audit.finding import Finding, show
from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import MAX_SCALAR, check_file

_MAX_FILE = 2**28
_MAX_MEMORY = 2**29
_MAX_COLUMNS = 10_000


def read_table(path: Path, most_rows: int) -> pa.Table:
    """Read the table, if it is not larger than any run could have written.

    Args:
        path: Path of ``results.parquet``.
        most_rows: Largest number of rows that the images of the run can have.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file is too large or damaged, or has no column ``id`` of texts.
    """
    check_file(path, _MAX_FILE)
    try:
        file = pq.ParquetFile(path, thrift_string_size_limit=2**24, thrift_container_size_limit=10**6)
        about = file.metadata
        if about.num_rows > most_rows or about.num_columns > _MAX_COLUMNS:
            raise InputError(f"{path}: {about.num_rows:,} rows of {about.num_columns:,} columns, more than any run")
        size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        if size > _MAX_MEMORY:
            raise InputError(f"{path}: unpacks to {size:,} bytes, more than the {_MAX_MEMORY:,} allowed")
        # Texts as dictionaries: one that is repeated a million times takes no more memory than one.
        texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        table = pq.read_table(path, read_dictionary=texts)
        for column in table.columns:
            for chunk in column.chunks:
                words = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
                long = pa.types.is_string(words.type) and pyarrow.compute.max(pyarrow.compute.binary_length(words))
                if long and (long.as_py() or 0) > MAX_SCALAR:
                    raise InputError(f"{path}: contains a text of {long.as_py():,} characters")
        if table.nbytes > _MAX_MEMORY:
            raise InputError(f"{path}: takes {table.nbytes:,} bytes, more than the {_MAX_MEMORY:,} allowed")
        plain = table.cast(pa.schema([_plain(field) for field in table.schema]))
        plain.validate(full=True)  # texts that are no UTF-8
    except (OSError, pa.ArrowException, MemoryError, OverflowError, UnicodeError) as error:
        raise InputError(f"{path}: no table, or damaged ({' '.join(str(error).split())[:160]})") from None
    if "id" not in plain.column_names or not pa.types.is_string(plain.schema.field("id").type):
        raise InputError(f"{path}: has no column id of texts")
    return plain


def _plain(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


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
    order = [key for key in held if key in set(known)]
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
        if (image_id, name) not in skip:
            yield Finding(f"results.parquet, {image_id}, {name}, level {level}", "no certificate belongs to this row")


def _key(row: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return row["id"], row.get("certificate"), row.get("level")
