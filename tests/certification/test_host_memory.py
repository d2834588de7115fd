import platform
import sys

import processes
import pytest

from lit_certattr.certification.host_memory import keep_freed_memory

FAULTS = """
import resource, sys, torch
from lit_certattr.certification.host_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def a_pass():
    for size in (5_000_000, 20_000_000, 5_000_000):
        torch.ones(size)

for _ in range(5):
    a_pass()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    a_pass()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_freed_memory_is_not_asked_for_again(tmp_path):
    if not sys.platform.startswith("linux") or "glibc" not in platform.libc_ver():
        pytest.skip("the C library cannot be asked")
    faults = {}
    for mode in ("keep", "return"):
        (ended,) = processes.run(tmp_path, FAULTS, (mode,))
        faults[mode] = int(ended.stdout)
    assert faults["return"] > 100, "120 MB are cleared anew in each pass"
    assert faults["keep"] < faults["return"] / 3  # the heap may still grow once or twice, between other things


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
