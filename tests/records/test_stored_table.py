"""A damaged table is one finding, whatever the damage makes of it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lit_certattr.errors import InputError
from lit_certattr.records import stored_table
from lit_certattr.records.stored_table import read_table


@pytest.mark.parametrize("word", [b"a_long_column", b"a_long_text"])
@pytest.mark.parametrize("value", [0xE4, 0xFF])
def test_names_and_texts_that_are_no_utf8(tmp_path, word, value):
    path = tmp_path / "results.parquet"
    pq.write_table(pa.table({"id": ["x"], "a_long_column": ["a_long_text"]}), path, compression="none")
    assert read_table(path, 1).num_rows == 1
    content = path.read_bytes()
    assert word in content
    path.write_bytes(content.replace(word, bytes([value]) + word[1:]))
    with pytest.raises(InputError, match="no table, or damaged"):
        read_table(path, 1)


def test_no_byte_of_a_small_table_makes_the_reader_stumble(tmp_path):
    path = tmp_path / "results.parquet"
    pq.write_table(pa.table({"id": ["x", "y"], "share": [0.5, 0.25]}), path)
    content = path.read_bytes()
    complaints = []
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xA5]) + content[place + 1 :])
        try:
            read_table(path, 2).to_pylist()
        except InputError as error:
            complaints.append(str(error))
    assert complaints
    assert not any("\n" in complaint for complaint in complaints)


def test_only_the_columns_that_are_asked_for_are_read(tmp_path):
    path = tmp_path / "results.parquet"
    pq.write_table(pa.table({"id": ["x", "y"], "share": [0.5, 0.25], "other": [1, 2]}), path)
    assert read_table(path, 2, only=("id", "share", "absent")).column_names == ["id", "share"]


def test_a_table_of_many_images_may_be_larger(tmp_path, monkeypatch):
    """The limit is there for files of others, and must not refuse the table of a run of 100,000 images."""
    path = tmp_path / "results.parquet"
    pq.write_table(pa.table({"id": ["x"] * 100, "share": [0.5] * 100}), path)
    monkeypatch.setattr(stored_table, "_MAX_MEMORY", 500)
    monkeypatch.setattr(stored_table, "_PER_IMAGE", 100)
    assert stored_table.read_table(path, 20 * stored_table.MAX_ROWS).num_rows == 100
    with pytest.raises(InputError, match="more than the 500 allowed"):
        stored_table.read_table(path, 5 * stored_table.MAX_ROWS)
