"""Checks the files in a run directory: missing files, unexpected files, and entries that are not files."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from lit_certattr.audit.finding import Finding, show
from lit_certattr.errors import InputError
from lit_certattr.files.packed import members_of
from lit_certattr.files.untrusted import kind_of
from lit_certattr.records.groups import parts_in
from lit_certattr.records.image_files import ZIP_NAME
from lit_certattr.records.run_directory import EDGE, RunDirectory
from lit_certattr.records.tensor_files import SUFFIX
from lit_certattr.records.working import process_files

MAX_FILES = 1_000_000
"""Largest number of entries of a run directory."""


def walk(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every entry below a directory, with its own status; links are not followed.

    Args:
        path: The directory.

    Yields:
        Path relative to the directory, with ``/``, and the status.
    """
    folders = [path]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                yield Path(entry.path).relative_to(path).as_posix(), entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))


def odd_kinds(directory: RunDirectory) -> list[Finding]:
    """Find links, pipes and devices: no run writes any, and reading them may leave the directory or never end.

    Args:
        directory: The run.
    """
    found = []
    for number, (name, status) in enumerate(walk(directory.path)):
        if number >= MAX_FILES:
            return [Finding(str(directory.path), f"holds more than {MAX_FILES:,} files")]
        kind = kind_of(status.st_mode)
        if kind not in (None, "a directory"):
            found.append(Finding(name, f"is {kind}; a run contains only regular files, so the audit read nothing"))
    return found


def check_files(directory: RunDirectory, ids: Sequence[str], panels: Collection[str]) -> Iterator[Finding]:
    """Find files that are missing, and files that no run writes.

    Args:
        directory: The run.
        ids: Ids of its images.
        panels: Ids of the images with a panel on the page.
    """
    attack, packed = directory.attacks, directory.image_files.packed()
    tensors = {f"{image_id}{SUFFIX}" for image_id in ids}
    loose = {f"{image_id}{SUFFIX}" for image_id in ids if image_id not in packed}
    pictures = {"summary.pdf", "summary.png"} | {f"{image_id}.png" for image_id in panels}
    tops = (directory.config, directory.provenance_file, directory.table, directory.report)
    needed = {path.name for path in tops if path != directory.table}  # the reader of the table has named it
    for folder, names in ((directory.maps, loose), (directory.images, loose), (directory.figures, pictures)):
        needed |= {f"{folder.name}/{name}" for name in names}
    attacked = (attack.settings_file, attack.table, attack.csv, attack.page, attack.lock.path, directory.lock.path)
    allowed = needed | {directory.table.name} | {path.relative_to(directory.path).as_posix() for path in attacked}
    allowed |= {path.name for path in process_files(directory.path)}
    shown = {"sandwich.pdf", "sandwich.png"} | {f"{name}{end}.png" for name in ids for end in ("", "-perturbed")}
    for folder, names in ((attack.images, tensors), (attack.figures, shown)):
        allowed |= {f"{folder.relative_to(directory.path).as_posix()}/{name}" for name in names}
    zips = {path for folder in (directory.maps, directory.images) for path in folder.glob("*.zip")}
    zips = {path for path in zips if ZIP_NAME.fullmatch(path.name)}
    allowed |= {path.relative_to(directory.path).as_posix() for path in zips}
    yield from _check_zips(directory, sorted(zips), tensors)
    if not directory.table.exists():  # the parts of the table of an unfinished run
        allowed |= {path.relative_to(directory.path).as_posix() for path in parts_in(directory.parts)}
    edges = (path.name for path in directory.figures.glob(f"*{EDGE}*.png"))
    allowed |= {f"{directory.figures.name}/{name}" for name in edges if name.split(EDGE)[0] in panels}
    folders = {path.parent.as_posix() for path in map(Path, allowed)} - {"."} | {directory.attack.name}

    attack_folders = {
        path.relative_to(directory.path).as_posix() for path in (attack.path, attack.images, attack.figures)
    }
    there = {name: kind_of(status.st_mode) for name, status in walk(directory.path)}
    for name in sorted(needed - there.keys()):
        yield Finding(name, "is missing")
    for name, kind in there.items():
        parent, _, file = name.rpartition("/")
        if parent in attack_folders and file.startswith(".") and file.endswith(".partial"):
            continue  # of an attack that was killed: the next one deletes it
        if kind is None and name not in allowed:
            owned = parent in folders and parent != directory.attack.name
            yield Finding(name, "belongs to no image of the run" if owned else "is no file of a run")
        elif kind is not None and name not in folders:
            yield Finding(name, "is no folder of a run" if name not in allowed else f"is {kind}, not a file")


def _check_zips(directory: RunDirectory, zips: Sequence[Path], tensors: Collection[str]) -> Iterator[Finding]:
    """Find ZIPs that are damaged or do not belong together, and members that belong to no image or are there twice."""
    packed: dict[Path, Collection[str]] = {}
    seen: dict[tuple[Path, str], Path] = {}
    for path in zips:
        place = path.relative_to(directory.path).as_posix()
        try:
            packed[path] = members_of(path).keys()
        except (OSError, InputError) as error:
            yield Finding(place, str(error))
            continue
        for name in packed[path]:
            if name not in tensors:
                yield Finding(place, f"{show(name)} in it belongs to no image of the run")
            elif (before := seen.setdefault((path.parent, name), path)) is not path:
                yield Finding(place, f"{name} in it lies in {before.name}, too")
            elif (path.parent / name).exists():
                yield Finding(place, f"{name} in it also lies beside it")
    other = {directory.maps: directory.images, directory.images: directory.maps}
    for path, names in packed.items():
        twin = other[path.parent] / path.name
        if list(packed.get(twin, ())) != list(names):
            place, beside = (one.relative_to(directory.path).as_posix() for one in (path, twin))
            yield Finding(place, f"does not hold the images of {beside}")
