"""Files of tensors that a job writes, one an image; their header tells them from the files of others."""

from collections.abc import Iterable
from pathlib import Path

from lit_certattr.files.untrusted import kind_of

HEADER = "lit_certattr"
"""Key of our entry among the metadata of a safetensors file."""
SUFFIX = ".safetensors"

_BEGINS = b'{"__metadata__":{"' + HEADER.encode() + b'":'


def own_ids(folders: Iterable[Path]) -> set[str]:
    """Ids of the images of which a file in one of the folders was written by a job, whole or damaged behind its start.

    Args:
        folders: Folders of files of tensors; they need not be there.
    """
    return {
        path.name.removesuffix(SUFFIX) for folder in folders for path in folder.glob(f"[!.]*{SUFFIX}") if _is_own(path)
    }


def _is_own(path: Path) -> bool:
    if kind_of(path.lstat().st_mode) is not None:  # a link is somebody else's, and a pipe would block
        return False
    with path.open("rb") as file:
        return file.read(8 + len(_BEGINS))[8:] == _BEGINS
