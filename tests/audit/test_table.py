"""The comparison of a table with derived rows takes time in proportion to their number."""

import pyarrow as pa

from lit_certattr.audit import table as table_module
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


class Watched:
    """A table that is asked for some rows at once, and not for all of them."""

    def __init__(self, table):
        self._table, self.asked = table, []

    def __getattr__(self, name):
        assert name != "to_pylist"
        return getattr(self._table, name)

    def slice(self, start, count):
        self.asked.append((start, count))
        return self._table.slice(start, count)


def test_few_rows_of_the_table_are_in_memory_at_once(monkeypatch):
    monkeypatch.setattr(table_module, "PIECE", 10)
    rows = [{"id": f"image-{n:03d}", "certificate": "pixel", "level": 0, "share": n / 35} for n in range(35)]
    table = Watched(pa.Table.from_pylist(rows, COLUMNS))
    wrong = [row | {"share": 2.0} if row["id"] in ("image-003", "image-034") else row for row in rows]
    found = [finding.place for finding in check_table(table, wrong, COLUMNS)]
    assert found == [f"results.parquet, image-0{number}, pixel, level 0" for number in ("03", "34")]
    assert table.asked == [(0, 10), (10, 10), (20, 10), (30, 10)] * 2  # the keys, then the values
