"""Where packages are installed: not only where this interpreter puts them."""

import json

import pytest
import torch

from lit_certattr.settings.places import is_installed_file


def _written(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_python_and_its_packages_are_installed():
    assert is_installed_file(json.__file__)
    assert is_installed_file(torch.__file__)
    assert not is_installed_file(__file__)


@pytest.mark.parametrize("folder", ["lib/python3.11/site-packages", "lib/python3/dist-packages"])
def test_packages_of_the_system_and_of_the_home_are_installed(tmp_path, folder):
    assert is_installed_file(_written(tmp_path / folder / "torch" / "nn" / "modules.py"))
    assert not is_installed_file(_written(tmp_path / "lib" / "mine.py"))


def test_what_an_installer_has_recorded_is_installed_and_what_lies_beside_it_is_not(tmp_path):
    """As after pip install --target, or where a cache is linked to."""
    _written(tmp_path / "torch-2.14.dist-info" / "RECORD").write_text(
        "../bin/torchrun,sha256=a,1\ntorch/__init__.py,sha256=b,2\nsingle.py,sha256=c,3\n"
    )
    _written(tmp_path / "mine-1.egg-info" / "RECORD").write_text("mine.py,,\n")  # of an editable package
    assert is_installed_file(_written(tmp_path / "torch" / "nn" / "modules.py"))
    assert is_installed_file(_written(tmp_path / "single.py"))
    assert not is_installed_file(_written(tmp_path / "mine.py"))
    assert not is_installed_file(_written(tmp_path / "users" / "torch" / "mine.py"))


def test_a_record_that_cannot_be_read_says_nothing(tmp_path):
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "broken-1.dist-info" / "RECORD").symlink_to(tmp_path / "nothing")
    assert not is_installed_file(_written(tmp_path / "broken" / "mine.py"))
