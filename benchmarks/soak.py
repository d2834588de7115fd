"""Break commands on purpose, run them again, and compare every byte with those of a command that was left alone.

    python -m benchmarks.soak                          # docs/scale.md
    python -m benchmarks.soak --commands run fit --kills 4 --full 10

Each command is killed (SIGKILL) at random moments and in place of chosen changes of its files, half of a write being
done; and each finds the disk full at a chosen change of its files and after it (``--full 0``: at every one). Then the
same command runs again. It must end well, with the bytes of the command that was left alone, and leave nothing else.
The commands and their tiny data are in ``benchmarks/disturbed.py``.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.disturbed import COMMANDS, Ended, Place, prepare
from benchmarks.faulty_disk import Full, Killed
from lit_certattr.cli import train


class Soak:
    """One command, and what it is when nobody disturbs it.

    Args:
        name: Name of the command.
        folder: A new folder.

    Attributes:
        alone: The command that was left alone.
        faults: What went wrong, in words.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.command, self.folder = name, COMMANDS[name], folder
        self.faults: list[str] = []
        self._prepared = folder / "prepared"
        prepare(self._prepared)
        first = self._place("before")
        for arguments in self.command.before:
            ended = first.run(arguments=arguments)
            if ended.status:
                raise RuntimeError(f"{name}: {ended.said}")
        shutil.rmtree(self._prepared)
        shutil.copytree(first.folder / "work", self._prepared)
        whole = self._place("whole")
        self.alone = whole.run()
        if self.alone.status:
            raise RuntimeError(f"{name}: {self.alone.said}")
        self._expected, self._size = whole.content(), _size(whole.folder / "work")
        self._check(whole, self.alone, "left alone")

    def kill_at_random(self, dice: random.Random) -> bool:
        """Kill the command at a random moment; whether it had not ended before."""
        moment = dice.uniform(0, self.alone.seconds)
        place = self._place("killed")
        process = place.start()
        time.sleep(moment)
        process.kill()
        killed = place.end(process).status < 0
        self._again(place, f"killed after {moment:.2f} s of {self.alone.seconds:.2f} s")
        return killed

    def kill_in_change(self, number: int, dice: random.Random) -> None:
        """Kill the command in place of a change, and now and then once more when it goes on."""
        place, told = self._place("killed"), f"killed at change {number} of {self.alone.changes}"
        if (ended := place.run(Killed(number))).status >= 0:
            self.faults.append(f"{self.name}, {told}: it was not killed, but ended with {ended.status}: {ended.said}")
            return
        if dice.random() < 0.5:
            second = dice.randint(1, self.alone.changes)
            if place.run(Killed(second)).status < 0:
                told += f", then at change {second} of what goes on"
        self._again(place, told)

    def fill_disk(self, number: int) -> None:
        """Let the disk be full from a change on."""
        place = self._place("full")
        self._no_space(place, place.run(Full(number)), f"disk full at change {number} of {self.alone.changes}")

    def fill_small_disk(self, share: float) -> bool:
        """Run on a disk in memory that holds a share of the results alone; whether such a disk is to be had."""
        place = self._place("small")
        size = _size(self._prepared) + int(share * (self._size - _size(self._prepared)))
        disk = place.folder / "work"
        if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk]).returncode:
            return False
        try:
            shutil.copytree(self._prepared, disk, dirs_exist_ok=True)
            ended = place.run()
            subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
            self._no_space(place, ended, f"disk of {size:,} bytes")
        finally:
            subprocess.run(["umount", disk], check=True)
        return ended.status == 2

    def _no_space(self, place: Place, ended: Ended, told: str) -> None:
        """A command without space must say so in one line, leave nothing half-written, and go on when there is some."""
        errors = [line for line in ended.said.splitlines() if ".py: error: " in line]
        one_line = len(errors) == 1 and ended.said.splitlines()[-1:] == errors and "Traceback" not in ended.said
        if ended.status == 0:  # what failed is not worth an error, e.g. a wait for the disk
            self._check(place, ended, told)
            return
        if ended.status != 2 or not one_line or "No space left" not in errors[0]:
            self.faults.append(f"{self.name}, {told}: status {ended.status}, {ended.said[-2000:]!r}")
        self.faults += [f"{self.name}, {told}: leaves {stray}" for stray in place.strays()]
        if self.command.main is not train.main:
            self.faults += [f"{self.name}, {told}: half-written {name}" for name in self._halves(place)]
        self._again(place, told)

    def _halves(self, place: Place) -> Iterator[str]:
        """Files that the undisturbed command never had in this form."""
        for path in place.results.rglob("*"):
            if not path.is_file() or path.name.startswith("."):
                continue
            before = self._prepared / path.relative_to(place.folder / "work")
            content = path.read_bytes()
            known = hashlib.sha256(content).hexdigest() in self.alone.whole
            same = before.is_file() and before.read_bytes() == content
            if path.name == "provenance.json":
                json.loads(content)  # it holds times
            elif not known and not same:
                yield str(path.relative_to(place.folder))

    def _again(self, place: Place, told: str) -> None:
        """The same command again must end well, with the bytes of the undisturbed one."""
        self._check(place, place.run(), told)

    def _check(self, place: Place, ended: Ended, told: str) -> None:
        if ended.status or "Traceback" in ended.said:
            self.faults.append(f"{self.name}, {told}: again gives status {ended.status}, {ended.said[-2000:]!r}")
            return
        found = place.content()
        differ = sorted(name for name in found.keys() | self._expected if found.get(name) != self._expected.get(name))
        self.faults += [f"{self.name}, {told}: {name} is another one" for name in differ]
        self.faults += [f"{self.name}, {told}: leaves {stray}" for stray in place.strays()]

    def _place(self, name: str) -> Place:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        shutil.copytree(self._prepared, folder / "work")
        return Place(folder, self.command)


def _size(folder: Path) -> int:
    """Bytes of the pages of all files."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def chosen(most: int, count: int, dice: random.Random) -> list[int]:
    """So many of the numbers from 1, as even as they can be and different with other dice; all of them for 0.

    Example:
        >>> chosen(4, 0, random.Random(0)), len(set(chosen(100, 10, random.Random(0))))
        ([1, 2, 3, 4], 10)
    """
    if not 0 < count < most:
        return list(range(1, most + 1))
    return [1 + int((number + dice.random()) * most / count) for number in range(count)]


def main() -> None:
    """Break every command, and say what was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--kills", type=int, default=24, help="of each kind, for each command")
    parser.add_argument("--full", type=int, default=0, help="changes at which the disk is full; 0: every one, -1: none")
    parser.add_argument("--disks", type=int, default=8, help="real disks in memory that are too small; 0 if not root")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where the commands write")
    given = parser.parse_args()
    faults: list[str] = []
    for name in given.commands:
        dice = random.Random(f"{given.seed} {name}")
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            soak = Soak(name, Path(folder))
            random_kills = 0
            for _ in range(2 * given.kills):  # some come too late
                random_kills += random_kills < given.kills and soak.kill_at_random(dice)
            numbers = chosen(soak.alone.changes, given.kills, dice) if given.kills else []
            for number in numbers:
                soak.kill_in_change(number, dice)
            full = chosen(soak.alone.changes, given.full, dice) if given.full >= 0 else []
            for number in full:
                soak.fill_disk(number)
            small = sum(soak.fill_small_disk(number / (given.disks + 1)) for number in range(1, given.disks + 1))
        print(
            f"{name}: {soak.alone.changes} changes of files; killed at {random_kills} random moments and in place of "
            f"{len(numbers)} changes, disk full at {len(full)}, {small} disks too small; faults: {len(soak.faults)}",
            flush=True,
        )
        for fault in soak.faults:
            print(f"  {fault}", flush=True)
        faults += soak.faults
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
