"""Run the notebooks from top to bottom, and store what they print and draw, with a small picture for the gallery.

    python -m benchmarks.notebooks                       # all of them
    python -m benchmarks.notebooks reading_a_certificate

A notebook has one cell with the tag `parameters`: assignments of numbers. `execute` can put others in their place, so
that the tests run the same cells with fewer samples. The pictures of docs/gallery.md are the last ones that each
notebook draws.
"""

import argparse
import base64
import io
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
GALLERY, WIDTH = FOLDER.parent / "docs" / "images" / "gallery", 720
TIMEOUT = 600
QUIET = "ignore:IProgress not found,ignore:`isinstance(treespec"
"""Warnings of other packages that name a path of the machine: of tqdm and of Lightning."""


def execute(path: Path, parameters: Mapping[str, float] | None = None, folder: Path | None = None) -> NotebookNode:
    """Run a notebook in a fresh kernel.

    Args:
        path: The notebook.
        parameters: Numbers in place of those of its cell with the tag `parameters`.
        folder: Where the kernel works, and where `runs` of the notebook are written; the notebook's own if left out.

    Returns:
        The notebook with its outputs.

    Raises:
        KeyError: If the notebook has no such parameter.
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters:
        cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        cell.source = "\n".join(_replaced(line, dict(parameters)) for line in cell.source.splitlines())
        if missing := [name for name in parameters if f"{name} = " not in cell.source]:
            raise KeyError(f"{path.name} has no parameter {missing[0]}")
    client = NotebookClient(
        notebook, timeout=TIMEOUT, resources={"metadata": {"path": str(folder or path.parent)}}, record_timing=False
    )
    return client.execute(env=os.environ | {"PYTHONWARNINGS": QUIET})


def _replaced(line: str, parameters: Mapping[str, float]) -> str:
    """The line, with the number that the parameters have for its name."""
    name = line.partition(" = ")[0]
    return f"{name} = {parameters[name]!r}" if name in parameters else line


def thumbnail(notebook: NotebookNode) -> Image.Image:
    """The last picture that a notebook draws, small.

    Args:
        notebook: A notebook with its outputs.

    Raises:
        LookupError: If it draws none.
    """
    text = nbformat.writes(notebook)
    found = re.findall(r'(?:data:image/png;base64,|"image/png": ")([A-Za-z0-9+/=]+)', text)
    if not found:
        raise LookupError("the notebook draws no picture")
    picture = Image.open(io.BytesIO(base64.b64decode(found[-1]))).convert("RGB")
    return picture.resize((WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.LANCZOS)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.notebooks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="names of notebooks, without .ipynb; all if left out")
    names = parser.parse_args(argv).names or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in names:
        begin = time.perf_counter()
        notebook = execute(FOLDER / f"{name}.ipynb")
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")
        GALLERY.mkdir(exist_ok=True)
        thumbnail(notebook).save(GALLERY / f"{name}.png", optimize=True)
        print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
