"""Every sweep is a list of commands that train.py accepts."""

import itertools
import sys
from pathlib import Path

import pytest
import yaml

from lit_certattr.cli.train import main

ROOT = Path(__file__).parents[2]
SWEEPS = sorted((ROOT / "configs/sweep").glob("*.yaml"))
COMBINATIONS = 4


def commands(sweep: dict) -> list[list[str]]:
    """What agents run: the first and last combinations of the sweep's values or bounds."""
    names = list(sweep["parameters"])
    choices = [
        spec["values"] if "values" in spec else [spec["min"], spec["max"]] for spec in sweep["parameters"].values()
    ]
    every = list(itertools.product(*choices))
    chosen = every[: COMBINATIONS // 2] + every[-COMBINATIONS // 2 :]
    found = []
    for values in chosen:
        arguments = [f"--{name}={_text(value)}" for name, value in zip(names, values, strict=True)]
        command = [part for part in sweep["command"] if part not in ("${env}", "${interpreter}", "${program}")]
        place = command.index("${args}")
        found.append([*command[:place], *arguments, *command[place + 1 :]])
    return found


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
class TestSweep:
    def test_every_command_is_accepted_and_sets_what_it_says(self, path, monkeypatch, capsys):
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", ["train.py"])
        sweep = yaml.safe_load(path.read_text())
        for command in commands(sweep):
            with pytest.raises(SystemExit) as stop:
                main([*command, "--print_config"])
            assert stop.value.code == 0
            resolved = yaml.safe_load(capsys.readouterr().out)
            for argument in command[1:]:
                name, _, value = argument.removeprefix("--").partition("=")
                if name != "config":
                    found = resolved
                    for part in name.split("."):
                        found = found[part]
                    assert found == type(found)(yaml.safe_load(value)), name
            loggers = resolved["trainer"]["logger"]
            assert [logger["class_path"].rsplit(".")[-1] for logger in loggers] == ["CSVLogger", "WandbLogger"]

    def test_all_its_files_exist_and_it_is_what_an_agent_expects(self, path):
        sweep = yaml.safe_load(path.read_text())
        assert sweep["method"] in ("grid", "random", "bayes")
        assert (ROOT / sweep["program"]).exists()
        assert set(sweep["metric"]) == {"name", "goal"}
        named = [part.removeprefix("--config=") for part in sweep["command"] if part.startswith("--config=")]
        named += sweep["parameters"].get("config", {}).get("values", [])
        assert all((ROOT / name).exists() for name in named)
        known = {"val/accuracy", "val/loss"}
        if "configs/trainer/certified.yaml" in named:
            known.add("certified/selected")
        assert sweep["metric"]["name"] in known
        assert sweep["method"] != "grid" or all("values" in spec for spec in sweep["parameters"].values())
