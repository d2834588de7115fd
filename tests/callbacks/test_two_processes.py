"""Certification over two processes."""

import json
from pathlib import Path

import processes
import pytest


def fit(devices: int, folder: Path) -> list[dict]:
    folder.mkdir()
    script = Path(__file__).with_name("two_processes.py")
    (done,) = processes.run(folder, script.read_text(), (devices, folder))
    assert done.status == 0, done.stderr[-3000:]
    assert "self.log('certified" not in done.stderr  # Lightning's advice to sync what is logged
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(devices)]


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_three_images_on_two_processes(tmp_path):
    (one,) = fit(1, tmp_path / "one")
    first, second = fit(2, tmp_path / "two")
    assert one["ids"] == ["a", "b", "c"]
    assert (first["ids"], second["ids"]) == (["a", "c"], ["b"])  # no image twice, none left out
    assert first["metrics"] == second["metrics"] == one["metrics"]
    assert 0 < one["metrics"]["certified/fraction_k50_r0_05"] < 1
    assert first["rows"] == one["rows"] == sorted("abc" * 3)
    assert first["weights"] == second["weights"]  # the processes still train together
