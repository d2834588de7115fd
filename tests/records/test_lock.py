"""Two processes on one directory, and what a killed one leaves."""

import errno
import json
import os
import signal
import socket
import time

import pytest

from lit_certattr.errors import InputError
from lit_certattr.records import RunDirectory
from lit_certattr.records.lock import DirectoryLock


@pytest.fixture
def other(tmp_path):
    """Number of another process that holds the lock of ``tmp_path / "run"``: a child of this one."""
    child = os.fork()
    if child == 0:
        try:
            DirectoryLock(tmp_path / "run").take()
            (tmp_path / "taken").touch()
            time.sleep(120)
        finally:  # whatever happens, the child is no second pytest
            os._exit(1)
    while not (tmp_path / "taken").exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        time.sleep(0.01)
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _write(lock, **changes):
    content = {"pid": os.getpid(), "host": socket.gethostname(), "started": "1"} | changes
    lock.path.parent.mkdir(exist_ok=True)
    lock.path.write_text(json.dumps(content))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # a worker of xdist is
def test_another_process_is_refused_and_named_and_a_killed_one_is_not_waited_for(other, tmp_path):
    directory = RunDirectory(tmp_path / "run")
    said = f"in use by process {other} on {socket.gethostname()}; wait until it has ended$"
    with pytest.raises(InputError, match=said):
        directory.check({"any": 1})
    with pytest.raises(InputError, match=said):
        directory.check({"any": 1}, overwrite=True)
    with pytest.raises(InputError, match=said):
        directory.lock.take()
    directory.lock.release()  # of another process: stays
    assert directory.lock.path.exists()
    os.kill(other, signal.SIGKILL)
    os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)  # ended, and a zombie still
    directory.check({"any": 1})
    directory.lock.take()
    assert json.loads(directory.lock.path.read_text())["pid"] == os.getpid()
    directory.lock.release()
    assert not directory.lock.path.exists()


def test_a_number_that_belongs_to_another_process_now_is_no_holder(tmp_path):
    lock = DirectoryLock(tmp_path / "run")
    _write(lock)  # our own number, but of a process that started at another time
    lock.take()
    assert json.loads(lock.path.read_text())["started"] != "1"


def test_of_another_machine_nothing_is_known(tmp_path):
    lock = DirectoryLock(tmp_path / "run")
    _write(lock, host="elsewhere", pid=77)
    with pytest.raises(InputError, match=r"process 77 on elsewhere; .* if that process is gone, delete .*\.lock"):
        lock.take()
    lock.path.unlink()
    lock.take()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"5", b"[" * 4000, b"\xff", json.dumps({"pid": 10**30, "host": "h", "started": []}).encode()],
)
def test_a_lock_that_was_cut_short_is_taken(tmp_path, content):
    lock = DirectoryLock(tmp_path)
    lock.path.write_bytes(content)
    lock.check()
    lock.take()
    lock.release()
    assert not lock.path.exists()


@pytest.mark.parametrize("pid", [10**30, 2**31 - 1])
def test_a_number_that_no_process_has(tmp_path, pid):
    lock = DirectoryLock(tmp_path)
    _write(lock, pid=pid, started=None)
    lock.take()


def test_a_link_or_a_pipe_of_that_name_is_not_opened(tmp_path):
    lock = DirectoryLock(tmp_path)
    (tmp_path / "mine").write_text("mine")
    lock.path.symlink_to(tmp_path / "mine")
    with pytest.raises(InputError):
        lock.take()
    assert (tmp_path / "mine").read_text() == "mine"
    lock.path.unlink()
    os.mkfifo(lock.path)
    with pytest.raises(InputError, match="is no regular file"):
        lock.take()


def test_a_lock_that_cannot_be_written_does_not_stay(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(InputError, match="No space left on device"):
        DirectoryLock(tmp_path / "run").take()
    assert not list((tmp_path / "run").iterdir())
