"""All that has to be measured where there is a GPU: its tests, and its columns in docs/performance.md.

    python -m benchmarks.gpu                                          # the tests marked gpu, then every measurement
    python -m benchmarks.gpu --parts costs waits --again              # these parts once more
    python -m benchmarks.gpu --accelerator=cpu --seconds=0.01 --output=/tmp/dry    # a dry run, on any machine

`tests` runs the tests marked gpu; one that is skipped counts as failed, since it has to run here. `costs` is the table
of benchmarks.costs; `throughput` compares sampling with the bare loop; `statistics` is what each certificate costs
beside the samples; `waits` counts operations, kernels and waits of a block of samples. Each part is a process of its
own and has ten minutes; one that fails is reported in one line, and the others still run. What was measured on this
card with this version of torch is kept in benchmarks/gpu.json and benchmarks/costs.json, and not measured again without
--again, so a command that was stopped goes on. Nothing is downloaded. The exit status is 0, 1 if a part failed, 2 if
there is no GPU.

A dry run measures the small CNN on the CPU, collects the tests without running them, and writes to its folder alone.
"""

import argparse
import difflib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from xml.etree import ElementTree

import torch

from benchmarks import costs, statistics_cost, throughput, waits
from benchmarks.device import device_name
from benchmarks.timing import interleaved, ratios
from lit_certattr.attribution import Gradient
from lit_certattr.certification.host_memory import keep_freed_memory
from lit_certattr.files.whole_file import write_whole

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- gpu: written by benchmarks.gpu -->\n", "<!-- end of gpu -->\n"
NONE = "Not measured yet: no accelerator was at hand.\n"
TITLES = {"small_cnn": "small CNN", "resnet18": "ResNet-18", "efficientnet_lite0": "EfficientNet-Lite0"}
_LIMIT = 600
"""Seconds that a part may take."""

Numbers = dict[str, float | None]
"""What a part has measured, by the rows of its table: ``"network | quantity"``."""


class Size(NamedTuple):
    """One measurement: a network, the samples evaluated at once, and those of an image."""

    network: str
    batch: int
    samples: int

    def arguments(self, kind: str) -> Namespace:
        """The command line of the other benchmarks."""
        return Namespace(**self._asdict(), device=kind, repetitions=REPETITIONS[kind], only="", what="time")


SIZES = {
    "cuda": [Size("small_cnn", 4096, 65_536), Size("resnet18", 256, 2048), Size("efficientnet_lite0", 256, 2048)],
    "cpu": [Size("small_cnn", 16, 320)],
}
REPETITIONS = {"cuda": 7, "cpu": 1}
COSTS = {"cuda": list(costs.NETWORKS), "cpu": ["small CNN, 1 x 28 x 28"]}


class Place(NamedTuple):
    """Where the numbers and the page are."""

    numbers: Path
    costs: Path
    page: Path

    @classmethod
    def at(cls, folder: Path | None) -> "Place":
        """The files of the repository, or copies of them in a folder."""
        own = cls(Path(__file__).with_suffix(".json"), costs.MEASURED, costs.PAGE)
        if folder is None:
            return own
        folder.mkdir(parents=True, exist_ok=True)
        other = cls(*(folder / path.name for path in own))
        for source, copy in zip(own, other, strict=True):
            if source.exists() and not copy.exists():
                shutil.copyfile(source, copy)
        return other


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, f"{json.dumps(content, indent=1)}\n".encode())


def gpu_tests(kind: str, seconds: float, place: Place) -> Numbers:
    """Run the tests that need a GPU.

    Raises:
        SystemExit: If one fails or is skipped, or there is none.
    """
    files = [str(path) for path in sorted(ROOT.glob("tests/**/test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        options = ["-q", "-n0", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={results}"]
        if kind == "cpu":
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, "--collect-only", *files],
                cwd=ROOT, capture_output=True, text=True,
            )  # fmt: skip
            collected = sum("::" in line for line in done.stdout.splitlines())
            if done.returncode or not collected:
                raise SystemExit((done.stdout.strip() or done.stderr.strip() or "no test was found").splitlines()[-1])
            return {"collected": collected}
        subprocess.run([sys.executable, "-m", "pytest", *options, *files], cwd=ROOT, stdout=sys.stderr)
        return count_results(results.read_text() if results.exists() else "<testsuite/>")


def count_results(xml: str) -> Numbers:
    """Number of tests that passed, from the file that pytest writes.

    Raises:
        SystemExit: If one did not, or there is none; the message names the first ones.
    """
    cases = list(ElementTree.fromstring(xml).iter("testcase"))
    others = [(case.get("name"), result.tag) for case in cases for result in case if result.tag in _NOT_PASSED]
    if others or not cases:
        named = ", ".join(f"{name} ({tag})" for name, tag in others[:3])
        raise SystemExit(f"{len(others)} of {len(cases)} tests did not pass{': ' * bool(named)}{named}")
    return {"passed": len(cases)}


_NOT_PASSED = ("failure", "error", "skipped")


def table_of_costs(kind: str, seconds: float, place: Place) -> Numbers:
    """What `certify.py plan` finds, which has a table of its own."""
    found = costs.measure(seconds, kind, COSTS[kind])
    _write(place.costs, _read(place.costs) | found)
    return {"rows": sum(map(len, found.values()))}


def sampling(kind: str, seconds: float, place: Place) -> Numbers:
    """Sampling and its parts beside the bare loop."""
    keep_freed_memory()
    found: Numbers = {}
    for size in SIZES[kind]:
        cases = throughput.time_cases(throughput.Setting(size.arguments(kind), Gradient()))
        taken = interleaved(cases, REPETITIONS[kind], kind)
        name = f"{TITLES[size.network]}, batch {size.batch}"
        found[f"{name} | bare loop, ms per sample"] = 1e3 * median(taken["bare loop"]) / size.samples
        shares = ratios(taken, "bare loop")
        found |= {f"{name} | {case}, share of its time": shares[case] for case in cases if case != "bare loop"}
    return found


def beside_samples(kind: str, seconds: float, place: Place) -> Numbers:
    """What the statistics of each certificate cost beside the samples, in percent."""
    found: Numbers = {}
    for size in SIZES[kind]:
        if size.network != "small_cnn" or kind == "cpu":
            _, rows = statistics_cost.measure(size.arguments(kind))
            found |= {f"{TITLES[size.network]} | {name}": 100 * cost.share for name, cost in rows.items()}
    return found


def asked_of_the_device(kind: str, seconds: float, place: Place) -> Numbers:
    """Operations, kernels and waits of one block of samples."""
    found: Numbers = {}
    for size in SIZES[kind]:
        block = waits.measure(size.arguments(kind))
        found |= {f"{TITLES[size.network]}, batch {size.batch} | {name}": one for name, one in block._asdict().items()}
    return found


PARTS: Mapping[str, Callable[[str, float, Place], Numbers]] = {
    "tests": gpu_tests,
    "costs": table_of_costs,
    "throughput": sampling,
    "statistics": beside_samples,
    "waits": asked_of_the_device,
}
TABLES = {
    "throughput": "Sampling beside the bare loop, as above; time until the device has done it, medians of the rounds:",
    "statistics": "Counting and results of each certificate, in percent of the time of the samples:",
    "waits": "What one block of samples takes (`python -m benchmarks.waits`):",
}
"""The parts that have a table on the page, and the line above it."""


def page(measured: Mapping[str, Mapping[str, Numbers]]) -> str:
    """What stands on the page: a table for each part, with a column for each device.

    Args:
        measured: Numbers by device and part.
    """
    text = ""
    for part, line in TABLES.items():
        columns = {device: parts[part] for device, parts in measured.items() if part in parts}
        if columns:
            rows = dict.fromkeys(row for numbers in columns.values() for row in numbers)
            lines = [["network", "", *columns], ["---"] * (2 + len(columns))]
            for row in rows:
                values = [numbers.get(row) for numbers in columns.values()]
                lines.append([*row.split(" | "), *("-" if one is None else f"{one:.3g}" for one in values)])
            text += f"{line}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines) + "\n"
    return text or NONE


def write_page(place: Place) -> list[str]:
    """Write the tables again; returns the lines that are new."""
    before = place.page.read_text()
    if place.costs.exists():
        costs.write(_read(place.costs), place.page)
    start, _, rest = place.page.read_text().partition(BEGIN)
    now = start + BEGIN + page(_read(place.numbers)) + END + rest.partition(END)[2]
    write_whole(place.page, now.encode())
    return [line for line in difflib.ndiff(before.splitlines(), now.splitlines()) if line.startswith("+ ")]


def run_part(part: str, arguments: list[str]) -> str | None:
    """Measure a part in a process of its own; returns what went wrong in one line, or ``None``."""
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments, "--child", part]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    ) as process:
        try:
            _, said = process.communicate(timeout=_LIMIT)
        except BaseException as error:  # also Ctrl+C, which does not reach another session
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return f"it took more than {_LIMIT} seconds"
            raise
    last = (said.strip() or "it said nothing").splitlines()[-1]
    return f"{last} (status {process.returncode})" if process.returncode else None


def main() -> None:
    """Read the command line, measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accelerator", choices=["cuda", "cpu"], default="cuda", help="cpu: a dry run")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each method and mode of `costs`")
    parser.add_argument("--output", type=Path, help="write copies in this folder, in place of the repository's files")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--child", choices=list(PARTS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.accelerator == "cuda" and not torch.cuda.is_available():
        line = "torch sees no GPU on this machine; for a dry run give --accelerator=cpu --output=FOLDER"
        parser.exit(2, f"benchmarks.gpu: error: {line}\n")
    if given.accelerator == "cpu" and given.output is None:
        line = "a dry run needs --output=FOLDER, since its numbers are none of a GPU"
        parser.exit(2, f"benchmarks.gpu: error: {line}\n")
    place, device = Place.at(given.output and given.output.absolute()), device_name(given.accelerator)
    if given.child:
        found = PARTS[given.child](given.accelerator, given.seconds, place)
        measured = _read(place.numbers)
        _write(place.numbers, measured | {device: measured.get(device, {}) | {given.child: found}})
        return
    print(device, flush=True)
    options = [f"--accelerator={given.accelerator}", f"--seconds={given.seconds}"]
    options += [] if given.output is None else [f"--output={given.output.absolute()}"]
    failed = False
    for part in given.parts:
        if part in _read(place.numbers).get(device, {}) and not given.again:
            print(f"{part}: measured before (--again measures it again)", flush=True)
            continue
        start = time.monotonic()
        fault = run_part(part, options)
        found = _read(place.numbers).get(device, {}).get(part, {})
        said = ", ".join(f"{number} {name}" for name, number in found.items()) if len(found) == 1 else "measured"
        print(f"{part}: {said if fault is None else f'FAILED: {fault}'} ({time.monotonic() - start:.0f} s)", flush=True)
        failed = failed or fault is not None
    changes = write_page(place)
    print("\n".join([f"{place.page}: {len(changes)} lines are new or changed", *changes]))
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
