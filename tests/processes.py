"""Programs in processes of their own, which a test starts in a moment instead of the seconds that the imports take.

A server imports the package once, and every program is forked from it: as fresh as from a new interpreter.
"""

import multiprocessing
import os
import sys
from pathlib import Path
from typing import NamedTuple

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["lit_certattr"])


class Ended(NamedTuple):
    """A program that has ended."""

    status: int
    stdout: str
    stderr: str


def run(folder: Path, program: str, *commands: tuple[object, ...]) -> list[Ended]:
    """Starts a program once for each tuple of arguments, all at the same time, and waits until all have ended."""
    names = [folder / f"program-{len(commands)}-{number}" for number in range(len(commands))]
    started = [
        _SERVER.Process(target=_program, args=(program, [str(part) for part in command], name))
        for command, name in zip(commands, names, strict=True)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=300)
        process.kill()
        process.join()
    outputs = [[name.with_suffix(kind).read_text() for kind in (".out", ".err")] for name in names]
    ended = zip(started, outputs, strict=True)
    return [Ended(process.exitcode or 0, *output) for process, output in ended]  # None only before it has ended


def _program(program: str, arguments: list[str], name: Path) -> None:
    for number, kind in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(name.with_suffix(kind), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["program", *arguments]
    space = {"__name__": "__main__"}
    exec(compile(program, "program", "exec"), space)
    sys.stdout.flush()
