"""Configuration files that name the files below them."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from lit_certattr.cli.certify import main as certify
from lit_certattr.cli.layers import packaged, stack
from lit_certattr.cli.train import main

CONFIGS = Path(__file__).parents[2] / "configs"
DIGITS, TRADES = CONFIGS / "train/digits.yaml", CONFIGS / "objective/trades.yaml"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])


def parsed(capsys, *args: str) -> dict:
    with pytest.raises(SystemExit) as stop:
        main(["fit", *args, "--print_config"])
    assert stop.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def refused(capsys, *args: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["fit", *args])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_layers_are_the_same_as_one_option_for_each(capsys):
    Path("own").mkdir()
    Path("own/rate.yaml").write_text("model: {optimizer: {init_args: {lr: 1e-5}}}")
    named = f"layers: [{DIGITS}, {TRADES}, rate.yaml]\n"
    own = "model:\n  objective:\n    init_args: {beta: 2.5}\ntrainer: {max_epochs: 3}\n"
    Path("own/stack.yaml").write_text(named + own)
    Path("own/rest.yaml").write_text(own)
    found = parsed(capsys, "--config=own/stack.yaml", "--model.optimizer.init_args.eps=0.5")
    files = [DIGITS, TRADES, "own/rate.yaml", "own/rest.yaml"]
    assert found == parsed(capsys, *[f"--config={file}" for file in files], "--model.optimizer.init_args.eps=0.5")
    assert found["model"]["objective"]["class_path"] == "lit_certattr.objectives.TRADES"
    assert found["model"]["objective"]["init_args"]["beta"] == 2.5
    assert found["model"]["optimizer"]["init_args"]["lr"] == 1e-5


def test_a_file_of_names_alone_and_names_of_names(capsys):
    Path("one.yaml").write_text(f"layers: [{DIGITS}]")
    Path("two.yaml").write_text(f"layers:\n  - one.yaml\n  - {TRADES}\n")
    assert parsed(capsys, "--config=two.yaml") == parsed(capsys, f"--config={DIGITS}", f"--config={TRADES}")


def test_a_later_file_wins_over_the_layers_of_an_earlier_one_and_the_other_way_round(capsys):
    Path("long.yaml").write_text("trainer: {max_epochs: 99}")
    Path("digits.yaml").write_text(f"layers: [{DIGITS}]")
    assert parsed(capsys, "--config=digits.yaml", "--config=long.yaml")["trainer"]["max_epochs"] == 99
    assert parsed(capsys, "--config=long.yaml", "--config=digits.yaml")["trainer"]["max_epochs"] == 20


def test_certify_reads_layers_too(capsys):
    Path("few.yaml").write_text(f"layers: [{CONFIGS}/certify/photographs.yaml]\ncertifier: {{num_samples: 77}}")
    with pytest.raises(SystemExit):
        certify(["run", "--config=few.yaml", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["certifier"]["num_samples"] == 77


@pytest.mark.parametrize(
    "written",
    [
        "name: '1e-4'",
        'name: "1e-4"',
        "name: 0x10",
        "name: 1e-5",
        "name: null",
        "name: '# no comment'",
        "{name: [1, 2]}",
    ],
)
def test_values_beside_the_names_are_read_as_they_were_written(written):
    flow = written.startswith("{")
    text = written.replace("{", "{layers: [below.yaml], ") if flow else f"layers: [below.yaml]\n{written}\n"
    Path("below.yaml").write_text("seed: 1")
    Path("above.yaml").write_text(text)
    (_, first), (_, second) = stack("above.yaml")
    assert Path(first).name == "below.yaml"
    assert yaml.safe_load(second) == yaml.safe_load(written)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"a": "layers: [nowhere.yaml]"},
            r"config a\.yaml: there is no file nowhere.yaml, which is listed under layers",
        ),
        ({"a": "layers: [a.yaml]"}, r"config a\.yaml: its layers lead back to a\.yaml"),
        ({"a": "layers: [b.yaml]", "b": "layers: [./a.yaml]"}, r"config .*b\.yaml: its layers lead back to \./a\.yaml"),
        ({"a": "layers: b.yaml"}, r"config a\.yaml: layers must be a list of paths, e\.g\. layers: \["),
        ({"a": "layers: [{b: c}]"}, r"config a\.yaml: layers must be a list of paths"),
        (
            {"a": "layers: [b.yaml]\nseed_everything: {x: 1, x: 2}", "b": "{}"},
            r"config a\.yaml: the key 'x' is there twice",
        ),
        (
            {"a": "layers: [b.yaml]", "b": "model: {net: {class_path: Nothing}}"},
            r"config .*b\.yaml: .*no class 'Nothing'",
        ),
        (
            {"a": "layers: [b.yaml]\nmodel: {net: {class_path: Nothing}}", "b": "{}"},
            r"config a\.yaml: .*no class 'Nothing'",
        ),
    ],
)
def test_mistakes_are_one_line_that_names_the_file(files, said, capsys):
    for name, text in files.items():
        Path(f"{name}.yaml").write_text(text)
    line = refused(capsys, "--config=a.yaml")
    assert re.search(said, line), line


def test_a_file_may_be_named_twice_but_not_by_itself(capsys):
    Path("epochs.yaml").write_text("trainer: {max_epochs: 4}")
    Path("a.yaml").write_text(f"layers: [epochs.yaml, {DIGITS}, epochs.yaml]")
    assert parsed(capsys, "--config=a.yaml")["trainer"]["max_epochs"] == 4


@pytest.mark.parametrize("name", ["train/digits.yaml", "configs/train/digits.yaml"])
def test_configurations_of_the_package_need_not_be_copied(name, capsys):
    assert parsed(capsys, f"--config={name}") == parsed(capsys, f"--config={DIGITS}")


def test_a_file_of_the_user_comes_before_that_of_the_package(capsys):
    Path("configs/train").mkdir(parents=True)
    Path("configs/train/digits.yaml").write_text(f"layers: [{DIGITS}]\ntrainer: {{max_epochs: 77}}\n")
    assert parsed(capsys, "--config=configs/train/digits.yaml")["trainer"]["max_epochs"] == 77


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("train/digitz.yaml", "did you mean train/digits.yaml?"),
        ("configs/train/digit.yaml", "did you mean train/digits.yaml?"),
        ("train/digits", "did you mean train/digits.yaml?"),
        ("digits.yaml", "did you mean data/digits.yaml or train/digits.yaml?"),
        ("nothing_of_the_kind.yaml", "those of the package are listed by lit-certattr configs list"),
    ],
)
def test_a_mistyped_configuration_names_the_one_that_is_meant(name, meant, capsys):
    assert refused(capsys, f"--config={name}").endswith(f"no such configuration of the package; {meant}")


@pytest.mark.parametrize("name", ["train/digitz.yaml", "../configs/train/digits.yaml", "configs/../pyproject.toml"])
def test_nothing_but_its_configurations_is_found_in_the_package(name):
    assert packaged(name) == name


def test_a_configuration_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert packaged("~/digits.yaml") == str(tmp_path / "digits.yaml")
    assert packaged("~digits.yaml") == "~digits.yaml"
