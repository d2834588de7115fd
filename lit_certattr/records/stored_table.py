"""Reads a table that a job wrote, within bounds: the file may be anybody's."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import MAX_SCALAR, check_file

MAX_ROWS = 1000
"""Largest number of rows per image: levels, or claims, of all certificates."""
_MAX_FILE = 2**28
_MAX_MEMORY = 2**29
_PER_IMAGE = 2**14  # about 23 rows; of 100,000 images they need more than the limit above
_MAX_COLUMNS = 10_000


def read_table(path: Path, most_rows: int, only: Sequence[str] | None = None) -> pa.Table:
    """Read the table, if it is not larger than any run could have written.

    Args:
        path: The file, e.g. ``results.parquet``.
        most_rows: Largest number of rows that the images of the job can have; the more, the more memory they may take.
        only: Read only these columns, as far as they are there; ``None`` reads all.

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
        limit = max(_MAX_MEMORY, most_rows // MAX_ROWS * _PER_IMAGE)
        size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        if size > limit:
            raise InputError(f"{path}: unpacks to {size:,} bytes, more than the {limit:,} allowed")
        # Texts as dictionaries: one that is repeated a million times takes no more memory than one.
        texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        names = None if only is None else [name for name in file.schema_arrow.names if name in only]
        table = pq.read_table(path, columns=names, read_dictionary=texts)
        for column in table.columns:
            for chunk in column.chunks:
                words = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
                long = pa.types.is_string(words.type) and pyarrow.compute.max(pyarrow.compute.binary_length(words))
                if long and (long.as_py() or 0) > MAX_SCALAR:
                    raise InputError(f"{path}: contains a text of {long.as_py():,} characters")
        if table.nbytes > limit:
            raise InputError(f"{path}: takes {table.nbytes:,} bytes, more than the {limit:,} allowed")
        if table.schema.metadata:
            raise InputError(
                f"{path}: has words in its header ({list(table.schema.metadata)!r:.60}) that no job writes"
            )
        plain = table.cast(pa.schema([_plain(field) for field in table.schema]))
        plain.validate(full=True)  # texts that are no UTF-8
    except (OSError, pa.ArrowException, MemoryError, OverflowError, UnicodeError) as error:
        raise InputError(f"{path}: no table, or damaged ({' '.join(str(error).split())[:160]})") from None
    if "id" not in plain.column_names or not pa.types.is_string(plain.schema.field("id").type):
        raise InputError(f"{path}: has no column id of texts")
    return plain


def _plain(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
