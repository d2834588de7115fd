"""Every notebook runs from top to bottom, with fewer samples than it shows."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells for line in [*cell["source"], "\n"] if not line.startswith("%")]
    source = "".join(lines)
    assert "num_samples = 300" in source
    exec(compile(source.replace("num_samples = 300", "num_samples = 32"), path.name, "exec"), {})
