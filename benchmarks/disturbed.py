"""Commands on tiny data, each in a process of its own, in which a fault may be planted.

Processes are forked from one that has imported the package. Groups of images are small, so that runs write ZIPs, too,
and figures are small, since they take most of the time.
"""

import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import small_figures
from benchmarks.faulty_disk import Change, Disk, faulty
from lit_certattr.cli import certify, train
from lit_certattr.models import SmallCNN
from lit_certattr.records import RunDirectory

ROOT = Path(__file__).parents[1]
GROUP_SIZE = 2
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["benchmarks.disturbed", "sklearn.datasets", "pandas", "pyarrow.csv", "matplotlib.backends.backend_pdf"]
)

DIGITS = """
data: {class_path: Digits, init_args: {max_images: 5}}
certifier:
  attribution: Gradient
  noise: {class_path: GaussianNoise, init_args: {sigma: 0.3}}
  certificates:
    pixel: {class_path: PixelCertificate, init_args: {top_k: [0.5]}}
  num_samples: 100
  batch_size: 50
checkpoint: network.ckpt
max_panels: 1
trainer: {accelerator: cpu, threads: 1}
"""
"""A run of five images."""


class Command(NamedTuple):
    """A command to break.

    Attributes:
        main: Runs it.
        arguments: Its arguments.
        results: The folder that it writes.
        before: Commands that run before it, undisturbed.
    """

    main: Callable[[list[str]], None]
    arguments: tuple[str, ...]
    results: str
    before: tuple[tuple[str, ...], ...] = ()


_RUN = ("run", "--config=digits.yaml", "--output=run")
_QUICK = ("--search.steps=2", "--draws=2", "--judge_draws=8", "--budgets=[0.05,1.5]", "--max_panels=1")
COMMANDS = {
    "run": Command(certify.main, _RUN, "run"),
    "run, more images": Command(certify.main, _RUN, "run", ((*_RUN, "--data.init_args.max_images=3"),)),
    "attack": Command(certify.main, ("attack", "run", *_QUICK), "run/attack", ((*_RUN, "--max_images=3"),)),
    "evaluate": Command(
        certify.main,
        (
            "evaluate",
            f"--config={ROOT}/configs/protocol/mnist5k.yaml",
            *("--checkpoint=network.ckpt", "--output=table", "--trainer.accelerator=cpu", "--trainer.threads=1"),
            *("--data=Digits", "--data.init_args.max_images=6", "--data.init_args.batch_size=2"),
            *("--protocol.attribution=Gradient", "--protocol.objective.init_args.top_k=12", "--protocol.top_k=12"),
            *("--protocol.search.steps=2", "--protocol.prediction_search.steps=2", "--protocol.windows=[1]"),
        ),
        "table",
    ),
    "fit": Command(
        train.main,
        (
            "fit",
            f"--config={ROOT}/configs/train/digits.yaml",
            *("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.max_epochs=4"),
            *("--trainer.enable_model_summary=false", "--trainer.limit_train_batches=3"),
            *("--trainer.limit_val_batches=2", "--trainer.log_every_n_steps=1"),
        ),
        "runs/digits",
    ),
}
"""Every command that writes for long."""
_LAST = "checkpoints/last.ckpt"


class Ended(NamedTuple):
    """A command that has ended.

    Attributes:
        status: Exit status; minus the number of the signal that killed it.
        said: What it wrote to stderr.
        changes: Number of changes of its files; 0 if it was killed.
        seconds: How long it took; 0 if it was killed.
        whole: SHA-256 of each file that it wrote.
    """

    status: int
    said: str
    changes: int
    seconds: float
    whole: frozenset[str]


class Place:
    """A folder in which a command runs, again and again.

    Args:
        folder: The folder.
        command: The command.
    """

    def __init__(self, folder: Path, command: Command) -> None:
        self.folder, self.command = folder, command
        self.results = folder / "work" / command.results
        self._log, self._report = folder / "stderr.txt", folder / "changes.json"
        (folder / "temporary").mkdir()

    def start(self, fault: Callable[[Change], None] | None = None, arguments: Sequence[str] = ()) -> BaseProcess:
        """Start the command, or other arguments of the same program; what was stopped goes on."""
        typed = [*(arguments or self.command.arguments)]
        if not arguments and self.command.main is train.main and (self.results / _LAST).exists():
            typed.append(f"--ckpt_path={self.command.results}/{_LAST}")
        self._report.unlink(missing_ok=True)
        process = _SERVER.Process(target=_process, args=(self.command.main, typed, str(self.folder), fault))
        process.start()
        return process

    def end(self, process: BaseProcess) -> Ended:
        """Wait for the end of a process."""
        process.join(300)
        process.kill()
        process.join()
        found: dict[str, Any] = {"changes": 0, "seconds": 0.0, "whole": []}
        if self._report.exists():
            found = json.loads(self._report.read_text())
        said = self._log.read_text(errors="replace")
        whole = frozenset(found["whole"])
        return Ended(process.exitcode or 0, said, found["changes"], found["seconds"], whole)

    def run(self, fault: Callable[[Change], None] | None = None, arguments: Sequence[str] = ()) -> Ended:
        """Run the command, or other arguments of the same program."""
        return self.end(self.start(fault, arguments))

    def strays(self) -> Iterator[str]:
        """Files that nobody asked for: incomplete ones, locks, temporary ones."""
        for path in self.folder.rglob("*"):
            odd = path.name.startswith(".") or path.suffix in (".partial", ".part", ".tmp")
            if path.is_file() and (odd or path.parent.name == "temporary"):
                yield str(path.relative_to(self.folder))

    def content(self) -> dict[str, Any]:
        """All results by name: of a checkpoint what training goes on from, of the record of a run all but times."""
        found: dict[str, Any] = {}
        for path in sorted(self.results.rglob("*")):
            name = str(path.relative_to(self.results))
            log = self.command.main is train.main and path.suffix != ".ckpt"
            if not path.is_file() or path.name.startswith(".") or log:
                continue
            if path.suffix == ".ckpt":
                kept = torch.load(path, weights_only=True)
                found[name] = _digest([kept[key] for key in _TRAINED])
            elif path.name == "provenance.json":
                record = json.loads(path.read_text())
                found[name] = {key: value for key, value in record.items() if key not in ("sessions", "extended")}
            else:
                found[name] = path.read_bytes()
        return found


_TRAINED = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")


def _digest(value: Any) -> str:
    """SHA-256 of nested values, tensors by their bytes."""
    if isinstance(value, torch.Tensor):
        text = f"{value.dtype}{tuple(value.shape)}{hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()}"
    elif isinstance(value, Mapping):
        text = repr([(key, _digest(value[key])) for key in value])
    elif isinstance(value, list | tuple):
        text = repr([_digest(one) for one in value])
    else:
        text = repr(value)
    return hashlib.sha256(text.encode()).hexdigest()


def _process(
    main: Callable[[list[str]], None], typed: list[str], place: str, fault: Callable[[Change], None] | None
) -> None:
    """A command in a process of its own."""
    folder = Path(place)
    for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder / "work")
    tempfile.tempdir = str(folder / "temporary")
    torch.set_num_threads(1)
    RunDirectory.group_size = GROUP_SIZE
    small_figures.use(True)
    disk, start = Disk(folder / "work", fault), time.perf_counter()
    try:
        with faulty(disk):
            main(typed)
    finally:
        sys.stderr.flush()
        seconds = time.perf_counter() - start
        report = {"changes": disk.changes, "seconds": seconds, "whole": sorted(disk.whole)}
        (folder / "changes.json").write_text(json.dumps(report))


def prepare(folder: Path) -> None:
    """A tiny network, and the configuration of a run."""
    folder.mkdir()
    torch.manual_seed(0)
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    state = {f"net.{name}": value for name, value in SmallCNN(image_size=8).state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, folder / "network.ckpt")
    (folder / "digits.yaml").write_text(DIGITS)
