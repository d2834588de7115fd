"""A process whose companion has died ends with one line; real commands are in tests/cli/test_cluster.py."""

import processes
import pytest

PROGRAM = """
import subprocess, sys, time
from lit_certattr.processes import end_with

companion = subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"])
end_with([companion], "images are kept", lambda: None)
companion.wait()
time.sleep(float(sys.argv[1]))
raise SystemExit("process 1 of 2 has stopped: no such mask")
"""


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_what_all_have_agreed_on_is_said_before_the_end(tmp_path):
    """A companion ends with status 2 also where it leaves the line to this process."""
    soon, busy = processes.run(tmp_path, PROGRAM, (0.5,), (100,))
    assert soon.stderr == "process 1 of 2 has stopped: no such mask\n"
    assert (busy.status, busy.stderr) == (2, "")
