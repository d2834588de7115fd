"""The images of a run in groups: a finished group is packed, and its rows of the table are stored as a part of it."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import whole_file
from lit_certattr.records.image_files import GROUP_SIZE, ImageFiles
from lit_certattr.records.stored_table import MAX_ROWS, read_table
from lit_certattr.records.table import schema
from lit_certattr.records.tensor_files import SUFFIX

_PART = re.compile(r"\d{5,9}\.parquet")


class ImageRows(NamedTuple):
    """The rows of one image in the table.

    Attributes:
        entries: Values by column, one row for each certificate and level.
        own: Columns of kinds from outside this package, see :func:`~lit_certattr.records.table.schema`.
    """

    entries: list[dict[str, Any]]
    own: dict[str, type]


class Groups:
    """Images in groups of equal size, in the order of the data set; the last group may be smaller and is never packed.

    While a run goes on, ``results/00003.parquet`` holds the rows of a packed group, so that the table of a run that is
    unfinished, or was killed, can be read by any program. One process works on the groups: the one with the lock.

    Args:
        files: The files of the images.
        parts: Folder of the parts of the table; created when it is needed.
        ids: Ids of all images, in the order of the table.
        radii: Radii of the table's columns.
        rows_of: Reads an image, and gives its rows.
        size: Number of images in a group.
    """

    def __init__(
        self,
        files: ImageFiles,
        parts: Path,
        ids: Sequence[str],
        radii: Sequence[float],
        rows_of: Callable[[str], ImageRows],
        size: int = GROUP_SIZE,
    ) -> None:
        self.files, self.parts, self.ids, self.radii, self.size = files, parts, ids, radii, size
        self._rows_of = rows_of
        self._full = len(ids) // size
        self._open: dict[int, Sequence[str]] = {}
        self._number: dict[str, int] = {}
        self._kept: dict[str, ImageRows] = {}
        self._since = 0

    def ids_of(self, number: int) -> Sequence[str]:
        """Ids of the images of a group.

        Args:
            number: Its number.
        """
        return self.ids[number * self.size : (number + 1) * self.size]

    def start(self, finished: Collection[str]) -> None:
        """Begin, or continue after a stop: end what a killed process left half done, and group what is not packed yet.

        Images that were added to a finished run form groups of their own; packed ones stay as they are.

        Args:
            finished: Ids of the images that are stored and undamaged.
        """
        if not self._full:
            return
        packed, loose = self.files.packed(), self.files.loose(self.files.images)
        for image_id in loose.intersection(self.ids) - set(finished):  # or their groups would seem to be complete
            (self.files.images / f"{image_id}{SUFFIX}").unlink(missing_ok=True)
        begun = loose | self.files.loose(self.files.maps)
        for number in {packed[image_id] for image_id in begun if image_id in packed}:
            if (ids := self.files.packed_ids(number)) is not None:
                self.files.pack(number, ids)
        rest = [image_id for image_id in self.ids if image_id not in packed]
        used = set(packed.values())
        free = (number for number in count() if number not in used)
        for first in range(0, len(rest) - self.size + 1, self.size):
            self._open[next(free)] = rest[first : first + self.size]
        self._number = {image_id: number for number, ids in self._open.items() for image_id in ids}
        self.pack()

    def add(self, image_id: str, rows: ImageRows) -> None:
        """Note that this process has written an image, and pack its group if all others are written, too.

        Args:
            image_id: Id of the image.
            rows: Its rows of the table.
        """
        self._kept[image_id] = rows
        self._since += 1
        if self._since >= max(1, self.size // 4):
            self._since = 0
            self.pack()

    def pack(self) -> None:
        """Pack each group whose images are all written."""
        if not self._open:
            return
        loose = Counter(self._number.get(image_id) for image_id in self.files.loose(self.files.images))
        for number, ids in list(self._open.items()):
            if loose[number] == len(ids):
                self._write_part(number, ids)
                self.files.pack(number, ids)
                del self._open[number]

    def write_table(self, path: Path) -> None:
        """Write the whole table: one row group for each group of images, whoever wrote its parts.

        Args:
            path: The file.

        Raises:
            InputError: If an image cannot be read, or the file cannot be written.
        """
        own: dict[str, type] = {}
        for number in range(self._full):
            own |= self._kinds(self._part(number))
        rest = self.ids[self._full * self.size :]
        last = [self._rows(image_id) for image_id in rest]
        for rows in last:
            own |= rows.own
        columns = schema(self.radii, own)
        with whole_file(path) as file, pq.ParquetWriter(file, columns) as writer:
            for number in range(self._full):
                writer.write_table(_with_columns(self._part(number), columns))
            if last or not self._full:
                writer.write_table(pa.Table.from_pylist([row for rows in last for row in rows.entries], columns))

    def clear(self) -> None:
        """Delete the parts of the table, which are superfluous once the whole table is there."""
        for path in parts_in(self.parts):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody else's files may be there
            self.parts.rmdir()

    def _path(self, number: int) -> Path:
        return self.parts / f"{number:05d}.parquet"

    def _rows(self, image_id: str) -> ImageRows:
        return self._kept.get(image_id) or self._rows_of(image_id)

    def _part(self, number: int) -> pa.Table:
        """The rows of a full group; written anew unless they are there in the present form."""
        ids = self.ids_of(number)
        with suppress(FileNotFoundError, InputError):
            table = read_table(self._path(number), MAX_ROWS * self.size)
            same = list(dict.fromkeys(table.column("id").to_pylist())) == list(ids)
            if same and table.schema == schema(self.radii, self._rows(ids[0]).own):
                return table
        self._write_part(number, ids)
        return read_table(self._path(number), MAX_ROWS * self.size)  # as whoever reads it gets it

    def _write_part(self, number: int, ids: Sequence[str]) -> None:
        own: dict[str, type] = {}
        entries: list[dict[str, Any]] = []
        for image_id in ids:
            rows = self._rows(image_id)
            entries += rows.entries
            own |= rows.own
        table = pa.Table.from_pylist(entries, schema(self.radii, own))
        self.parts.mkdir(exist_ok=True)
        with whole_file(self._path(number)) as file:
            pq.write_table(table, file)
        for image_id in ids:
            self._kept.pop(image_id, None)

    def _kinds(self, table: pa.Table) -> dict[str, type]:
        """Columns of a part that not every table has."""
        known = schema(self.radii).names
        python = {pa.string(): str, pa.int64(): int, pa.float64(): float}
        return {field.name: python[field.type] for field in table.schema if field.name not in known}


def _with_columns(table: pa.Table, columns: pa.Schema) -> pa.Table:
    """The table with more columns, which are empty."""
    held = set(table.column_names)
    arrays = [
        table.column(field.name) if field.name in held else pa.nulls(table.num_rows, field.type) for field in columns
    ]
    return pa.table(arrays, schema=columns)


def parts_in(folder: Path) -> Iterator[Path]:
    """The parts of a table in a folder, in order; their content is not read.

    Args:
        folder: The folder; it need not exist.
    """
    return (path for path in sorted(folder.glob("*.parquet")) if _PART.fullmatch(path.name))
