"""What each process of a run tells; its file may be anybody's."""

import json
import os

import pytest

from lit_certattr.records.lock import Holder, this_process
from lit_certattr.records.working import ProcessFile, process_files, working

FIRST = Holder(17, "node1", "5")
ENDED = Holder(2**22, os.uname().nodename, "1")


def _altered(folder, **changes):
    content = {"first": FIRST._asdict(), "process": this_process()._asdict(), "images": 3, "seconds": 6.0} | changes
    (folder / ".process-1.json").write_text(json.dumps(content))
    return working(folder, FIRST, 2)


def test_each_process_tells_what_it_has_done(tmp_path, monkeypatch):
    files = [ProcessFile(tmp_path, rank, FIRST) for rank in range(2)]
    for file in files:
        file.count(0)
    assert [(one.rank, one.images, one.rate) for one in working(tmp_path, FIRST, 2)] == [(0, 0, None), (1, 0, None)]
    monkeypatch.setattr("lit_certattr.records.working._PATIENCE", 0)
    files[1].count(1)
    files[1].count(2)
    silent, busy = working(tmp_path, FIRST, 2)
    assert (silent.images, busy.images, busy.holder) == (0, 3, this_process())
    assert busy.rate > 0
    files[1].remove()
    files[1].remove()
    assert [one.rank for one in working(tmp_path, FIRST, 2)] == [0]


def test_a_file_is_written_at_most_once_per_second(tmp_path, monkeypatch):
    monkeypatch.setattr("lit_certattr.records.working._PATIENCE", 1e9)
    file = ProcessFile(tmp_path, 0, FIRST)
    file.count(0)
    file.count(1)
    assert working(tmp_path, FIRST, 1)[0].images == 0


def test_what_is_left_of_an_earlier_start_or_of_a_killed_process_does_not_count(tmp_path):
    assert [one.rate for one in _altered(tmp_path)] == [0.5]
    assert _altered(tmp_path, first=FIRST._replace(started="6")._asdict()) == []
    assert _altered(tmp_path, process=ENDED._asdict()) == []
    assert len(_altered(tmp_path, process=ENDED._replace(host="node2")._asdict())) == 1, "nothing is known of it"


@pytest.mark.parametrize(
    "changes",
    [
        {"images": -1},
        {"images": True},
        {"images": "3"},
        {"seconds": None},
        {"process": None},
        {"process": {"pid": "x", "host": "a", "started": None}},
        {"process": {"pid": 1}},
        {"first": []},
    ],
)
def test_a_file_that_was_altered_tells_nothing(tmp_path, changes):
    assert _altered(tmp_path, **changes) == []


def test_what_is_no_file_of_a_process_is_no_traceback(tmp_path):
    (tmp_path / ".process-0.json").mkdir()
    (tmp_path / ".process-1.json").write_text("[1]")
    (tmp_path / ".process-2.json").write_text("{" * 10_000)
    (tmp_path / "..process-3.json.partial").touch()
    (tmp_path / ".process-mine.json").touch()
    assert working(tmp_path, FIRST, 10**9) == []
    names = sorted(path.name for path in process_files(tmp_path))
    assert names == ["..process-3.json.partial", ".process-1.json", ".process-2.json"]
