import json

import pyarrow.parquet as pq
import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.reports import RunDirectory
from lit_certattr.reports.table import means, schema

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
    assert means(table)["certified/pixel/k32/one_share"] == pytest.approx(expected)


def test_provenance_is_plain_json(directory):
    assert json.loads(directory.provenance_file.read_text())["fingerprint"]
