"""What a signal does to a command: in this process with a real signal, and to a command of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
import torch
from lightning import Trainer

from lit_certattr.cli.errors import one_line_errors
from lit_certattr.cli.signals import stop_on_signals

ROOT = Path(__file__).parents[2]


def _advice():
    return "Run it again."


def _interrupted(name, cleanup):
    """What a command does that is stopped and then cleans up."""
    with one_line_errors("train.py"), stop_on_signals("train.py", _advice):
        try:
            signal.raise_signal(getattr(signal, name))
        finally:
            cleanup()


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)])
def test_a_signal_is_one_line_and_its_status(name, status, capsys, request):
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    kept = [signal.signal(number, signal.SIG_DFL) for number in numbers]  # nohup lets SIGHUP be ignored
    request.addfinalizer(lambda: [signal.signal(*pair) for pair in zip(numbers, kept, strict=True)])
    before = [signal.getsignal(number) for number in numbers]
    cleaned = []
    with pytest.raises(SystemExit) as stopped:
        _interrupted(name, lambda: cleaned.append(True))
    assert stopped.value.code == status
    assert cleaned == [True]
    assert capsys.readouterr() == ("", f"train.py: stopped by {name}. Run it again.\n")
    assert [signal.getsignal(number) for number in numbers] == before


def test_what_the_signal_breaks_does_not_hide_it(capsys):
    """A library that is interrupted may raise something of its own."""

    def fail():
        raise RuntimeError("the other process is gone")

    with pytest.raises(SystemExit) as stopped:
        _interrupted("SIGTERM", fail)
    assert stopped.value.code == 143
    assert capsys.readouterr().err == "train.py: stopped by SIGTERM. Run it again.\n"


def test_a_signal_that_is_sent_twice_at_once_counts_once(capsys):
    """As timeout(1) does: to the process, and to its group."""
    cleaned = []

    def cleanup():
        signal.raise_signal(signal.SIGTERM)
        cleaned.append(True)

    with pytest.raises(SystemExit) as stopped:
        _interrupted("SIGTERM", cleanup)
    assert stopped.value.code == 143
    assert cleaned == [True]
    assert capsys.readouterr().err.count("\n") == 1


def test_without_a_signal_nothing_changes():
    with stop_on_signals("train.py", _advice):
        pass
    with pytest.raises(ValueError, match="a bug"), stop_on_signals("train.py", _advice):
        raise ValueError("a bug")


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_trainer_ends_in_order(name, status, capsys):
    """Lightning installs handlers of its own; callbacks hear of the end."""
    import lightning

    heard = []

    class Hears(lightning.Callback):
        def on_exception(self, trainer, pl_module, exception):
            heard.append(type(exception).__name__)

    class Module(lightning.LightningModule):
        def predict_step(self, batch, batch_idx):
            signal.raise_signal(getattr(signal, name))

    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, callbacks=[Hears()],
        enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(SystemExit) as stopped, stop_on_signals("certify.py", _advice):
        trainer.predict(Module(), torch.utils.data.DataLoader([0, 1]))
    assert stopped.value.code == status
    assert heard == ["Stopped"]
    assert capsys.readouterr().err.splitlines()[-1] == f"certify.py: stopped by {name}. Run it again."


@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_while_the_scripts_import(name, status):
    script = f"import startup, signal; signal.raise_signal(signal.{name}); print('never')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    said = f"-c: stopped by {name}. Nothing was begun; run the same command again.\n"
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)
    for command in ("certify.py", "train.py"):
        assert (ROOT / command).read_text().startswith("import startup")


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_second_signal_ends_a_command_that_hangs(tmp_path):
    script = (
        "import time\n"
        "from lit_certattr.cli.signals import stop_on_signals\n"
        "with stop_on_signals('train.py', lambda: 'never said'):\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('hangs', flush=True)\n"
        "        time.sleep(60)\n"
    )
    process = processes.start(tmp_path / "program", script)
    _wait_for(tmp_path / "program.out", "ready\n")
    process.signal(signal.SIGTERM)
    _wait_for(tmp_path / "program.out", "ready\nhangs\n")
    time.sleep(1.1)
    process.signal(signal.SIGTERM)
    assert process.end() == (-signal.SIGTERM, "ready\nhangs\n", "")


def _wait_for(file, text):
    deadline = time.monotonic() + 100
    while not file.exists() or file.read_text() != text:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 7), ("SIGTERM", -signal.SIGTERM)])
def test_a_forked_worker_ends_when_its_parent_says_so(name, status):
    """Ctrl+C reaches all processes of a terminal; the parent ends its workers with SIGTERM."""
    with stop_on_signals("train.py", _advice):
        pid = os.fork()
        if pid == 0:
            signal.raise_signal(getattr(signal, name))
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
