"""ZIPs of a fixed layout: any program reads them, and every other layout is refused."""

import io
import struct
import zipfile

import pytest

from lit_certattr.errors import InputError
from lit_certattr.files.packed import MAX_MEMBERS, members_of, read_loose_or_packed, read_member, write_packed

CONTENT = {"b.txt": b"second" * 5, "a.txt": b"first", "empty.txt": b""}


@pytest.fixture
def packed(tmp_path):
    write_packed(tmp_path / "0.zip", CONTENT.items())
    return tmp_path / "0.zip"


def test_every_member_keeps_its_bytes_and_the_order_stays(packed):
    assert list(members_of(packed)) == list(CONTENT)
    assert {name: read_member(packed, name, 100) for name in CONTENT} == CONTENT
    with zipfile.ZipFile(packed) as other:
        assert other.testzip() is None
        assert {name: other.read(name) for name in other.namelist()} == CONTENT


def test_equal_members_give_equal_bytes(packed, tmp_path):
    write_packed(tmp_path / "1.zip", CONTENT.items())
    assert packed.read_bytes() == (tmp_path / "1.zip").read_bytes()


def test_a_zip_appears_whole_or_not_at_all(tmp_path):
    def members():
        yield "a", b"a"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_packed(tmp_path / "0.zip", members())
    assert not list(tmp_path.iterdir())


def test_a_member_that_is_absent_or_too_large_is_named(packed):
    with pytest.raises(InputError, match=r"0\.zip: holds no c\.txt"):
        read_member(packed, "c.txt", 100)
    with pytest.raises(InputError, match=r"b\.txt has 30 bytes, more than the 29"):
        read_member(packed, "b.txt", 29)
    with pytest.raises(FileNotFoundError):
        members_of(packed.with_name("1.zip"))


def test_a_file_that_is_not_there_is_found_in_a_zip_beside_it(packed):
    assert read_loose_or_packed(packed.parent / "a.txt", 100) == b"first"
    (packed.parent / "a.txt").write_bytes(b"loose")
    assert read_loose_or_packed(packed.parent / "a.txt", 100) == b"loose"
    with pytest.raises(FileNotFoundError):
        read_loose_or_packed(packed.parent / "c.txt", 100)


def test_every_byte_counts(packed):
    """Whichever byte of a ZIP is flipped, no member is read with other bytes than it had."""
    whole = packed.read_bytes()
    found = 0
    for place in range(len(whole)):
        packed.write_bytes(whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :])
        for name, content in CONTENT.items():
            try:
                assert read_member(packed, name, 100) == content
            except InputError:
                found += 1
    assert found > len(whole)


@pytest.mark.parametrize("length", [0, 10, 100, -1])
def test_a_zip_that_is_cut_off_is_refused(packed, length):
    packed.write_bytes(packed.read_bytes()[:length])
    with pytest.raises(InputError, match="no ZIP of a run, or damaged"):
        members_of(packed)


def _written(write, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        write(archive)
    return file.getvalue()


def _about(name, **fields):
    about = zipfile.ZipInfo(name, fields.pop("date_time", (1980, 1, 1, 0, 0, 0)))
    for key, value in fields.items():
        setattr(about, key, value)
    return about


def _twice(archive):
    archive.writestr(_about("a"), b"x")
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(_about("a"), b"y")


FORGED = {
    "compressed": lambda: _written(lambda one: one.writestr("a", b"x" * 99), zipfile.ZIP_DEFLATED),
    "a date": lambda: _written(lambda one: one.writestr(_about("a", date_time=(2020, 1, 1, 0, 0, 0)), b"x")),
    "a comment": lambda: _written(lambda one: one.writestr(_about("a", comment=b"psst"), b"x")),
    "a comment at the end": lambda: _written(lambda one: setattr(one, "comment", b"psst")),
    "a name that is no ASCII": lambda: _written(lambda one: one.writestr(_about("ä"), b"x")),
    "a name twice": lambda: _written(_twice),
    "bytes in front": lambda: b"psst" + _written(lambda one: one.writestr(_about("a"), b"x")),
    "nothing": lambda: _written(lambda one: None),
    "more in the header": lambda: _written(lambda one: one.writestr(_about("a", extra=b"\x99\x99\0\0"), b"x")),
}


@pytest.mark.parametrize("how", FORGED)
def test_another_layout_is_refused(tmp_path, how):
    path = tmp_path / "0.zip"
    path.write_bytes(FORGED[how]())
    with pytest.raises(InputError, match="no ZIP of a run, or damaged"):
        members_of(path)


@pytest.mark.parametrize(("count", "length"), [(MAX_MEMBERS + 1, 100), (1, 2**20 + 1), (2**16 - 1, 2**32 - 1)])
def test_a_directory_that_announces_too_much_is_not_read(packed, count, length):
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, length, 0, 0)
    packed.write_bytes(packed.read_bytes()[:-22] + end)
    with pytest.raises(InputError, match="it announces"):
        members_of(packed)


def test_the_directory_of_a_large_zip_cannot_announce_too_much_either(packed):
    large = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 2**40, 0)
    pointer = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    packed.write_bytes(packed.read_bytes()[:-22] + large + pointer + packed.read_bytes()[-22:])
    with pytest.raises(InputError, match="it announces"):
        members_of(packed)
