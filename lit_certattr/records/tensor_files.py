"""Files of tensors that a job writes, one per image; their header distinguishes them from all other files."""

from collections.abc import Iterable
from pathlib import Path

from lit_certattr.files.untrusted import kind_of

HEADER = "lit_certattr"
"""Key of our entry among the metadata of a safetensors file."""
SUFFIX = ".safetensors"

BEGINS = b'{"__metadata__":{"' + HEADER.encode() + b'":'
"""How the header of such a file begins, behind its length."""


def own_ids(folders: Iterable[Path]) -> set[str]:
    """Ids of the images for which a job wrote a file into one of the folders; the file may be damaged after its start.

    Args:
        folders: Folders with files of tensors; they need not exist.
    """
    return {
        path.name.removesuffix(SUFFIX) for folder in folders for path in folder.glob(f"[!.]*{SUFFIX}") if _is_own(path)
    }


def _is_own(path: Path) -> bool:
    if kind_of(path.lstat().st_mode) is not None:  # a link is somebody else's, and a pipe would block
        return False
    with path.open("rb") as file:
        return file.read(8 + len(BEGINS))[8:] == BEGINS
