"""The README's first example runs as it stands, with fewer samples."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_first_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[0]
    assert "num_samples=500" in example
    exec(example.replace("num_samples=500", "num_samples=48"), {})
    assert "no perturbation of the image" in capsys.readouterr().out
    assert (tmp_path / "cat.png").stat().st_size > 10_000


def test_every_file_that_it_names_exists():
    text = README.read_text()
    named = re.findall(r"\]\((?!http)([^)#]+)\)", text) + re.findall(r"configs/[\w/]+\.yaml", text)
    assert named
    for path in named:
        assert (README.parent / path).exists(), path
