"""Programs in processes of their own, which a test starts in a moment instead of the seconds that the imports take.

A server imports the package once, and every program is forked from it: as fresh as from a new interpreter.
"""

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["lit_certattr", "lit_certattr.cli.certify"])

CERTIFY = "\n".join(  # the figures are those of the test that starts it
    ["import quick_figures", "quick_figures.use(True)", (Path(__file__).parents[1] / "certify.py").read_text()]
)
"""The command ``certify.py``."""


class Ended(NamedTuple):
    """A program that has ended."""

    status: int
    stdout: str
    stderr: str


class Started(NamedTuple):
    """A program that may still run; it writes its output to files of this name."""

    process: BaseProcess
    name: Path

    def signal(self, number: int) -> None:
        """Sends a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def runs(self) -> bool:
        """Whether it still runs."""
        return self.process.is_alive()

    def end(self) -> Ended:
        """Waits until it has ended."""
        self.process.join(timeout=300)
        self.process.kill()
        self.process.join()
        output = (self.name.with_suffix(kind).read_text() for kind in (".out", ".err"))
        return Ended(self.process.exitcode or 0, *output)  # None only before it has ended


def start(name: Path, program: str, *arguments: object) -> Started:
    """Starts a program with these arguments, in the present folder."""
    started = _SERVER.Process(target=_program, args=(program, [str(part) for part in arguments], name, Path.cwd()))
    started.start()
    return Started(started, name)


def run(folder: Path, program: str, *commands: tuple[object, ...]) -> list[Ended]:
    """Starts a program once for each tuple of arguments, all at the same time, and waits until all have ended."""
    names = [folder / f"program-{len(commands)}-{number}" for number in range(len(commands))]
    started = [start(name, program, *command) for name, command in zip(names, commands, strict=True)]
    return [one.end() for one in started]


def _program(program: str, arguments: list[str], name: Path, folder: Path) -> None:
    for number, kind in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(name.with_suffix(kind), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    sys.argv = ["program", *arguments]
    space = {"__name__": "__main__"}
    exec(compile(program, "program", "exec"), space)
    sys.stdout.flush()
