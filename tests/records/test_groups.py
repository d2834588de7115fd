"""Runs of many images: groups of images are packed, whatever happens meanwhile, and read as if they were not."""

import shutil
import zipfile

import pyarrow.parquet as pq
import pytest
import torch

from lit_certattr.certificates import load_results
from lit_certattr.errors import InputError
from lit_certattr.records import RunDirectory
from lit_certattr.records import groups as groups_module
from lit_certattr.records import image_files as files_module
from lit_certattr.records.run_directory import image_rows
from lit_certattr.records.table import RADII

SETTINGS = {"sigma": 0.25}
IDS = [f"image-{number}" for number in range(8)]
FACTS = {"label": 1, "prediction": 2}


@pytest.fixture(autouse=True)
def _three(monkeypatch):
    monkeypatch.setattr(RunDirectory, "group_size", 3)


@pytest.fixture(scope="module")
def entries(certified):
    return {image_id: one for image_id, *one in certified(8)}


def _directory(path):
    directory = RunDirectory(path)
    directory.open(SETTINGS)
    return directory


def _write(directory, entries, ids, groups=None):
    for image_id in ids:
        image, results, clean = entries[image_id]
        directory.write(image_id, results, image, clean, FACTS)
        if groups is not None:
            groups.add(image_id, image_rows(image_id, results, FACTS, RADII))


def _finish(directory):
    groups = directory.groups(IDS)
    groups.start(directory.finished())
    groups.write_table(directory.table)
    groups.clear()


def _bytes(directory):
    names = (path.relative_to(directory.path) for path in directory.path.rglob("*") if path.is_file())
    return {name.as_posix(): (directory.path / name).read_bytes() for name in names if name.name != "provenance.json"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, entries):
    """A finished run, written by one process in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "group_size", 3)
        directory = _directory(tmp_path_factory.mktemp("whole") / "run")
        groups = directory.groups(IDS)
        groups.start(directory.finished())
        _write(directory, entries, IDS, groups)
        groups.pack()
        groups.write_table(directory.table)
        groups.clear()
        return _bytes(directory)


def test_full_groups_lie_in_zips_and_the_rest_as_before(whole):
    zips = [f"{folder}/0000{number}.zip" for folder in ("images", "maps") for number in (0, 1)]
    rest = [f"{folder}/image-{number}.safetensors" for folder in ("images", "maps") for number in (6, 7)]
    assert sorted(whole) == sorted(["config.yaml", "results.parquet", *zips, *rest])


def test_members_are_the_loose_files_byte_by_byte(tmp_path, entries, whole):
    directory = _directory(tmp_path / "run")
    _write(directory, entries, IDS)
    loose = _bytes(directory)
    _finish(directory)
    with zipfile.ZipFile(directory.maps / "00001.zip") as packed:
        assert packed.namelist() == [f"image-{number}.safetensors" for number in (3, 4, 5)]
        assert {f"maps/{name}": packed.read(name) for name in packed.namelist()}.items() <= loose.items()
    assert _bytes(directory) == whole


def test_records_are_read_wherever_they_lie(tmp_path, entries, whole):
    directory = _directory(tmp_path / "run")
    _write(directory, entries, IDS)
    _finish(directory)
    again = RunDirectory(directory.path)
    assert again.finished() == again.image_files.stored() == set(IDS)
    for record in again.records(IDS):
        image, results, clean = entries[record.id]
        assert torch.equal(record.image, image)
        assert torch.equal(record.clean_map, clean)
        assert torch.equal(record.results["pixel"].radius, results["pixel"].radius)
        assert record.facts == again.facts(record.id) == FACTS
        loaded = load_results(again.maps / f"{record.id}.safetensors")
        assert torch.equal(loaded["pixel"].radius, results["pixel"].radius)
    with pytest.raises(InputError, match="no such file"):
        again.read("image-9")


def test_the_table_is_the_same_with_and_without_groups(tmp_path, entries, monkeypatch):
    tables = []
    for size in (3, 100):
        monkeypatch.setattr(RunDirectory, "group_size", size)
        directory = _directory(tmp_path / str(size))
        _write(directory, entries, IDS)
        directory.write_table(IDS)
        tables.append(pq.read_table(directory.table))
        assert pq.ParquetFile(directory.table).num_row_groups == (3 if size == 3 else 1)
        assert not directory.parts.exists()
    assert tables[0].equals(tables[1])


def test_the_table_of_an_unfinished_run_can_be_read_without_this_package(tmp_path, entries):
    directory = _directory(tmp_path / "run")
    groups = directory.groups(IDS)
    groups.start(frozenset())
    _write(directory, entries, IDS[:4], groups)
    assert dict.fromkeys(pq.read_table(directory.parts)["id"].to_pylist()).keys() == set(IDS[:3])


@pytest.mark.parametrize("order", [IDS[::-1], IDS[::2] + IDS[1::2]], ids=["backwards", "two processes"])
def test_the_order_of_writing_does_not_matter(tmp_path, entries, whole, order):
    directory = _directory(tmp_path / "run")
    groups = directory.groups(IDS)
    groups.start(frozenset())
    for place, image_id in enumerate(order):  # every second image comes from another process
        _write(directory, entries, [image_id], groups if place % 2 else None)
    groups.pack()
    groups.write_table(directory.table)
    groups.clear()
    assert _bytes(directory) == whole


class Killed(BaseException):
    pass


def _steps(monkeypatch, at):
    """Every change of the disk by groups is a step; the process is killed before one of them."""
    count = 0

    def killed_before(original):
        def step(*args, **kwargs):
            nonlocal count
            count += 1
            if count == at:
                raise Killed
            return original(*args, **kwargs)

        return step

    monkeypatch.setattr(files_module, "write_packed", killed_before(files_module.write_packed))
    monkeypatch.setattr(groups_module, "whole_file", killed_before(groups_module.whole_file))
    monkeypatch.setattr(files_module.Path, "unlink", killed_before(files_module.Path.unlink))
    return lambda: count


@pytest.mark.parametrize("at", range(1, 40))
def test_a_kill_at_any_step_is_continued_to_the_same_bytes(tmp_path, entries, whole, monkeypatch, at):
    directory = _directory(tmp_path / "run")
    groups = directory.groups(IDS)
    groups.start(frozenset())
    with monkeypatch.context() as patch:
        steps = _steps(patch, at)
        try:
            _write(directory, entries, IDS, groups)
            groups.pack()
            groups.write_table(directory.table)
            groups.clear()
        except Killed:
            pass
        else:
            assert steps() < at
    again = _directory(directory.path)
    done = again.finished()
    groups = again.groups(IDS)
    groups.start(done)
    _write(again, entries, [image_id for image_id in IDS if image_id not in done], groups)
    groups.pack()
    groups.write_table(again.table)
    groups.clear()
    assert _bytes(again) == whole


def test_a_finished_run_is_written_again_to_the_same_bytes(tmp_path, entries, whole):
    directory = _directory(tmp_path / "run")
    _write(directory, entries, IDS)
    for _ in range(2):
        _finish(directory)
        assert _bytes(directory) == whole


@pytest.mark.parametrize("folder", ["maps", "images"])
@pytest.mark.parametrize("damage", ["missing", "cut off", "of another group"])
def test_images_of_a_zip_that_is_not_whole_are_certified_again(tmp_path, entries, whole, folder, damage):
    directory = _directory(tmp_path / "run")
    _write(directory, entries, IDS)
    _finish(directory)
    path = directory.path / folder / "00001.zip"
    if damage == "missing":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:-30])
    else:
        shutil.copy(path.with_name("00000.zip"), path)
    again = _directory(directory.path)
    lost = set(IDS[3:6])
    assert again.finished() == set(IDS) - lost
    groups = again.groups(IDS)
    groups.start(again.finished())
    _write(again, entries, sorted(lost), groups)
    groups.write_table(again.table)
    groups.clear()
    assert _bytes(again) == whole


@pytest.mark.parametrize("folder", ["maps", "images"])
def test_a_flipped_bit_is_one_line_with_the_remedy(tmp_path, entries, folder):
    directory = _directory(tmp_path / "run")
    _write(directory, entries, IDS)
    _finish(directory)
    path = directory.path / folder / "00000.zip"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    again = RunDirectory(directory.path)
    with pytest.raises(InputError, match=r"delete .*images/00000\.zip and run the same command again"):
        list(again.records(IDS[:3]))
    assert [record.id for record in again.records(IDS[3:])] == IDS[3:]


def test_a_damaged_loose_file_is_not_packed(tmp_path, entries, whole):
    directory = _directory(tmp_path / "run")
    _write(directory, entries, IDS)
    path = directory.images / "image-1.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    groups = directory.groups(IDS)
    groups.start(directory.finished())
    assert directory.image_files.packed().keys() == set(IDS[3:6])
    _write(directory, entries, ["image-1"], groups)
    groups.write_table(directory.table)
    groups.clear()
    assert _bytes(directory) == whole


def test_other_radii_write_the_parts_again(tmp_path, entries):
    directory = _directory(tmp_path / "run")
    groups = directory.groups(IDS)
    groups.start(frozenset())
    _write(directory, entries, IDS, groups)
    directory.write_table(IDS, [0.125])
    names = pq.read_schema(directory.table).names
    assert "certified_r0_125" in names
    assert "certified_r0_5" not in names


def test_images_that_are_added_to_a_finished_run_form_groups_of_their_own(tmp_path, entries):
    """They may lie between the others: what is packed stays as it is."""
    directory = _directory(tmp_path / "run")
    first, more = IDS[1::2], IDS[::2]
    _write(directory, entries, first)
    groups = directory.groups(first)
    groups.start(directory.finished())
    before = (directory.maps / "00000.zip").read_bytes()
    _write(directory, entries, more)
    _finish(directory)
    again = RunDirectory(directory.path)
    assert (again.maps / "00000.zip").read_bytes() == before
    assert list(again.image_files.packed_ids(1)) == IDS[:5:2]
    assert again.finished() == set(IDS)
    assert list(dict.fromkeys(pq.read_table(again.table)["id"].to_pylist())) == IDS


def test_overwriting_deletes_zips_and_parts_but_nothing_of_others(tmp_path, entries):
    directory = _directory(tmp_path / "run")
    groups = directory.groups(IDS)
    groups.start(frozenset())
    _write(directory, entries, IDS, groups)
    mine = [directory.path / name for name in ("maps/00009.zip", "images/mine.zip", "results/mine.parquet")]
    for path in mine:
        path.write_bytes(b"mine")
    assert directory.parts.is_dir()
    directory.open(SETTINGS | {"sigma": 1.0}, overwrite=True)
    assert sorted(_bytes(directory)) == ["config.yaml", *sorted(str(path.relative_to(directory.path)) for path in mine)]
    assert directory.finished() == frozenset()


def test_reading_and_packing_a_run_is_linear(tmp_path, entries, monkeypatch):
    """Twice as many groups cost twice as many reads; nothing is read once per pair."""
    reads = []
    original = files_module.read_member
    monkeypatch.setattr(files_module, "read_member", lambda *args: reads.append(args) or original(*args))
    counts = []
    for groups in (2, 4):
        ids = [f"one-{number:03d}" for number in range(3 * groups)]
        directory = _directory(tmp_path / str(groups))
        for image_id in ids:
            image, results, clean = entries["image-0"]
            directory.write(image_id, results, image, clean, FACTS)
        directory.write_table(ids)
        again = directory.groups(ids)
        again.start(directory.finished())
        reads.clear()
        list(RunDirectory(directory.path).records(ids))
        counts.append(len(reads))
    assert counts == [12, 24]
