import logging
import sys

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lit_certattr.cli.errors import explain, one_line_errors
from lit_certattr.errors import InputError


@pytest.mark.parametrize("error", [InputError("sigma is\n  wrong"), MisconfigurationException("sigma is wrong")])
def test_a_users_mistake_is_one_line_and_status_2(error, capsys):
    with pytest.raises(SystemExit) as stopped, one_line_errors("train.py"):
        raise error
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", "train.py: error: sigma is wrong\n")


def test_a_message_cannot_paint_over_the_terminal(capsys):
    """Names in files of others end up in messages."""
    with pytest.raises(SystemExit), one_line_errors("train.py"):
        raise InputError("class \x1b[2K\x1b[1A'cat'\x07 is unknown")
    assert capsys.readouterr().err == "train.py: error: class ?[2K?[1A'cat'? is unknown\n"


def test_a_program_that_was_started_without_output_goes_on(monkeypatch):
    """As with ``>&-``, or below some daemons: the work must not end in a traceback about a missing stream."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with one_line_errors("train.py"):
        print("finished")
        sys.stdout.write("finished")
    with pytest.raises(SystemExit) as stopped, one_line_errors("train.py"):
        raise InputError("sigma is wrong")
    assert stopped.value.code == 2


def test_a_bug_stays_a_traceback():
    with pytest.raises(ValueError, match="a bug"), one_line_errors("train.py"):
        raise ValueError("a bug")


def test_lightnings_chatter_is_silent_inside_only():
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    with one_line_errors("train.py"):
        assert not logger.isEnabledFor(logging.INFO)
        assert logger.isEnabledFor(logging.WARNING)
    assert logger.level == before


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            'Parser key "trainer.max_epochs":\n  Does not validate against any of the Union subtypes\n'
            "  Subtypes: [<class 'int'>, <class 'NoneType'>]\n  Errors:\n    - Expected a <class 'int'>\n"
            "    - Expected a <class 'NoneType'>\n  Given value type: <class 'str'>\n  Given value: many",
            "trainer.max_epochs: Expected int; Given value: many",
        ),
        (
            'Parser key "model.net":\n\n  - Expected a path but SmalCNN either not accessible or invalid\n'
            "  - Expected a dot import path string: SmalCNN",
            "model.net: there is no class 'SmalCNN' (did you mean SmallCNN?)",
        ),
        ("Unexpected config: ", "it is empty; it must hold settings, e.g. targets: predicted"),
        ("Unexpected config: abc", "it must hold settings, e.g. targets: predicted, and holds abc"),
        (
            'Parser key "certifier.certificates":\n  Does not validate against any of the Union subtypes\n'
            "  Errors:\n    - Expected a Sequence\n    - Problem with given class_path 'a.Pixel':\n"
            "        Parser key \"alpha\":\n          Expected a <class 'float'>. Got value: True\n"
            "  Given value type: <class 'dict'>\n  Given value: {'c0': {'class_path': 'Pixel'}}",
            "certifier.certificates: a.Pixel: alpha: Expected float. Got value: True",
        ),
        ("nothing that is known\nin two lines", "nothing that is known; in two lines"),
    ],
)
def test_explain(message, line):
    import lit_certattr.models  # noqa: F401  the names that a misspelt class is compared with

    assert explain(message) == line


def test_a_misspelt_option_with_dashes():
    assert explain("unrecognized arguments: --max-images 3", ["max_images"]).endswith("(did you mean max_images?)")
