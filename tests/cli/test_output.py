"""A command whose reader leaves ends quietly; a broken pipe to something else is an error."""

import os
import subprocess
import sys
from contextlib import contextmanager, redirect_stdout

import pytest

from lit_certattr.cli.errors import one_line_errors
from lit_certattr.cli.output import on_stdout, reader_may_leave


@contextmanager
def unread():
    """Stdout is a pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as stream, redirect_stdout(stream):
        yield stream


@pytest.mark.parametrize("typed", [["configs", "list"], ["--help"]])
def test_a_reader_that_leaves_ends_the_command_without_a_traceback(typed):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "lit_certattr", *typed]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, timeout=300, check=False)
    os.close(writes)
    assert not done.stderr
    assert done.returncode in (0, 141)


def test_what_does_not_fit_into_a_pipe_nobody_reads_ends_the_command():
    with unread() as stream:
        with pytest.raises(SystemExit) as stop, one_line_errors("certify.py"):
            sys.stdout.write("x" * 100_000)
        stream.write("goes nowhere")
        stream.flush()
    assert stop.value.code == 141


def test_tables_end_the_command_too():
    with unread(), pytest.raises(SystemExit) as stop, reader_may_leave():
        on_stdout().print("x" * 100_000)
    assert stop.value.code == 141


def test_another_exit_status_is_kept():
    def fails():
        sys.stdout.write("buffered")
        sys.exit(3)

    with unread(), pytest.raises(SystemExit) as stop, reader_may_leave():
        fails()
    assert stop.value.code == 3


def test_a_broken_pipe_to_something_else_is_an_error():
    with pytest.raises(BrokenPipeError), reader_may_leave():
        raise BrokenPipeError(32, "Broken pipe")
