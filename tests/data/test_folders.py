"""Looking through a folder: names that are alike, files that are no files, links, folders that cannot be read."""

import os
import socket

import pytest

from lit_certattr.data.folders import contents, existing_folder, images_at
from lit_certattr.errors import InputError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a/caf\u00e9.png", "a/cafe\u0301.png"),
        ("a/1.png", "a/1.PNG"),
        ("Cat/1.png", "cat/2.png"),
        ("caf\u00e9/1.png", "cafe\u0301/2.png"),
        ("train/a/1.png", "Train/b/1.png"),
    ],
)
def test_names_that_are_alike_are_both_named(tmp_path, first, second):
    for name in (first, second):
        touch(tmp_path / name)
    if len(list(tmp_path.rglob("*.*"))) < 2:
        pytest.skip("this file system takes the two names for one")
    with pytest.raises(InputError, match="differ only in letter case") as caught:
        contents(tmp_path)
    different = next((a, b) for a, b in zip(first.split("/"), second.split("/"), strict=True) if a != b)
    for name in different:
        assert repr(name) in str(caught.value)
        assert name.isascii() or ascii(name) in str(caught.value)  # on a screen the two look the same


def test_names_that_are_not_alike_pass(tmp_path):
    for name in ("a/1.png", "b/1.PNG", "a/1.txt", "a/1.TXT", "stra\u00dfe/1.png", "strasse/1.png"):
        touch(tmp_path / name)
    assert len(contents(tmp_path).images) == 4


def test_what_is_no_regular_file_is_never_opened(tmp_path):
    touch(tmp_path / "1.png")
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "itself.png").symlink_to(tmp_path / "itself.png")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()  # noqa: PTH109
        os.chdir(tmp_path)  # the address of a socket is at most 108 bytes
        server.bind("socket.png")
        os.chdir(here)
        found = contents(tmp_path)
    assert [path.name for path in found.images] == ["1.png"]
    assert found.warning().startswith("5 files passed over: 5 that are no regular files (the first is device.png)")


def test_what_systems_leave_behind_is_ignored(tmp_path):
    touch(tmp_path / "a" / "1.png")
    for name in ("__MACOSX/a/1.png", ".ipynb_checkpoints/1.png", "a/Thumbs.db", "a/.DS_Store", "@eaDir/1.png"):
        touch(tmp_path / name)
    found = contents(tmp_path)
    assert [path.as_posix() for path in found.images] == ["a/1.png"]
    assert [path.as_posix() for path in found.folders] == ["a"]
    assert found.warning() is None


def test_a_link_to_a_folder_is_a_folder_and_a_circle_ends(tmp_path):
    touch(tmp_path / "a" / "1.png")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    images = [path.as_posix() for path in contents(tmp_path).images]
    assert images == ["a/1.png", "b/1.png"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path / "a" / "1.png")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(folder):  # the permissions themselves do not stop a test that runs as root
        if folder == tmp_path / "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"closed cannot be read \(Permission denied\); change its permissions"):
        contents(tmp_path)


@pytest.mark.parametrize("name", ["a.zip", "a.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.7z"])
def test_an_archive_has_to_be_unpacked(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK")
    for read in (images_at, existing_folder):
        with pytest.raises(InputError, match=rf"/{name} is an archive; unpack it, and give the folder of its images"):
            read(str(tmp_path / name))
    (tmp_path / "b.zip").mkdir()
    assert existing_folder(str(tmp_path / "b.zip")) == tmp_path / "b.zip"


@pytest.mark.parametrize("address", ["https://a.org/images", "s3://bucket/images", "https://a.org/cat.png"])
def test_an_address_is_not_downloaded(address):
    for read in (images_at, existing_folder):
        with pytest.raises(InputError, match=rf"^image folder {address}: addresses are not downloaded; download the "):
            read(address)


@pytest.mark.parametrize("root", [3, None, b"images", ["images"], "", " "])
def test_what_is_no_path_is_named(root):
    for read in (images_at, existing_folder):
        with pytest.raises(InputError, match=r"must be the path of a folder or of an image file, got "):
            read(root)
