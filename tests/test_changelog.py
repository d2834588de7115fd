"""The changelog has an entry for the version that is installed."""

import re
import tomllib
from pathlib import Path

import lit_certattr

ROOT = Path(__file__).parents[1]


def test_the_version_has_an_entry():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    entries = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert entries[0] in (version, "Unreleased")
    assert version in entries
    assert lit_certattr.__version__ == version
