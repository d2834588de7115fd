"""The processes of one command, as the writers use them; several real ones are in tests/cli/test_cluster.py."""

import atexit

import pytest
from torch import distributed

from lit_certattr.processes import Team
from lit_certattr.processes.team import leave


@pytest.fixture
def group():
    """A group of one process."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def test_a_process_leaves_its_groups_once(group):
    """Threads of a group that outlive the interpreter abort a process whose work is done."""
    assert distributed.is_initialized()
    leave()
    assert not distributed.is_initialized()
    leave()  # nothing is left to leave


def test_several_processes_leave_at_the_end_of_the_program(monkeypatch):
    registered = []
    monkeypatch.setattr(atexit, "register", registered.append)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "new_group", lambda **options: None)
    Team()
    assert registered == [leave]


def test_a_process_alone_has_nothing_to_leave(monkeypatch):
    registered = []
    monkeypatch.setattr(atexit, "register", registered.append)
    Team()
    assert registered == []
