"""The comparison of a table with derived rows takes time in proportion to their number."""

import pyarrow as pa

from lit_certattr.audit.table import check_table

COLUMNS = pa.schema([("id", pa.string()), ("certificate", pa.string()), ("level", pa.int64()), ("share", pa.float64())])


class Counted(str):
    """An id that counts how often it is looked up."""

    lookups = 0

    def __hash__(self):
        Counted.lookups += 1
        return super().__hash__()


def _lookups(count):
    rows = [{"id": f"image-{n:03d}", "certificate": "pixel", "level": 0, "share": n / count} for n in range(count)]
    table = pa.Table.from_pylist(rows, COLUMNS)
    Counted.lookups = 0
    assert not list(check_table(table, [row | {"id": Counted(row["id"])} for row in rows], COLUMNS))
    return Counted.lookups


def test_twice_as_many_rows_are_looked_up_twice_as_often():
    assert _lookups(100) == 2 * _lookups(50) > 0
