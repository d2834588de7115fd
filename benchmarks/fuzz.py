"""Random configurations of the commands: each ends well and passes its audit, or is refused in one line.

    python -m benchmarks.fuzz --accepted 500           # docs/scale.md
    python -m benchmarks.fuzz --only 17 --keep here    # one configuration again, with its directory

``certify.py run`` runs in this process with configurations of ``benchmarks/drawn_configs.py``, then ``audit``, and now
and then ``attack``, ``recertify``, ``export`` and ``evaluate``. A fault is any other exit status than 0 and 2, a
traceback, a refusal of no line or of several, an audit that finds something, a file that is left half-written, or a
command of more than a minute. A run with too few samples is
tried again with the number that the refusal names, which must be enough.
"""

import argparse
import contextlib
import io
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import numpy as np
import torch
import yaml
from PIL import Image

from benchmarks import small_figures
from benchmarks.drawn_configs import ROOMS, Config, drawn, exported, run_config
from lit_certattr.attribution import Attribution
from lit_certattr.cli.certify import main as certify
from lit_certattr.data import Digits
from lit_certattr.models import SmallCNN

PROTOCOL = Path(__file__).parents[1] / "configs/protocol/mnist5k.yaml"
LIMIT = 60
"""CPU seconds for one command."""
_TOO_FEW = re.compile(r"certifies nothing, even if all samples agree .*: at least (\d+) samples are needed")
_MOST = 1500  # samples


class Ended(NamedTuple):
    """A command that has ended in this process.

    Attributes:
        status: Exit status.
        said: What it wrote to stderr.
    """

    status: int
    said: str

    @property
    def refusal(self) -> str:
        """The last line, without the name of the command."""
        lines = self.said.splitlines()
        return lines[-1].removeprefix("certify.py: error: ") if lines else ""

    def fault(self) -> str | None:
        """What is wrong with how it ended; ``None`` for nothing."""
        errors = [line for line in self.said.splitlines() if line.startswith("certify.py: error: ")]
        if "Traceback" in self.said or self.status not in (0, 2):
            return f"status {self.status}: {self.said[-3000:]}"
        if self.status == 0 and errors:
            return f"ends well with an error: {errors[0]}"
        if self.status == 2 and (len(errors) != 1 or self.said.splitlines()[-1] != errors[0]):
            return f"not refused in one line: {self.said[-3000:]}"
        return None


class TooSlowError(BaseException):
    """A command took longer than it may."""


def run(*arguments: str) -> Ended:
    """Run ``certify.py`` in this process.

    Args:
        *arguments: Its arguments.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"took more than {LIMIT} s")

    said = io.StringIO()
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)  # not the time that others take
    status = 0
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            certify(list(arguments))
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if status > 128:  # a signal that is meant for this process
            raise
    except (Exception, TooSlowError) as error:
        status = 1
        said.write("Traceback: " + "".join(traceback.format_exception(error)))
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return Ended(status, said.getvalue())


def left_over(folder: Path) -> list[str]:
    """Files below a folder that nobody asked for: incomplete ones, locks."""
    odd = (path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix in (".partial", ".part"))
    return sorted(str(path) for path in odd)


class Tried(NamedTuple):
    """A configuration that was tried.

    Attributes:
        accepted: Whether the run ended well.
        refusal: Why it did not; empty otherwise.
        begun: Whether it was refused after something was written.
        commands: Commands that ended well.
        faults: What went wrong.
    """

    accepted: bool
    refusal: str
    begun: bool
    commands: tuple[str, ...]
    faults: tuple[str, ...]


def attempt(config: Config, dice: random.Random) -> Tried:
    """Run a configuration in the present folder, and what can follow it.

    Args:
        config: Configuration of ``certify.py run``; its number of samples is raised where it is too small.
        dice: Source of chance.
    """
    Path("config.yaml").write_text(yaml.safe_dump(config))
    out = Path("out")
    first = run("run", "--config=config.yaml", f"--output={out}")
    faults, done = list(_faults("run", first)), ["run"]
    faults += [f"run leaves {name}" for name in left_over(out)]
    if (few := _TOO_FEW.search(first.refusal)) and int(few[1]) <= _MOST and "num_samples" in config["certifier"]:
        if config["certifier"]["num_samples"] == int(few[1]):
            return Tried(False, first.refusal, out.exists(), (), (*faults, f"is not enough: {first.refusal}"))
        config["certifier"] |= {"num_samples": int(few[1]), "batch_size": 64}
        again = attempt(config, dice)
        return again._replace(faults=(*faults, *again.faults))
    if first.status:
        return Tried(False, first.refusal, out.exists(), (), tuple(faults))
    for command, arguments in _following(dice):
        ended = run(command, *arguments)
        faults += [*_faults(command, ended), *(f"{command} leaves {name}" for name in left_over(Path()))]
        if command == "audit" and ended.status and "--fresh" not in arguments:  # which needs something certified
            faults.append(f"the audit does not pass: {ended.said[-2000:]}")
        if not ended.status:
            done.append(command)
    return Tried(True, "", False, tuple(done), tuple(faults))


def _following(dice: random.Random) -> Iterator[tuple[str, Sequence[str]]]:
    """Commands after a run, with their arguments."""
    yield "audit", ["out"]
    if dice.random() < 0.15:
        steps = f"--search.steps={dice.choice((0, 1, 2))}"
        budgets = f"--budgets={dice.choice(('[0.05,1.0]', '[0.5]', '[1]', '[-1]'))}"
        more = ["--random_search"] if dice.random() < 0.3 else []
        yield (
            "attack",
            ["out", steps, budgets, "--draws=2", "--judge_draws=4", "--num_samples=40", "--max_panels=1", *more],
        )
        yield "audit", ["out"]
    if dice.random() < 0.1:
        alpha = dice.choice((0.9, 0.5, 0.99, 0, 2))
        yield "recertify", ["out", f"--alpha={alpha}", "--output=recertified"]
    if dice.random() < 0.1:
        yield "export", ["out", f"--format={dice.choice(('latex', 'markdown', 'csv', 'pdf'))}"]
    if dice.random() < 0.1:
        yield "audit", ["out", "--fresh", "--num_samples=40"]
    if dice.random() < 0.1:
        method = yaml.safe_dump(drawn(Attribution, dice), default_flow_style=True, width=10**6).strip()
        yield (
            "evaluate",
            [
                f"--config={PROTOCOL}",
                *("--checkpoint=network.ckpt", "--output=table", "--trainer.accelerator=cpu", "--trainer.threads=1"),
                *(
                    "--data=Digits",
                    "--data.init_args.max_images=4",
                    f"--data.init_args.batch_size={dice.choice((1, 4))}",
                ),
                f"--protocol.attribution={method}",
                *(f"--protocol.objective.init_args.top_k={dice.choice((1, 12))}", "--protocol.windows=[1]"),
                *(f"--protocol.top_k={dice.choice((1, 12, 64))}", f"--protocol.search.steps={dice.choice((1, 2))}"),
                "--protocol.prediction_search.steps=2",
            ],
        )


def _faults(command: str, ended: Ended) -> Iterator[str]:
    if (fault := ended.fault()) is not None:
        yield f"{command}: {fault}"


def prepare() -> None:
    """What configurations name, in the present folder: a tiny network, and masks."""
    torch.manual_seed(0)
    net = SmallCNN(image_size=8, width=4)
    torch.save(net.state_dict(), "network.pt")
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8, "width": 4}}
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, "network.ckpt")
    mask = Image.fromarray(np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2), np.ones((4, 4), np.uint8)))
    mask.save("mask.png")
    Path("masks").mkdir()
    (data := Digits(max_images=3)).setup("test")
    assert data.test_set is not None
    for image_id in data.test_set.ids:
        mask.save(f"masks/{image_id}.png")


@contextlib.contextmanager
def folder_of(kept: Path | None) -> Iterator[None]:
    """A new folder, as the present one, that is deleted at the end unless it is to be kept."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        prepare()
        yield
        if kept is not None:
            shutil.copytree(temporary, kept)


def classes_in(config: Config) -> Iterator[str]:
    """Names of the classes in a configuration.

    Example:
        >>> list(classes_in({"a": [{"class_path": "b.C"}]}))
        ['C']
    """
    for key, value in config.items():
        if key == "class_path" and isinstance(value, str):
            yield value.rpartition(".")[2]
        for below in value if isinstance(value, list) else [value]:
            if isinstance(below, dict):
                yield from classes_in(below)


def main() -> None:
    """Try configurations until enough are accepted, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--accepted", type=int, default=500, help="how many configurations must have been accepted")
    parser.add_argument("--first", type=int, default=0, help="number of the first configuration")
    parser.add_argument("--only", type=int, help="number of a configuration to try alone")
    parser.add_argument("--verbose", action="store_true", help="say of each configuration why it was refused")
    parser.add_argument("--keep", type=Path, help="a new folder for what it wrote")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("MPLBACKEND", "Agg")
    torch.set_num_threads(1)
    small_figures.use(True)
    accepted, refused, begun, faulty, number = 0, 0, 0, 0, given.first if given.only is None else given.only
    classes: Counter[str] = Counter()
    commands: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    while accepted < given.accepted:
        dice = random.Random(f"configuration {number}")
        config = run_config(dice)
        with folder_of(given.keep):
            tried = attempt(config, dice)
        accepted, refused = accepted + tried.accepted, refused + (not tried.accepted)
        begun += tried.begun
        if tried.accepted:
            classes.update(set(classes_in(config)))
        commands.update(tried.commands)
        refusals[re.sub(r"[\d.]+", "#", tried.refusal)[:90]] += not tried.accepted
        faulty += bool(tried.faults)
        for fault in tried.faults:
            print(f"{number}: {fault}\n  {config}", flush=True)
        if given.only is not None or given.verbose:
            print(f"{number}: {'begun, then ' * tried.begun}{tried.refusal or 'accepted'}", flush=True)
        if given.only is not None:
            sys.exit(bool(tried.faults))
        number += 1
        if number % 50 == 0:
            print(f"{accepted} accepted, {refused} refused, {faulty} with faults", flush=True)
    print(f"{accepted} accepted, {refused} refused ({begun} after something was written), {faulty} with faults")
    print(f"commands that ended well: {dict(commands)}")
    never = {one.__name__ for base in ROOMS for one in exported(base)} - classes.keys()
    print(f"classes in accepted configurations: {len(classes)}; in none: {', '.join(sorted(never)) or 'none'}")
    for refusal, count in refusals.most_common():
        print(f"  {count:4} {refusal}")
    sys.exit(bool(faulty))


if __name__ == "__main__":
    main()
