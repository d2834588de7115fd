"""Random configurations of the commands end well or in one line: a few of them, and that a fault would be seen."""

import contextlib
import random

import pytest
import yaml

from benchmarks.drawn_configs import ROOMS, UndrawableError, drawn, exported, run_config, spoil
from benchmarks.fuzz import Ended, attempt, classes_in, left_over, prepare


@pytest.mark.slow
def test_random_configurations(tmp_path):
    accepted = 0
    for number in range(4):
        dice = random.Random(f"configuration {number}")
        config = run_config(dice)
        (tmp_path / str(number)).mkdir()
        with contextlib.chdir(tmp_path / str(number)):
            prepare()
            tried = attempt(config, dice)
        assert tried.faults == (), config
        accepted += tried.accepted
    assert accepted > 0


@pytest.mark.parametrize("base", ROOMS)
def test_every_exported_class_can_be_drawn(base):
    assert exported(base)
    for one in exported(base):
        with contextlib.suppress(UndrawableError):
            assert drawn(base, random.Random(0), [one.__name__])["class_path"].endswith(f".{one.__name__}")
            continue
        pytest.fail(f"no value for a setting of {one.__name__}: add it to benchmarks/drawn_configs.py")


def test_equal_dice_give_equal_configurations():
    one, two = (run_config(random.Random("configuration 3")) for _ in range(2))
    assert one == two == yaml.safe_load(yaml.safe_dump(one))
    assert "SmallCNN" in one["network"]["class_path"]


def test_a_spoilt_configuration_differs_in_one_value():
    config = {"a": {"b": [3.5]}, "class_path": "kept"}
    spoil(config, random.Random(0))
    assert config != {"a": {"b": [3.5]}, "class_path": "kept"}
    assert config["class_path"] == "kept"


@pytest.mark.parametrize(
    ("status", "said", "fault"),
    [
        (0, "certify.py: warning: odd\n", None),
        (2, "certify.py: warning: odd\ncertify.py: error: refused\n", None),
        (2, "", "not refused in one line"),
        (2, "certify.py: error: refused\nfor this reason\n", "not refused in one line"),
        (2, "certify.py: error: one\ncertify.py: error: two\n", "not refused in one line"),
        (0, "certify.py: error: refused\n", "ends well with an error"),
        (1, "Traceback: a bug\n", "status 1"),
        (143, "", "status 143"),
    ],
)
def test_how_a_command_may_end(status, said, fault):
    found = Ended(status, said).fault()
    assert found is None if fault is None else found.startswith(fault)


def test_what_is_left_over_is_seen(tmp_path):
    for name in (".lock", "maps/.a.zip.partial", "maps/a.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.removeprefix(f"{tmp_path}/") for path in left_over(tmp_path)]
    assert found == [".lock", "maps/.a.zip.partial"]


def test_the_classes_of_a_configuration():
    config = {"a": {"class_path": "x.One", "init_args": {"b": [{"class_path": "Two"}, 3]}}, "class_path": None}
    assert set(classes_in(config)) == {"One", "Two"}
