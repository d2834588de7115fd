"""Two files per image, its certificates and its pixels: loose while a group of images is unfinished, then in ZIPs.

A run of many images would otherwise leave two files for each of them. Images that follow each other form a group. When
all images of a group are certified, their files move into two ZIPs, ``maps/00003.zip`` and ``images/00003.zip``; each
file keeps its bytes and its name.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lit_certattr.errors import InputError
from lit_certattr.files.packed import members_of, read_member, write_packed
from lit_certattr.files.untrusted import MAX_TENSORS, kind_of, read_whole
from lit_certattr.records.ids import SAFE_ID, check_ids
from lit_certattr.records.tensor_files import BEGINS, SUFFIX, own_ids

GROUP_SIZE = 256
"""Number of images that share two ZIPs: of 100,000 images there are 780, and to write one takes a moment."""
ZIP_NAME = re.compile(r"(\d{5,9})\.zip")


def zip_name(number: int) -> str:
    """File name of the ZIPs of a group.

    Args:
        number: Number of the group.

    Example:
        >>> zip_name(3)
        '00003.zip'
    """
    return f"{number:05d}.zip"


class ImageFiles:
    """The files of all images of a run, read by the id of the image, wherever they lie.

    An image counts as packed only if both ZIPs of its group are whole. Until then its loose files are what counts, so a
    process may be killed between any two steps of :meth:`pack`.

    Args:
        maps: Folder of the certificates.
        images: Folder of the images.
    """

    def __init__(self, maps: Path, images: Path) -> None:
        self.maps, self.images = maps, images
        self._group: dict[str, int] = {}
        self._seen: set[int] | None = None

    def read(self, folder: Path, image_id: str) -> bytes:
        """The bytes of one file of an image.

        Args:
            folder: One of the two folders.
            image_id: Id of the image.

        Raises:
            FileNotFoundError: If there is no such file.
            InputError: If the id cannot be a file name, or the file is no ordinary one, too large or damaged.
        """
        check_ids([image_id])
        if self._seen is None:
            self.refresh()
        if image_id not in self._group:
            try:
                return read_whole(folder / f"{image_id}{SUFFIX}", MAX_TENSORS)
            except FileNotFoundError:
                self.refresh()  # another process may have packed it meanwhile
                if image_id not in self._group:
                    raise
        return read_member(folder / zip_name(self._group[image_id]), f"{image_id}{SUFFIX}", MAX_TENSORS)

    def place(self, folder: Path, image_id: str) -> str:
        """Where a file of an image lies, for messages.

        Args:
            folder: One of the two folders.
            image_id: Id of the image.
        """
        if (number := self._group.get(image_id)) is None:
            return str(folder / f"{image_id}{SUFFIX}")
        return f"{folder / zip_name(number)}: {image_id}{SUFFIX}"

    def remedy(self, image_id: str) -> str:
        """What to do about a damaged file of an image.

        Args:
            image_id: Id of the image.
        """
        if (number := self._group.get(image_id)) is None:
            return ""
        return f"; delete {self.images / zip_name(number)} and run the same command again to certify its images again"

    def refresh(self) -> None:
        """Look for groups that were packed since the last look."""
        seen = self._seen = self._seen or set()
        for number in self.numbers():
            if number not in seen and (ids := self.packed_ids(number)) is not None:
                self._note(number, ids)

    def numbers(self) -> list[int]:
        """Numbers of the groups with a ZIP in the folder of images, damaged or not, in order."""
        found = (ZIP_NAME.fullmatch(path.name) for path in self.images.glob("*.zip"))
        return sorted(int(match[1]) for match in found if match)

    def packed_ids(self, number: int) -> tuple[str, ...] | None:
        """Ids of the images of a packed group, in their order; ``None`` if one of its ZIPs is missing or not whole.

        Args:
            number: Number of the group.
        """
        try:
            both = [tuple(members_of(folder / zip_name(number))) for folder in (self.maps, self.images)]
        except (OSError, InputError):
            return None
        ids = tuple(name.removesuffix(SUFFIX) for name in both[1] if name.endswith(SUFFIX))
        whole = both[0] == both[1] and len(ids) == len(both[1]) and all(map(SAFE_ID.fullmatch, ids))
        return ids if whole else None

    def packed(self) -> dict[str, int]:
        """Number of the group of each image that is packed."""
        self.refresh()
        return self._group

    def loose(self, folder: Path) -> set[str]:
        """Ids of the images with a file of their own in a folder, whatever it contains.

        Args:
            folder: One of the two folders.
        """
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries]
        except FileNotFoundError:
            return set()
        return {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX) and not name.startswith(".")}

    def stored(self) -> set[str]:
        """Ids of the images with a file in the folder of images, loose or packed."""
        return self.loose(self.images) | self.packed().keys()

    def pack(self, number: int, ids: Sequence[str]) -> None:
        """Move the files of a group into its ZIPs. After a kill at any moment the same call ends the work.

        Args:
            number: Number of the group.
            ids: Ids of its images, all of them loose or all packed, in order.

        Raises:
            InputError: If a ZIP cannot be written.
        """
        if self.packed_ids(number) != tuple(ids):
            for folder in (self.maps, self.images):
                paths = (folder / f"{image_id}{SUFFIX}" for image_id in ids)
                members = ((path.name, read_whole(path, MAX_TENSORS)) for path in paths)
                write_packed(folder / zip_name(number), members)
        self._note(number, ids)
        for image_id in ids:
            for folder in (self.images, self.maps):
                (folder / f"{image_id}{SUFFIX}").unlink(missing_ok=True)

    def _note(self, number: int, ids: Sequence[str]) -> None:
        seen = self._seen = self._seen or set()
        seen.add(number)
        self._group.update(dict.fromkeys(ids, number))

    def own(self) -> Iterator[Path]:
        """The files in both folders that a run wrote, as their content shows; they may be damaged after their start."""
        for folder in (self.maps, self.images):
            yield from (folder / f"{image_id}{SUFFIX}" for image_id in own_ids((self.maps, self.images)))
            yield from (path for path in folder.glob("*.zip") if ZIP_NAME.fullmatch(path.name) and _is_own(path))


def _is_own(path: Path) -> bool:
    if kind_of(path.lstat().st_mode) is not None:
        return False
    with path.open("rb") as file:
        start = file.read(512)
    return start.startswith(b"PK\3\4") and BEGINS in start
