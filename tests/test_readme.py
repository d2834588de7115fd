"""The README's first example runs as it stands, with fewer samples."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import chelsea

from lit_certattr.cli import certify, train

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_first_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(chelsea()).save("cat.jpg")
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


@pytest.mark.parametrize("wandb", [False, True])
def test_commands_are_accepted(wandb, monkeypatch, capsys):
    monkeypatch.chdir(README.parent)
    monkeypatch.setattr("sys.argv", ["pytest"])  # Lightning warns of arguments that it would ignore
    mains = {"train": train.main, "certify": certify.main}
    layers = {
        "train": ["--config", "configs/logger/wandb_offline.yaml"],
        "certify": ["--logger", "WandbLogger", "--logger.init_args.offline", "true"],
    }
    assert all(" ".join(layer) in README.read_text() for layer in layers.values())
    commands = re.findall(r"^python (train|certify)\.py ((?:fit|run) [^#\n]+)", README.read_text(), re.MULTILINE)
    assert {program for program, _ in commands} == {"train", "certify"}
    for program, arguments in commands:
        with pytest.raises(SystemExit) as stop:
            mains[program]([*shlex.split(arguments), *(layers[program] if wandb else []), "--print_config"])
        assert stop.value.code == 0
        assert ("WandbLogger" in capsys.readouterr().out) == wandb
