"""What `certify.py plan` finds for usual networks and methods, on this machine's device.

    python -m benchmarks.costs           # measure, and write the table of docs/performance.md again
    python -m benchmarks.costs table     # write the table again, from what was measured before

Each kind of device has one column of the table; numbers of others stay. On a CPU: one thread. Weights are random, and
the images are uniform noise: speed does not depend on them.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch import nn
from torch.utils.data import TensorDataset

from benchmarks.device import device_kind, device_name
from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.certification.host_memory import keep_freed_memory
from lit_certattr.jobs.measuring import Cost
from lit_certattr.models import SmallCNN, TorchvisionClassifier
from lit_certattr.smoothing import GaussianNoise

MEASURED = Path(__file__).with_name("costs.json")
PAGE = Path(__file__).parents[1] / "docs/performance.md"
BEGIN, END = "<!-- costs: written by benchmarks.costs -->\n", "<!-- end of costs -->\n"
METHODS = ["GradCAM", "LRP", "IntegratedGradients", "RISE"]
BATCH = {"cpu": {28: 256, 224: 8}, "cuda": {28: 4096, 224: 256}}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "small CNN, 1 x 28 x 28": (SmallCNN, (1, 28, 28)),
    "ResNet-18, 3 x 224 x 224": (lambda: TorchvisionClassifier("resnet18"), (3, 224, 224)),
}


def measure(seconds: float, kind: str = "auto", networks: Sequence[str] = tuple(NETWORKS)) -> dict[str, Any]:
    """Samples per second of each network and method on this machine's device, and in each mode of the gradient.

    Args:
        seconds: Time for each method and mode.
        kind: ``cuda``, ``cpu``, or ``auto`` for the accelerator if there is one.
        networks: The networks, of :data:`NETWORKS`.
    """
    kind = device_kind(kind)
    torch.manual_seed(0)
    keep_freed_memory()
    found: dict[str, Any] = {}
    for name in networks:
        build, shape = NETWORKS[name]
        images = TensorDataset(torch.rand(1, *shape), torch.zeros(1, dtype=torch.long))
        data = LightningDataModule.from_datasets(test_dataset=images)
        certificates = [PixelCertificate(top_k=(0.5, 0.25, 0.1)), TopKOverlapCertificate(top_k=0.2)]
        certifier = Certifier(Gradient(), GaussianNoise(0.25), certificates, 1000, BATCH[kind][shape[1]])
        trainer = jobs.TrainerOptions(accelerator=kind, devices=1, threads=1)
        plan = jobs.plan(certifier, data, build(), methods=METHODS, seconds=seconds, trainer=trainer)
        rows: dict[str, Cost] = {f"Gradient, {cost.precision}, {cost.memory_format}": cost for cost in plan.modes}
        rows |= {cost.method.partition("(")[0]: cost for cost in plan.methods}
        for row, cost in rows.items():
            numbers = (cost.samples_per_second, cost.forward, cost.backward)
            found[f"{name} | {row}"] = [None if one is None else float(f"{one:.3g}") for one in numbers]
    return {device_name(kind): found}


def table(measured: dict[str, Any]) -> str:
    """The table in Markdown: a row for each network and method, a column for each device."""
    rows = dict.fromkeys(row for found in measured.values() for row in found)
    devices = [f"samples per second, {device}" for device in measured]
    lines = [["network", "method", "forward", "backward", *devices, "1,000 images of 1,000 samples"]]
    for row in rows:
        numbers = [found.get(row, [None] * 3) for found in measured.values()]
        known = next((one for one in numbers if one[1] is not None), [None] * 3)
        hours = ["-" if one[0] is None else f"{1e6 / one[0] / 3600:.3g} h" for one in numbers]
        cells = ["-" if one is None else f"{one:g}" for one in (*known[1:], *(one[0] for one in numbers))]
        lines.append([*row.split(" | "), *cells, ", ".join(hours)])
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(measured: dict[str, Any], page: Path) -> None:
    """Write the table into a page, in place of the one that is there."""
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + table(measured) + END + rest.partition(END)[2])


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["measure", "table"], nargs="?", default="measure")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each method and mode")
    arguments = parser.parse_args()
    measured: dict[str, Any] = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    if arguments.what == "measure":
        measured |= measure(arguments.seconds)
        MEASURED.write_text(json.dumps(measured, indent=1) + "\n")
    write(measured, PAGE)


if __name__ == "__main__":
    main()
