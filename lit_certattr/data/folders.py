"""The contents of a folder of images, listed without opening a file."""

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn

from lit_certattr.data.images import IMAGE_SUFFIXES
from lit_certattr.errors import InputError
from lit_certattr.files.address import as_address
from lit_certattr.files.home import at_home

# What operating systems leave behind; hidden names (with a leading dot) are passed over as well.
_DEBRIS = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "desktop.ini"}
)


_ARCHIVES = frozenset({".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"})


@dataclass(frozen=True)
class Contents:
    """The visible contents of a folder; every path is relative to it.

    Attributes:
        images: Regular files with the file extension of an image, sorted.
        folders: Sub-folders at every depth, also empty ones, sorted.
        passed_over: Number of other regular files by extension in lower case; ``""`` counts files without one.
        irregular: Paths that are neither a folder nor a regular file: FIFOs, sockets, devices, broken links.
    """

    images: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    irregular: list[Path] = field(default_factory=list)

    def warning(self) -> str | None:
        """One line on all files that were ignored, or ``None`` if none was."""
        parts = [f"{count} {ending or 'without an ending'}" for ending, count in sorted(self.passed_over.items())]
        if self.irregular:
            parts.append(f"{len(self.irregular)} that are no regular files (the first is {self.irregular[0]})")
        count = self.passed_over.total() + len(self.irregular)
        return f"{count} file{'s' * (count > 1)} passed over: {', '.join(parts)}" if parts else None


def same_name(name: str) -> str:
    r"""A form that is equal for names that differ only in letter case or in the Unicode form of their accents.

    Args:
        name: Name of a file or folder.

    Example:
        >>> same_name("CAFE\u0301.png") == same_name("caf\u00e9.PNG")
        True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).lower())


def refuse_alike(names: list[str], where: Path) -> None:
    """Refuse names that some file systems treat as the same name.

    Args:
        names: Names in one folder.
        where: The folder, for the message.

    Raises:
        InputError: If two names differ only in letter case or in the Unicode form of their accents.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(same_name(name), name)
        if other != name:
            how = "letter case"
            if same_name(other) != other.lower() or same_name(name) != name.lower():
                how = f"letter case or Unicode form, written {other!a} and {name!a}"
            raise InputError(f"{other!r} and {name!r} in {where} differ only in {how}; rename or remove one of them")


def contents(root: Path) -> Contents:
    """List a folder with all its sub-folders; links are followed, except links to a folder above.

    Args:
        root: The folder.

    Raises:
        InputError: If a folder cannot be read, or two names in one folder are alike (:func:`refuse_alike`).
    """
    found = Contents()
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(Path(), frozenset())]
    while waiting:
        below, above = waiting.pop()
        folder = root / below
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(
                f"folder {folder} cannot be read ({error.strerror}); change its permissions or move it away"
            ) from error
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link back up would go round for ever
            continue
        taken = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _DEBRIS:
                continue
            path = below / entry.name
            match _kind(entry):
                case "folder":
                    taken.append(entry.name)
                    found.folders.append(path)
                    waiting.append((path, above | {here}))
                case "file" if path.suffix.lower() in IMAGE_SUFFIXES:
                    taken.append(entry.name)
                    found.images.append(path)
                case "file":
                    found.passed_over[path.suffix.lower()] += 1
                case _:
                    found.irregular.append(path)
        refuse_alike(taken, folder)
    for paths in (found.images, found.folders, found.irregular):
        paths.sort(key=lambda path: path.as_posix())
    return found


def existing_folder(root: str) -> Path:
    """The path of a folder that exists.

    Args:
        root: What the user gave; ``~`` is the home directory.

    Raises:
        InputError: If it does not exist, is no folder, or cannot be read.
    """
    path = _as_path(root)
    try:
        if path.is_dir():
            return path
        if not path.exists() and (address := as_address(root)) is not None:
            hint = "addresses are not downloaded; download the images, and give their folder"
            raise InputError(f"image folder {address}: {hint}")
        _refuse_archive(path)
        reason = "it is a file, not a folder" if path.exists() else f"there is no such folder, seen from {Path.cwd()}"
        if not path.exists() and path.suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(f"image {root}: there is no such file, seen from {Path.cwd()}")
    except (OSError, RuntimeError) as error:  # no permission, a name that is too long, no such user
        reason = f"it cannot be read ({getattr(error, 'strerror', None) or error})"
    raise InputError(f"image folder {root}: {reason}")


def images_at(root: str) -> tuple[Path, Contents]:
    """The images of a folder, or one image file.

    Args:
        root: What the user gave, a folder or an image file; ``~`` is the home directory.

    Returns:
        The folder, and the images in it that are meant.

    Raises:
        InputError: As :func:`existing_folder` and :func:`image_contents`, or if a file is no image by its extension.
    """
    file = _as_path(root)
    try:
        alone = file.is_file()
    except (OSError, RuntimeError):
        alone = False
    if not alone:
        folder = existing_folder(root)
        return folder, image_contents(folder)
    _refuse_archive(file)
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{root} is no image file ({', '.join(sorted(IMAGE_SUFFIXES))}); rename it, or choose another")
    return file.parent, Contents(images=[Path(file.name)])


def _as_path(root: str) -> Path:
    """The path that the user gave, with the home directory in place of ``~``."""
    if not isinstance(root, str | os.PathLike) or not str(root).strip():
        raise InputError(f"the image folder must be the path of a folder or of an image file, got {root!r:.80}")
    return at_home(root)


def _refuse_archive(file: Path) -> None:
    """Refuse an archive of images; the file may be missing."""
    if file.suffix.lower() in _ARCHIVES and file.is_file():
        raise InputError(f"{file} is an archive; unpack it, and give the folder of its images")


def image_contents(root: Path) -> Contents:
    """List a folder that must hold images; a warning counts the files that are passed over.

    Args:
        root: The folder.

    Raises:
        InputError: As :func:`contents`, or if there are no images.
    """
    found = contents(root)
    passed_over, endings = found.warning(), ", ".join(sorted(IMAGE_SUFFIXES))
    if not found.images:
        hint = f"; {passed_over}" if passed_over else ""
        raise InputError(f"image folder {root} holds no images ({endings}){hint}")
    if passed_over:
        rank_zero_warn(f"image folder {root}: {passed_over}; {endings} are read")
    return found


def _kind(entry: os.DirEntry) -> str:
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:  # a link to itself
        return "other"
