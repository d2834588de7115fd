"""Commands that are killed, or find the disk full, end with the same bytes when they run again: a few of each kind."""

import errno
import random
import signal

import pytest

from benchmarks.disturbed import COMMANDS
from benchmarks.faulty_disk import Disk, Full, Killed, faulty
from benchmarks.soak import Soak, chosen
from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import write_whole


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_survives(name, tmp_path):
    dice = random.Random(0)
    soak = Soak(name, tmp_path)
    assert soak.alone.changes > 30
    soak.kill_at_random(dice)
    soak.kill_in_change(*chosen(soak.alone.changes, 1, dice), dice)
    soak.fill_disk(*chosen(soak.alone.changes, 1, dice))
    assert soak.faults == []


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_soak_sees_what_is_not_written_whole(tmp_path):
    soak = Soak("evaluate", tmp_path)
    place = soak._place("broken")
    place.run()
    table = place.results / "images.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    (place.results / ".images.parquet.partial").touch()
    soak._check(place, soak.alone, "told")
    assert [fault.partition("told: ")[2] for fault in soak.faults] == [
        "images.parquet is another one",
        "leaves work/table/.images.parquet.partial",
    ]


def test_each_change_of_a_file_can_fail(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"before")
    with faulty(disk := Disk(tmp_path)):
        write_whole(file, b"after")
    assert disk.changes == 4  # open, write, wait, rename
    for number in range(1, 5):
        file.write_bytes(b"before")
        with faulty(Disk(tmp_path, Full(number))), pytest.raises(InputError, match="No space left"):
            write_whole(file, b"after")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert file.read_bytes() == b"before"


def test_half_of_a_write_is_done(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr("os.kill", lambda process, number: sent.append(number))
    with faulty(Disk(tmp_path, Killed(2))):
        (tmp_path / "file").write_bytes(b"123456")
    assert sent == [signal.SIGKILL]
    assert (tmp_path / "file").read_bytes() == b"123123456"  # had it been killed: 123


def test_what_lies_elsewhere_does_not_count(tmp_path):
    (tmp_path / "here").mkdir()
    with faulty(disk := Disk(tmp_path / "here", Full(1))):
        (tmp_path / "there").write_text("text")
        (tmp_path / "there").unlink()
        with pytest.raises(OSError) as raised:
            (tmp_path / "here/file").write_text("text")
    assert raised.value.errno == errno.ENOSPC
    assert disk.changes == 1
