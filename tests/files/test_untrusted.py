"""Files of others: JSON and YAML whose readers would differ in what they say, and files that are too large."""

import json
import tracemalloc
from pathlib import Path

import pytest

from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_json, read_whole, read_yaml


@pytest.mark.parametrize("read", [read_json, read_yaml])
@pytest.mark.parametrize("text", ['{"seed": 0, "seed": 1}', '{"a": [{"seed": 0, "seed": 0}]}'])
def test_a_key_that_is_there_twice_is_refused_at_any_depth(read, text, tmp_path):
    path = tmp_path / "settings"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: has the key 'seed' twice"


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_equal_keys_of_different_objects_are_read(read, tmp_path):
    content = {"a": {"seed": 0}, "b": [{"seed": 1}, {"seed": 1}], "1": 2}
    (tmp_path / "settings").write_text(json.dumps(content))
    assert read(tmp_path / "settings") == content


def test_a_small_file_takes_no_memory_for_a_large_one(tmp_path):
    path = tmp_path / "small"
    path.write_bytes(b"content")
    tracemalloc.start()
    try:
        assert read_whole(path, 2**30) == b"content"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert read_whole(path, 7) == b"content"
    assert read_whole(Path("/proc/self/status"), 2**20).startswith(b"Name:")  # whose size is said to be 0
