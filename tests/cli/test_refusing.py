"""Of several processes that find the same mistake, the first one prints it; a mistake of another one is seen, too."""

import signal
import warnings

import pytest
from torch import distributed

from lit_certattr.cli import refusing
from lit_certattr.cli.errors import one_line_errors
from lit_certattr.errors import InputError, SharedError

TORCHRUN = {"RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}  # the first process of the second machine
SLURM = {"SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
TRAINER = {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}


@pytest.fixture
def waits(monkeypatch):
    """How long the process has waited, each time."""
    seconds: list[float] = []
    monkeypatch.setattr(refusing.time, "sleep", seconds.append)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield seconds
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def group():
    """A group of processes, in which they have met."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def _is(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def _refused(capsys, error=InputError):
    with pytest.raises(SystemExit) as ended, one_line_errors("certify.py"):
        raise error("alpha must be below 1")
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("variables", [{}, TORCHRUN | {"RANK": "0"}, SLURM | {"SLURM_PROCID": "0"}])
def test_the_first_process_prints_at_once(monkeypatch, capsys, waits, variables):
    _is(monkeypatch, variables)
    assert _refused(capsys) == "certify.py: error: alpha must be below 1\n"
    assert _refused(capsys, SharedError) == "certify.py: error: alpha must be below 1\n"
    assert not waits


@pytest.mark.parametrize("variables", [TORCHRUN, SLURM])
def test_another_one_gives_the_first_the_time_to_say_the_same(monkeypatch, capsys, waits, variables):
    _is(monkeypatch, variables)
    assert _refused(capsys) == "certify.py: error: process 1: alpha must be below 1\n"
    (seconds,) = waits
    assert seconds >= 30
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "the launcher ends it without a word"


def test_what_only_another_one_can_know_is_printed_at_once(monkeypatch, capsys, waits, group):
    _is(monkeypatch, TORCHRUN)
    assert _refused(capsys) == "certify.py: error: process 1: alpha must be below 1\n"
    assert not waits


def test_a_process_that_the_first_has_started_has_a_mistake_of_its_own(monkeypatch, capsys, waits):
    _is(monkeypatch, TRAINER)
    assert _refused(capsys) == "certify.py: error: process 1: alpha must be below 1\n"
    assert not waits


@pytest.mark.parametrize("variables", [TORCHRUN, SLURM, TRAINER])
def test_what_all_say_together_is_left_to_the_first(monkeypatch, capsys, waits, variables):
    _is(monkeypatch, variables)
    assert _refused(capsys, SharedError) == ""
    assert not waits


def _warned(capsys):
    with one_line_errors("certify.py"), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("few images", stacklevel=1)
    return capsys.readouterr().err


@pytest.mark.parametrize("variables", [TORCHRUN, SLURM, TRAINER])
def test_the_first_process_warns_for_all_until_they_meet(monkeypatch, capsys, variables):
    assert _warned(capsys) == "certify.py: warning: few images\n"
    _is(monkeypatch, variables)
    assert _warned(capsys) == ""


def test_a_warning_about_its_own_images_is_printed_by_each(monkeypatch, capsys, group):
    _is(monkeypatch, TORCHRUN)
    assert _warned(capsys) == "certify.py: warning: process 1: few images\n"
