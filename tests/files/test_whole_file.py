import errno
import os
import resource

import pytest

from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import write_whole


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device; free some space, then run the same command again"),
        (errno.EACCES, "Permission denied; choose a directory that can be written"),
        (errno.EROFS, "Read-only file system"),
        (errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("place", ["pathlib.Path.write_bytes", "os.fsync", "pathlib.Path.replace"])
def test_what_cannot_be_written_is_one_line_and_the_earlier_file_stays(tmp_path, monkeypatch, number, said, place):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.bin"
    write_whole(path, b"before")
    monkeypatch.setattr(place, fail)
    with pytest.raises(InputError, match=rf"a\.bin cannot be written: {said}"):
        write_whole(path, b"after")
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() == b"before"


def test_the_limit_on_the_size_of_files(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(InputError, match="File too large; raise the limit"):
            write_whole(tmp_path / "a.bin", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
