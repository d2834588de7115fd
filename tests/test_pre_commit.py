"""What a commit is checked for is what CI checks: the hooks run the tools of ``make lint`` over the same files."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]


def commands_of_lint() -> set[str]:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    return {line.strip().replace("$(BIN)/", "") for line in recipe[1].splitlines()}


def test_hooks_run_the_tools_of_make_lint():
    hooks = {hook["entry"].removeprefix(".venv/bin/") for hook in HOOKS if hook["entry"].startswith(".venv/bin/")}
    for_a_commit = {
        "ruff check --fix": "ruff check .",
        "ruff format": "ruff format --check .",
    }  # they mend what they can
    assert {for_a_commit.get(hook, hook) for hook in hooks} == commands_of_lint()
    assert "make lint" in (ROOT / ".ci/run").read_text().splitlines()


def test_hooks_see_every_file_that_make_lint_sees():
    for hook in HOOKS[:2]:
        assert set(hook["types_or"]) == {"python", "pyi", "jupyter"}  # what ruff looks at in a folder
    pattern = re.compile(next(hook["files"] for hook in HOOKS if hook["id"] == "mypy"))
    assert all(pattern.search(name) for name in ("lit_certattr/errors.py", "tests/networks.py", "pyproject.toml"))


def test_types_are_checked_wherever_there_is_code():
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert {"lit_certattr", "benchmarks", "tests"} <= set(checked["files"])
    helpers = [path for path in (ROOT / "tests").rglob("*.py") if not path.name.startswith("test_")]
    exclude = re.compile(checked["exclude"][0])
    assert helpers
    assert not [path for path in helpers if exclude.search(path.relative_to(ROOT).as_posix())]
