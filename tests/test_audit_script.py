"""``make audit`` never ends well if nothing was audited."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci/audit.py"


@pytest.fixture(scope="module")
def judge():
    spec = importlib.util.spec_from_file_location("audit_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.judge


OWN = {"name": "lit-certattr", "skip_reason": "unknown"}
FINE = {"name": "one", "version": "1.0", "vulns": []}
WEAK = {"name": "two", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "three", "skip_reason": "not found"}


def test_nothing_audited_is_a_failure(judge):
    status, (line,) = judge([OWN, UNKNOWN, UNKNOWN | {"name": "four"}])
    assert status == 2
    assert "none of the 2 packages" in line
    assert "NOTHING was audited" in line


def test_a_weakness_is_named_with_the_version_that_mends_it(judge):
    status, lines = judge([OWN, FINE, WEAK, UNKNOWN])
    assert status == 1
    assert lines == [
        "two 2.0: CVE-1, mended in 2.1",
        "audit: 2 packages audited, 1 known weaknesses",
        "not audited, since the service does not know them: three",
    ]


def test_the_package_itself_need_not_be_known(judge):
    assert judge([OWN, FINE]) == (0, ["audit: 1 packages audited, 0 known weaknesses"])
