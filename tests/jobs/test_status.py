"""How far a run is: while it goes on, after a stop or a kill, and when it is finished."""

import json
import os
import time
from datetime import UTC, datetime

import pytest

from lit_certattr import jobs
from lit_certattr.cli.certify import main
from lit_certattr.errors import InputError
from lit_certattr.records import RunDirectory
from lit_certattr.records.run_directory import image_rows
from lit_certattr.records.table import RADII
from lit_certattr.records.working import ProcessFile

IDS = [f"image-{number}" for number in range(8)]
FACTS = {"label": 1, "prediction": 2}


@pytest.fixture(autouse=True)
def _three(monkeypatch):
    monkeypatch.setattr(RunDirectory, "group_size", 3)


@pytest.fixture(scope="module")
def entries(certified):
    return {image_id: one for image_id, *one in certified(8)}


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.open({"sigma": 0.25})
    return directory


def _session(directory, seconds=10.0, todo=8, **more):
    started = datetime.fromtimestamp(time.time() - seconds, UTC).isoformat()
    directory.log_session({"started": started, "images": todo, "total": 8, "processes": 2} | more)


def _write(directory, entries, ids):
    groups = directory.groups(IDS)
    groups.start(directory.finished())
    for image_id in ids:
        image, results, clean = entries[image_id]
        directory.write(image_id, results, image, clean, FACTS)
        groups.add(image_id, image_rows(image_id, results, FACTS, RADII))
    return groups


def _finish(directory, entries):
    _write(directory, entries, IDS).write_table(directory.table)
    directory.write_report("page")


def test_a_run_that_goes_on(directory, entries):
    directory.lock.take()
    _session(directory)
    _write(directory, entries, IDS[:5])
    assert directory.parts.exists()
    found = jobs.status(directory.path)
    assert (found.state, found.done, found.total, found.processes) == ("running", 5, 8, 2)
    assert found.holder.pid == os.getpid()
    assert 0.1 < found.rate < 0.6  # five images in ten seconds, or a little more
    assert found.seconds_left == pytest.approx(3 / found.rate)
    assert found.num_counted == 5
    directory.lock.release()


def test_each_of_several_processes_is_told(directory, entries, capsys):
    directory.lock.take()
    first = directory.lock.holder()
    for rank in range(2):
        ProcessFile(directory.path, rank, first).count(rank)
    _session(directory)
    _write(directory, entries, IDS[:1])
    assert [(one.rank, one.images) for one in jobs.status(directory.path).working] == [(0, 0), (1, 1)]
    main(["status", str(directory.path)])
    assert f"{first.pid} on {first.host}: 1 image, " in capsys.readouterr().out
    main(["status", str(directory.path), "--json"])
    told = json.loads(capsys.readouterr().out)["working"]
    assert [(one["rank"], one["pid"], one["images"]) for one in told] == [(0, first.pid, 0), (1, first.pid, 1)]
    directory.lock.release()
    assert jobs.status(directory.path).working == [], "nobody works"
    directory.open({"sigma": 0.25})
    assert not list(directory.path.glob(".process*")), "the next start deletes what is left"


def test_the_numbers_are_those_of_the_page_so_far(directory, entries):
    _write(directory, entries, IDS[:5])
    shares = [float(entries[one][1]["pixel"].one_share()[1]) for one in IDS[:5]]
    tile = jobs.status(directory.path).numbers[0]
    assert "of the top 25 % certified important" in tile.label
    assert float(tile.value.split()[0]) == pytest.approx(100 * sum(shares) / 5, abs=0.1)


def test_a_run_that_was_killed_leaves_a_lock_of_a_process_that_has_ended(directory, entries):
    _session(directory)
    _write(directory, entries, IDS[:4])
    directory.lock.path.write_text(json.dumps({"pid": 2**22, "host": os.uname().nodename, "started": "1"}))
    found = jobs.status(directory.path)
    assert (found.state, found.done, found.holder, found.seconds_left) == ("stopped", 4, None, None)
    assert found.rate > 0


def test_a_resumed_run_counts_the_images_of_the_latest_start(directory, entries):
    _session(directory, seconds=1000)
    _write(directory, entries, IDS[:6])
    _session(directory, seconds=10, todo=2)
    assert jobs.status(directory.path).rate is None  # nothing new yet
    _write(directory, entries, IDS[6:7])
    assert 0.02 < jobs.status(directory.path).rate < 0.2


def test_a_finished_run(directory, entries):
    _session(directory)
    _finish(directory, entries)
    found = jobs.status(directory.path)
    assert (found.state, found.done, found.total, found.num_counted) == ("finished", 8, 8, 8)
    directory.report.unlink()
    assert jobs.status(directory.path).state == "stopped"


def test_a_run_of_an_older_version_does_not_tell_its_number_of_images(directory, entries):
    directory.log_session({"started": "now", "images": 8})
    _write(directory, entries, IDS[:2])
    found = jobs.status(directory.path)
    assert (found.state, found.total, found.rate) == ("stopped", None, None)


def test_a_run_without_an_image(directory):
    found = jobs.status(directory.path)
    assert (found.state, found.done, found.numbers, found.idle) == ("stopped", 0, [], None)


@pytest.mark.parametrize(
    "sessions",
    [[], {}, [1], [{"started": 5, "images": 8, "total": 8}], [{"started": "now", "images": "x", "total": True}]],
)
def test_a_record_that_was_altered_is_no_traceback(directory, entries, sessions):
    _write(directory, entries, IDS[:2])
    content = json.loads(directory.provenance_file.read_text()) | {"sessions": sessions}
    directory.provenance_file.write_text(json.dumps(content))
    assert jobs.status(directory.path).done == 2


def test_damaged_parts_and_images_are_left_out(directory, entries):
    _write(directory, entries, IDS[:5])
    (directory.parts / "00000.parquet").write_bytes(b"no table")
    (directory.images / "image-4.safetensors").write_bytes(b"no image")
    assert jobs.status(directory.path).num_counted == 1


@pytest.mark.parametrize(("name", "said"), [("absent", "is no directory"), ("", "holds no run")])
def test_a_directory_that_is_no_run_is_one_line(tmp_path, name, said, capsys):
    with pytest.raises(InputError, match=said):
        jobs.status(tmp_path / name)
    with pytest.raises(SystemExit) as stopped:
        main(["status", str(tmp_path / name)])
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_command_prints_a_table_and_json(directory, entries, capsys):
    _session(directory)
    _write(directory, entries, IDS[:4])
    main(["status", str(directory.path)])
    out = capsys.readouterr().out
    assert "stopped; the same command resumes it" in out
    assert "4 of 8 images (50.0%)" in out
    assert "certified important" in out
    main(["status", str(directory.path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["done"], found["total"], found["holder"]) == ("stopped", 4, 8, None)
