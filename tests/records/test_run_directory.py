import copy
import json
import os

import pyarrow.parquet as pq
import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.records import RunDirectory
from lit_certattr.records.run_directory import check_ids, image_rows
from lit_certattr.records.table import means, schema

SETTINGS = {"sigma": 0.25, "certificates": {"pixel": {"top_k": [0.5, 0.25]}}, "network": "abc"}


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.open(SETTINGS)
    return directory


def _fill(directory, entries):
    for image_id, image, results, clean in entries:
        directory.write(image_id, results, image, clean, {"label": 1, "prediction": 2})


def test_what_is_written_is_read_bit_by_bit(directory, certified):
    entries = certified(2)
    _fill(directory, entries)
    for image_id, image, results, clean in entries:
        record = directory.read(image_id)
        assert torch.equal(record.image, image)
        assert torch.equal(record.clean_map, clean)
        assert torch.equal(record.results["pixel"].radius, results["pixel"].radius)
        assert record.facts == {"label": 1, "prediction": 2}
    assert directory.finished() == {"image-0", "image-1"}


@pytest.mark.parametrize("folder", ["maps", "images"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "flipped at the start", "flipped at the end"])
def test_damage_is_found(directory, certified, folder, damage):
    _fill(directory, certified(2))
    path = directory.path / folder / "image-0.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    else:
        content[8 if "start" in damage else -1] ^= 1
        path.write_bytes(content)
    assert directory.finished() == {"image-1"}
    with pytest.raises(InputError):
        directory.read("image-0")


def test_maps_of_another_image_are_found(directory, certified):
    _fill(directory, certified(2))
    other = (directory.maps / "image-1.safetensors").read_bytes()
    (directory.maps / "image-0.safetensors").write_bytes(other)
    assert directory.finished() == {"image-1"}


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", "", ".hidden", "a\0b", "x" * 201, "ä"])
def test_unsafe_ids_are_refused(directory, certified, name):
    ((_, image, results, clean),) = certified()
    with pytest.raises(InputError, match="cannot name a file"):
        directory.write(name, results, image, clean)
    with pytest.raises(InputError, match="cannot name a file"):
        directory.read(name)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sigma": 0.5}, r"sigma was 0.25, is 0.5"),
        ({"certificates": {"pixel": {"top_k": [0.5, 0.1]}}}, r"certificates.pixel.top_k\[1\] was 0.25, is 0.1"),
        ({"certificates": {"pixel": {"top_k": [0.5]}}}, r"certificates.pixel.top_k was \[0.5, 0.25\], is \[0.5\]"),
        ({"extra": 1}, "extra was None, is 1"),
    ],
)
def test_other_settings_are_named(directory, change, named):
    with pytest.raises(InputError, match=named):
        directory.open(SETTINGS | change)
    directory.open(SETTINGS | change, overwrite=True)
    assert directory.provenance()["settings"] == SETTINGS | change


def test_equal_settings_go_on_whatever_their_order(directory, certified):
    _fill(directory, certified())
    directory.log_session({"started": "now"})
    directory.open(dict(reversed(SETTINGS.items())))
    assert directory.finished() == {"image-0"}
    assert directory.provenance()["sessions"] == [{"started": "now"}]


def test_overwrite_leaves_what_is_not_ours(directory, certified):
    _fill(directory, certified())
    (directory.path / "notes.txt").write_text("mine")
    directory.open(SETTINGS, overwrite=True)
    assert directory.finished() == frozenset()
    assert (directory.path / "notes.txt").read_text() == "mine"


def test_damaged_provenance_is_one_line(directory):
    directory.provenance_file.write_text("{")
    with pytest.raises(InputError, match=r"provenance\.json cannot be read"):
        directory.open(SETTINGS)
    directory.provenance_file.write_text("[]")
    with pytest.raises(InputError, match="is damaged"):
        directory.open(SETTINGS)


def test_no_partial_file_survives_opening(directory):
    (directory.maps / ".image-0.safetensors.partial").write_bytes(b"half")
    directory.open(SETTINGS)
    assert not list(directory.path.rglob("*.partial"))


def test_table_order_types_and_bytes(directory, certified):
    _fill(directory, certified(3))
    ids = ["image-2", "image-0", "image-1"]
    directory.write_table(ids)
    before = directory.table.read_bytes()
    table = pq.read_table(directory.table)
    assert list(dict.fromkeys(table["id"].to_pylist())) == ids
    assert table.schema == schema()
    assert not any("." in name for name in table.column_names)
    directory.write_table(ids)
    assert directory.table.read_bytes() == before
    rows = table.to_pylist()
    expected = sum(row["one_share"] for row in rows if row["kind"] == "pixel" and row["size"] == 32) / 3
    assert means(table)["certified/one_share_k50"] == pytest.approx(expected)


def test_provenance_is_plain_json(directory):
    assert json.loads(directory.provenance_file.read_text())["fingerprint"]


# --- what a killed process leaves, and places that cannot be written ------------------------------------------


@pytest.mark.parametrize("left", [[], [".lock"], [".lock", ".provenance.json.partial"], ["maps/"], ["maps/.a.partial"]])
def test_a_kill_before_the_record_leaves_a_directory_that_can_be_used(tmp_path, left):
    run = tmp_path / "run"
    run.mkdir()
    for name in left:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).mkdir() if name.endswith("/") else (run / name).write_bytes(b"")
    directory = RunDirectory(run)
    directory.check(SETTINGS)
    directory.open(SETTINGS)
    assert directory.finished() == frozenset()


@pytest.mark.parametrize("left", ["maps/a.safetensors", "notes.partial", "figures/mine.png", ".git"])
def test_what_is_not_ours_is_refused(tmp_path, left):
    path = tmp_path / "run" / left
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="holds no run"):
        RunDirectory(tmp_path / "run").open(SETTINGS, overwrite=True)
    assert path.read_bytes() == b"mine"


def test_a_kill_while_another_run_is_deleted_keeps_its_settings(directory, certified, monkeypatch):
    """Maps of other settings must never be taken for maps of the new ones."""
    _fill(directory, certified())
    monkeypatch.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        directory.open(SETTINGS | {"sigma": 1.0}, overwrite=True)
    assert directory.provenance()["settings"] == SETTINGS
    monkeypatch.undo()
    directory.open(SETTINGS | {"sigma": 1.0}, overwrite=True)
    assert directory.finished() == frozenset()


def test_maps_that_cannot_be_deleted_are_not_taken_over(directory, certified, monkeypatch):
    def fail(path):
        raise PermissionError(1, "Operation not permitted")

    _fill(directory, certified())
    monkeypatch.setattr("shutil.rmtree", fail)
    with pytest.raises(InputError, match="cannot be written: Operation not permitted"):
        directory.open(SETTINGS | {"sigma": 1.0}, overwrite=True)
    assert directory.provenance()["settings"] == SETTINGS


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file", "file is a file"),
        ("file/run", "file is a file"),
        ("file/far/below", "file is a file"),
        ("x" * 300, "File name too long; choose a shorter name"),
        ("/".join(["x" * 200] * 30), "File name too long"),
        ("locked/run", "locked is not writable"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line_before_any_work(tmp_path, monkeypatch, name, said):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "locked").mkdir()
    allowed = os.access
    monkeypatch.setattr("os.access", lambda path, mode: path.name != "locked" and allowed(path, mode))  # as root, too
    directory = RunDirectory(tmp_path / name)
    with pytest.raises(InputError, match=said):
        directory.check(SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "locked"]


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\0b", "a\x1b[31m", "\udcff"])
def test_a_name_that_cannot_be_printed_is_refused(name):
    with pytest.raises(InputError, match="is no name for a directory"):
        RunDirectory(name)


def test_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDirectory("~/run").path == tmp_path / "run"
    with pytest.raises(InputError, match="no such home directory"):
        RunDirectory("~nobody-of-this-name/run")


def test_a_system_that_says_no_only_when_it_is_written(tmp_path):
    with pytest.raises(InputError, match="/proc/run cannot be written"):
        RunDirectory("/proc/run").open(SETTINGS)


def test_a_file_in_place_of_a_folder(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.open(SETTINGS)
    directory.maps.rmdir()
    directory.maps.write_text("mine")
    with pytest.raises(InputError, match="cannot be written: File exists"):
        directory.open(SETTINGS)


def test_an_id_that_would_overwrite_a_figure_of_all_images(directory):
    with pytest.raises(InputError, match="'summary' cannot name a file"):
        check_ids(["a", "summary"])


def test_the_rows_of_an_image_do_not_depend_on_whether_it_was_just_written_or_is_read(directory, certified):
    ((image_id, image, results, clean),) = certified(1)
    facts = {"label": 1, "prediction": 2}
    named = {
        "pixel": results["pixel"],
        "first": copy.deepcopy(results["pixel"]),
    }  # a file gives them in the order of their names
    directory.write(image_id, named, image, clean, facts)
    read = directory.read(image_id)
    written = image_rows(image_id, named, facts, (0.1,))
    assert written == image_rows(image_id, read.results, read.facts, (0.1,))
    assert next(row["certificate"] for row in written.entries) == "first"
