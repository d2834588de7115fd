"""The wheel holds the package with its data and configurations and nothing else; the sources can be tested."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import lit_certattr

INFO = f"lit_certattr-{lit_certattr.__version__}.dist-info"
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILD = "import sys; from hatchling import build; print(getattr(build, f'build_{sys.argv[1]}')(sys.argv[2]))"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Builds one of the two kinds, as a frontend such as pip or build does; hatchling is its only requirement."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")

    def build(kind):
        done = subprocess.run(
            [sys.executable, "-c", BUILD, kind, str(folder)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return folder / done.stdout.split()[-1]

    return build


@pytest.mark.slow
def test_the_wheel_holds_what_users_need_and_nothing_else(built):
    with zipfile.ZipFile(built("wheel")) as wheel:
        names = set(wheel.namelist())
        about = HeaderParser().parsestr(wheel.read(f"{INFO}/METADATA").decode())
    ours = {name.removeprefix("lit_certattr/") for name in names if name.startswith("lit_certattr/")}
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {name for name in ours if name.startswith("configs/")} == configs
    tracked = subprocess.run(
        ["git", "ls-files", "lit_certattr"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {name for name in ours if not name.startswith("configs/")} <= {
        path.relative_to(ROOT / "lit_certattr").as_posix() for path in (ROOT / "lit_certattr").rglob("*")
    }
    assert {name.removeprefix("lit_certattr/") for name in tracked} <= ours, "templates, weights and py.typed included"
    others = {name.split("/")[0] for name in names if not name.startswith("lit_certattr/")}
    assert others == {INFO}
    assert not [name for name in names if "__pycache__" in name or "test_" in name or name.endswith(".pyc")]
    assert set(PROJECT["optional-dependencies"]) == set(about.get_all("Provides-Extra"))
    assert f"{INFO}/licenses/LICENSE" in names


@pytest.mark.slow
def test_the_source_distribution_can_be_tested_and_holds_no_leftovers(built):
    with tarfile.open(built("sdist")) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    for name in (
        "pyproject.toml",
        "Makefile",
        "tests/conftest.py",
        "configs/certify/folder.yaml",
        "benchmarks/networks.py",
    ):
        assert name in names
    assert not [name for name in names if name.startswith((".venv", "runs", "data/")) or "__pycache__" in name]
