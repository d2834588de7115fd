"""The lines of docs/scale.md that read the table of a run that goes on."""

import re
from pathlib import Path

import pandas as pd
import pytest

from lit_certattr.records import RunDirectory
from lit_certattr.records.run_directory import image_rows
from lit_certattr.records.table import RADII

PAGE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text()
WRITTEN = "runs/certify/many"


@pytest.fixture
def unfinished(tmp_path, monkeypatch, certified):
    """A run with two finished groups of two images, and one image more."""
    monkeypatch.setattr(RunDirectory, "group_size", 2)
    entries = list(certified(5))
    directory = RunDirectory(tmp_path / "run")
    directory.open({"sigma": 0.25})
    groups = directory.groups([image_id for image_id, *_ in entries] + ["later"])
    groups.start(directory.finished())
    for image_id, image, results, clean in entries:
        directory.write(image_id, results, image, clean, {"label": 1})
        groups.add(image_id, image_rows(image_id, results, {"label": 1}, RADII))
    return directory


def _block(language, beginning):
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (found,) = (block for block in blocks if beginning in block)
    return found


def test_pandas_reads_the_parts(unfinished):
    space = {}
    exec(_block("python", "import pandas").replace(WRITTEN, str(unfinished.path)), space)
    assert space["table"]["id"].nunique() == 4


def test_duckdb_reads_the_parts(unfinished):
    """DuckDB is no requirement; ``pip install duckdb`` runs this test."""
    duckdb = pytest.importorskip("duckdb")
    found = dict(duckdb.sql(_block("sql", "SELECT").replace(WRITTEN, str(unfinished.path))).fetchall())
    table = pd.read_parquet(unfinished.parts)
    expected = table.groupby("certificate")["mean_radius"].mean()
    assert found.keys() == set(table["certificate"])
    assert {name: value for name, value in found.items() if value is not None} == pytest.approx(
        expected.dropna().to_dict()
    )
