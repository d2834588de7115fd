"""Every notebook runs in a kernel of its own, with smaller numbers than it shows, and is stored with its outputs."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.notebooks import FOLDER, WIDTH, execute

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
QUICK = {
    "max_epochs": 2,
    "max_images": 2,
    "num_samples": 32,
    "repeats": 100,
}
"""What each parameter of a notebook is in this test."""


def cells_of(path, kind="code"):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    (parameters,) = (cell for cell in cells_of(path) if "parameters" in cell["metadata"].get("tags", []))
    names = re.findall(r"^(\w+) = ", "".join(parameters["source"]), flags=re.MULTILINE)
    execute(path, {name: QUICK[name] for name in names}, folder=tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_as_it_ran(path):
    cells = cells_of(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert "image/png" in json.dumps(outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]
    text = path.read_text()
    assert not [word for word in (str(Path.home()), "/tmp/", "site-packages") if word in text]
    assert len(text) < 2_000_000  # a picture of a few hundred kilobytes is large


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_gallery_shows_the_notebook(path):
    page = (FOLDER.parent / "docs" / "gallery.md").read_text()
    assert f"../notebooks/{path.name}" in page
    with Image.open(FOLDER.parent / "docs" / "images" / "gallery" / f"{path.stem}.png") as picture:
        assert picture.width == WIDTH


def test_a_parameter_that_a_notebook_lacks_is_named():
    with pytest.raises(KeyError, match="no parameter no_such"):
        execute(NOTEBOOKS[0], {"no_such": 1})
