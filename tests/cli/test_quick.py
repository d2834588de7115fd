"""What the commands answer without importing torch, and what a plain import of the package imports."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lit_certattr.cli import quick

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "lightning", "numpy", "scipy", "jsonargparse", "matplotlib")
SHOW = (
    "import atexit, sys; "
    f"atexit.register(lambda: sys.stderr.write('heavy=' + str([name for name in {HEAVY} if name in sys.modules])))"
)


def ask(cache, script, *typed, write=True):
    """Run a script in a process of its own, which also says which heavy modules it has imported."""
    program = (
        f"{SHOW}; from pathlib import Path; import lit_certattr.cli.quick as quick; import runpy\n"
        f"quick._file = lambda: Path({str(cache)!r}) / 'quick-0.json'\n"
        f"sys.dont_write_bytecode = {not write}; sys.argv = {[script, *typed]!r}\n"
        f"runpy.run_path({script!r}, run_name='__main__')"
    )
    own = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=own, capture_output=True, text=True, timeout=300, check=False
    )


def quickly(done):
    return done.stderr.endswith("heavy=[]")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_the_second_command_answers_without_torch(cache):
    first = ask(cache, "certify.py", "compare", "--help")
    assert not quickly(first)
    assert first.returncode == 0
    second = ask(cache, "certify.py", "compare", "--help")
    assert quickly(second)
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert second.stdout.startswith("usage: certify.py")
    for typed, said in (
        (["run", "--confg", "x"], "unrecognized arguments: --confg (did you mean config?)"),
        (["run", "--certifier.nois.sigma=3"], "did you mean certifier.noise?"),
        (["rnu"], "invalid choice: 'rnu' (choose from 'plan'"),
    ):
        wrong = ask(cache, "certify.py", *typed)
        assert quickly(wrong), wrong.stderr
        assert wrong.returncode == 2
        assert said in wrong.stderr
        assert wrong.stderr.startswith("certify.py: error: ")
        assert wrong.stderr.count("\n") == 1
    renamed = ask(cache, "certify.py", "run", "--samples=3")
    assert "--samples is now called --num_samples" in renamed.stderr, "the command has its own word for it"


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_nothing_is_left_where_python_leaves_nothing(tmp_path):
    done = ask(tmp_path, "train.py", "ft", write=False)
    assert done.returncode == 2
    assert "invalid choice" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A file of known options of a small program."""
    file = tmp_path / "quick-0.json"
    monkeypatch.setattr(quick, "_file", lambda: file)
    options = ["config", "network", "network.help", "trainer", "trainer.devices", "h", "help"]
    file.write_text(json.dumps({"certify options": {"run": options, "audit": ["fresh"]}}))
    return file


def reached(*typed):
    """Whether the command itself is asked."""
    asked = []
    with contextlib.suppress(SystemExit):
        quick.run("certify", typed, lambda: asked.append(True))
    return bool(asked)


@pytest.mark.parametrize(
    "typed",
    [
        ["run", "--config=a", "--network.width", "3", "--trainer.devices=2"],
        ["run", "--network=A", "--network.help=A"],
        ["run", "--network+=B"],
        ["run", "value", "--", "--anything"],
        ["audit", "here", "--fresh"],
        ["--config=a", "run", "--help"],
        [],
    ],
)
def test_what_may_be_right_reaches_the_command(known, typed):
    assert reached(*typed)


@pytest.mark.parametrize(
    "typed", [["rn"], ["run", "--confg=a"], ["run", "--trainer.device=2"], ["audit", "here", "--config=a"]]
)
def test_what_is_wrong_for_sure_does_not(known, typed):
    assert not reached(*typed)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"certify options": 3}'])
def test_a_damaged_file_is_no_file(known, content):
    known.write_text(content)
    assert reached("run", "--confg")


def test_the_file_belongs_to_the_sources(tmp_path, monkeypatch):
    (tmp_path / "one.py").write_text("1")
    monkeypatch.setattr(quick, "_PACKAGE", tmp_path)
    before = quick._file()
    assert quick._file() == before
    (tmp_path / "one.py").write_text("12")
    assert quick._file() != before


@pytest.mark.slow
def test_the_package_imports_nothing_heavy():
    code = "import sys; before = len(sys.modules); import lit_certattr; print(len(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", f"{SHOW}; {code}"], capture_output=True, text=True, timeout=100, check=True
    )
    assert quickly(done), done.stderr
    assert int(done.stdout) < 40


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_backend_of_matplotlib_that_is_not_there_stops_nothing():
    environment = {**os.environ, "MPLBACKEND": "foo"}
    command = [sys.executable, ROOT / "certify.py", "status", "nothing_there"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nothing_there is no directory" in done.stderr
