"""Answers of the commands that need no import of torch: ``--help``, a misspelt command, a misspelt option.

Lightning takes seconds to import, and the parsers are made of its classes. So the first command after an installation
or an edit leaves the names of all options, and each help that was asked for, where Python leaves the modules that it
has compiled (``__pycache__``). The file counts only for the same sources of the package and the same versions of what
the parsers are made of; where it cannot be written (or ``PYTHONDONTWRITEBYTECODE`` is set), commands answer as they do
without it.
"""

import contextlib
import gc
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from lit_certattr.cli.program import spoken
from lit_certattr.cli.refusing import refuse

_PACKAGE = Path(__file__).parents[1]
_MADE_OF = ("lightning", "torch", "jsonargparse", "torchmetrics", "wandb")
_HELP = ("-h", "--help")


def run(program: str, arguments: Sequence[str] | None, main: Callable[[], None]) -> None:
    """Answer from what is known, or run the command.

    Args:
        program: ``"certify"`` or ``"train"``.
        arguments: Arguments of the command; ``None`` for those of the process.
        main: Imports and runs the command.

    Raises:
        SystemExit: As the command does.
    """
    typed, file = sys.argv[1:] if arguments is None else arguments, _file()
    known = _read(file)
    if (said := _mistake(program, typed, known)) is not None:
        refuse(f"{program}.py", said)
    if not _asks_for_help(typed):
        _Wanted.file = None if f"{program} options" in known else file
        main()
        return
    place = f"{program} {' '.join(typed)} {shutil.get_terminal_size().columns} {spoken('train.py')}"
    if isinstance(text := known.get(place), str):
        sys.stdout.write(text)
        return
    _Wanted.file = file
    heard = io.StringIO()
    try:
        with contextlib.redirect_stdout(heard):
            main()
    except SystemExit as end:
        if not end.code:
            _write(file, {place: heard.getvalue()})
        raise
    finally:
        sys.stdout.write(heard.getvalue())


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Within the block, modules are imported without collections of garbage, which would look at all of them again.

    Figures go to files, never to a window: a backend that the environment names and this installation lacks, perhaps
    that of a notebook, would end the import of matplotlib.
    """
    os.environ["MPLBACKEND"] = "agg"
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


def remember(program: str, parsers: Mapping[str, Any], also: Sequence[str] = ()) -> None:
    """Leave the options of a program for the next command, if they are not known yet.

    Args:
        program: ``"certify"`` or ``"train"``.
        parsers: The parser of each command below it.
        also: Words that a command answers itself although they are no options, such as old names.
    """
    if _Wanted.file is None:
        return
    options = {
        name: sorted({word.lstrip("-") for word in parser._option_string_actions} | set(also))
        for name, parser in parsers.items()
    }
    _write(_Wanted.file, {f"{program} options": options})


class _Wanted:
    """The file that the present command should write."""

    file: Path | None = None


def _asks_for_help(typed: Sequence[str]) -> bool:
    """Whether nothing but help is asked for."""
    return len(typed) in (1, 2) and typed[-1] in _HELP and not (len(typed) == 2 and typed[0].startswith("-"))


def _mistake(program: str, typed: Sequence[str], known: Mapping[str, Any]) -> str | None:
    """What is wrong with the words of a command, if that can be told from its options."""
    commands = known.get(f"{program} options")
    if not isinstance(commands, Mapping) or not typed or typed[0].startswith("-"):
        return None
    if typed[0] not in commands:
        return f"argument command: invalid choice: {typed[0]!r} (choose from {', '.join(map(repr, commands))})"
    names = list(commands[typed[0]])
    for word in typed[1:]:
        if word == "--":
            return None
        typed_name = word.partition("=")[0].removeprefix("--").rstrip("+")
        if word.startswith("--") and not _may_be(typed_name, names):
            name = typed_name.replace("-", "_")
            close = get_close_matches(name, set(names) - {name.rpartition(".")[0]}, n=1, cutoff=0.75)
            return f"unrecognized arguments: {word}" + (f" (did you mean {close[0]}?)" if close else "")
    return None


def _may_be(name: str, names: Sequence[str]) -> bool:
    """Whether a name is that of an option, or of a part of a class that an option chooses.

    Example:
        >>> names = ["network", "network.help", "trainer", "trainer.devices"]
        >>> [_may_be(name, names) for name in ("network.width", "trainer.devices", "trainer.device", "seed")]
        [True, True, False, False]
    """
    if name in names:
        return True
    above = name
    while "." in above:
        above = above.rpartition(".")[0]
        if above in names:
            return not any(one.startswith(f"{above}.") and one != f"{above}.help" for one in names)
    return False


def _file() -> Path:
    """The file for these sources and versions."""
    digest = hashlib.blake2b(sys.version.encode(), digest_size=8)
    for path in sorted(_PACKAGE.rglob("*.py")):
        about = path.stat()
        digest.update(f"{path} {about.st_size} {about.st_mtime_ns}\n".encode())
    for name in _MADE_OF:
        with contextlib.suppress(PackageNotFoundError):
            digest.update(f"{name} {version(name)}\n".encode())
    return Path(cache_from_source(__file__)).parent / f"quick-{digest.hexdigest()}.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(file: Path, more: Mapping[str, Any]) -> None:
    """Add to the file; what is of other sources is deleted."""
    if sys.dont_write_bytecode:
        return
    content = json.dumps(_read(file) | dict(more), indent=0)
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        for old in file.parent.glob("quick-*.json"):
            if old != file:
                old.unlink(missing_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_text(content, encoding="utf-8")
        part.replace(file)
