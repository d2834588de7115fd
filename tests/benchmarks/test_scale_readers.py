"""The jobs whose cost is measured do their work on a run."""

import pytest
from fabricated_runs import make_run

from benchmarks.scale_readers import JOBS


@pytest.mark.parametrize("name", [name for name in JOBS if name not in ("read", "WandbLogger, offline", "recertify")])
def test_each_job_writes_something(tmp_path, name):
    run = make_run(tmp_path / "run", count=2)
    (tmp_path / "place").mkdir()
    JOBS[name](run, tmp_path / "place")
    assert any(path.stat().st_size for path in (tmp_path / "place").rglob("*") if path.is_file())
