"""The configuration files that come with the package: listed, and copied to where they can be changed."""

from collections.abc import Iterator
from pathlib import Path

import lit_certattr
from lit_certattr.errors import InputError
from lit_certattr.files.whole_file import write_whole

_PACKAGE = Path(lit_certattr.__file__).parent


def folder() -> Path:
    """The folder of the files: inside the installed package, or beside it in a checkout.

    Raises:
        InputError: If it is not there.
    """
    for place in (_PACKAGE / "configs", _PACKAGE.parent / "configs"):
        if (place / "certify").is_dir():
            return place
    raise InputError("the configurations of the package are missing: install lit-certattr again")


def known(name: str) -> bool:
    """Whether the package has a configuration of this name.

    Args:
        name: A name such as ``"certify/photographs.yaml"``.
    """
    return name in (file.relative_to(folder()).as_posix() for file in folder().rglob("*.yaml"))


def configurations() -> Iterator[tuple[str, str]]:
    """Name and first sentence of each file, in order.

    Yields:
        A name such as ``"certify/photographs.yaml"``, and what its first comment says; it may say nothing.
    """
    place = folder()
    for file in sorted(place.rglob("*.yaml")):
        comment: list[str] = []
        for line in file.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            comment.append(line.removeprefix("#").strip())
        yield file.relative_to(place).as_posix(), " ".join(comment).partition(". ")[0].removesuffix(".")


def copy(destination: str, overwrite: bool = False) -> int:
    """Copy all files into a folder, which commands then find as in the documentation.

    Args:
        destination: The folder; made if it is missing.
        overwrite: Whether files that are there already are replaced.

    Returns:
        The number of files.

    Raises:
        InputError: If a file is there already, before anything is written, or cannot be written.
    """
    target = Path(destination).expanduser()
    names = [name for name, _ in configurations()]
    if target.resolve() == folder().resolve():
        raise InputError(f"{target} is the folder of the package itself; choose another one")
    for name in names if not overwrite else ():
        if (target / name).exists():
            raise InputError(f"{target / name} exists; choose another folder, or give --overwrite to replace it")
    for name in names:
        try:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{target / name} cannot be written: {error.strerror}") from None
        write_whole(target / name, (folder() / name).read_bytes())
    return len(names)
