"""docs/objectives.md names every objective and every configuration, and nothing that does not exist."""

import inspect
import re
from pathlib import Path

import pytest

from lit_certattr import objectives
from lit_certattr.objectives import Objective

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/objectives.md").read_text()
CONFIGS = {path.stem for path in (ROOT / "configs/objective").glob("*.yaml")}


def public() -> set[str]:
    kinds = {name: getattr(objectives, name) for name in objectives.__all__}
    return {
        name
        for name, kind in kinds.items()
        if inspect.isclass(kind) and issubclass(kind, Objective) and not inspect.isabstract(kind)
    }


def test_every_objective_and_every_configuration_has_its_line():
    rows = [line for line in TEXT.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"^\| `(\w+)`", "\n".join(rows), re.MULTILINE))
    assert public() - {"RobustTraining"} <= named  # what its subclasses share
    in_parentheses = {
        name for row in re.findall(r"^\| [^|]*\|", TEXT, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    short = {f"norm_regularised{name}" for name in in_parentheses if name.startswith("_")}
    assert in_parentheses | short >= CONFIGS


@pytest.mark.parametrize("path", sorted(set(re.findall(r"configs/[\w/]+\.yaml", TEXT))))
def test_every_file_that_it_names_exists(path):
    assert (ROOT / path).exists()


def test_every_configuration_trains_a_public_objective():
    for path in (ROOT / "configs/objective").glob("*.yaml"):
        (name,) = re.findall(r"^    class_path: lit_certattr\.objectives\.(\w+)$", path.read_text(), re.MULTILINE)
        assert name in public()
