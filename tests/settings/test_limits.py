import os

import pytest

from lit_certattr.errors import InputError
from lit_certattr.settings import check_count, check_processes


def test_as_many_as_another_machine_has_and_no_more(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    check_count("threads", 256)
    with pytest.raises(InputError, match="threads must be at most 256 on this machine, got 257"):
        check_count("threads", 257)
    monkeypatch.setattr(os, "cpu_count", lambda: 384)
    check_count("threads", 384)


def test_processes_are_larger_than_threads(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    check_processes("devices", 16)
    with pytest.raises(InputError, match="devices must be at most 16 on this machine, got 17"):
        check_processes("devices", 17)
    with pytest.raises(InputError, match="devices must be at least 1 or auto, got 0"):
        check_processes("devices", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    check_processes("devices", 200)
