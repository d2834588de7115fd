"""The home directory in paths that no shell has read."""

from pathlib import Path

import pytest

from lit_certattr import certify
from lit_certattr.errors import InputError
from lit_certattr.files.home import at_home
from lit_certattr.models import SmallCNN


def test_home_is_put_in_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert at_home("~/a") == tmp_path / "a"
    assert at_home("~nobody_of_this_name/a") == Path("~nobody_of_this_name/a")


def test_an_image_of_an_unknown_user_is_refused_in_one_line():
    with pytest.raises(InputError, match="no such file"):
        certify(SmallCNN(), "~nobody_of_this_name/cat.jpg")
