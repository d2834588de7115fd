"""JSON and YAML of others whose readers would differ in what they say."""

import json

import pytest

from lit_certattr.errors import InputError
from lit_certattr.files.untrusted import read_json, read_yaml


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
