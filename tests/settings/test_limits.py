import os

import pytest

from lit_certattr.errors import InputError
from lit_certattr.settings import check_count


def test_as_many_as_another_machine_has_and_no_more(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    check_count("threads", 256)
    with pytest.raises(InputError, match="threads must be at most 256 on this machine, got 257"):
        check_count("threads", 257)
    monkeypatch.setattr(os, "cpu_count", lambda: 384)
    check_count("threads", 384)
