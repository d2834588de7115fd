"""The command line, the journal of a run, and its table."""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binom

import benchmarks.soundness as package
from benchmarks.networks import SIGMA, network_and_data
from benchmarks.soundness.exact import ALPHA, PARTS, attack_exactly
from benchmarks.soundness.trained import AIMS, NUM_LEVELS, Settings, attack_images, certificates
from benchmarks.soundness.verdicts import Verdict
from lit_certattr.data import Sample

FACTORS = (0.5, 0.9, 0.999, 4.0)
RANDOM_FACTORS = (0.999, 4.0)
TEST_ERROR = 0.001
"""Probability that any true claim of the whole run is called broken."""


class Journal:
    """Finished batches of a run, one a line; a line that was cut off is done again.

    Args:
        path: The file.
        settings: What the run does; a file of another run is refused.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.done = path, dict[str, Any]()
        settings = json.loads(json.dumps(settings))
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        if whole and whole[0] != settings:
            raise SystemExit(f"{path} holds another run ({whole[0]}); choose another --output")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in (whole or [settings])))
        for line in whole[1:]:
            self.done[line["name"]] = line["outcome"]

    def add(self, name: str, outcome: Any) -> None:
        """Write down a batch."""
        with self.path.open("a") as file:
            file.write(json.dumps({"name": name, "outcome": outcome}) + "\n")
        self.done[name] = json.loads(json.dumps(outcome))


def run(arguments: argparse.Namespace) -> None:
    """Do what is not done yet."""
    parts = arguments.parts
    sizes = {"digits": arguments.digits, "mnist5k": arguments.mnist}
    settings = {key: value for key, value in vars(arguments).items() if key not in ("what", "output")}
    journal = Journal(arguments.output / "journal.jsonl", settings)
    for first in range(0, arguments.exact, arguments.batch):
        if (name := f"exact-{first}") not in journal.done:
            seeds = range(first, min(first + arguments.batch, arguments.exact))
            journal.add(name, [[list(row) for row in attack_exactly(seed, FACTORS, parts)] for seed in seeds])
    for data, size in sizes.items():
        if not size:
            continue
        network, module, _ = network_and_data(data)
        module.setup("fit")
        module.setup("test")
        sets = [module.test_set, module.val_set, module.train_set]
        samples: list[Sample] = [part[index] for part in sets if part is not None for index in range(len(part))][:size]
        pixels = samples[0].image[0].numel()
        setting = Settings(
            SIGMA,
            arguments.samples,
            arguments.fresh,
            arguments.steps,
            FACTORS,
            RANDOM_FACTORS,
            TEST_ERROR / num_tests(sizes[data], pixels) / len([size for size in sizes.values() if size]),
        )
        for first in range(0, size, arguments.batch):
            if (name := f"{data}-{first}") not in journal.done:
                journal.add(name, attack_images(network, samples[first : first + arguments.batch], setting, first))
                print(f"{name}: done", flush=True)


def num_tests(images: int, pixels: int) -> int:
    """At least as many tests as the verdicts on so many images can hold."""
    points = len(AIMS) * (len(FACTORS) + len(RANDOM_FACTORS))
    labels = pixels * NUM_LEVELS
    overlaps = 3 * pixels
    cosines = 3
    ends = 3 * 2 * (3 + 2)  # three radii, two sides, three claims and two percentiles
    return images * points * (labels + overlaps + cosines + ends) * 2  # decisions, and the means they rest on


def table(arguments: argparse.Namespace) -> bool:
    """Print the tables; whether all is as it must be."""
    lines = (arguments.output / "journal.jsonl").read_text().splitlines()
    settings, batches = json.loads(lines[0]), [json.loads(line) for line in lines[1:]]
    print(" ".join(f"{key}={value}" for key, value in settings.items()))
    fine = _exact_table([row for batch in batches if batch["name"].startswith("exact") for row in batch["outcome"]])
    for data in ("digits", "mnist5k"):
        outcomes = [batch["outcome"] for batch in batches if batch["name"].startswith(data)]
        if outcomes:
            fine &= _trained_table(data, outcomes)
    return fine


def _exact_table(images: Sequence[Any]) -> bool:
    if not images:
        return True
    sums: dict[tuple[str, float], Verdict] = defaultdict(Verdict)
    false: dict[tuple[str, float], int] = defaultdict(int)
    for rows in images:
        for name, factor, verdict in rows:
            sums[name, factor] += Verdict(*verdict)
            false[name, factor] += Verdict(*verdict).violated > 0
    allowed = int(binom.ppf(0.999, len(images), ALPHA))
    print(f"\nclosed form, {len(images)} images a certificate, alpha = {ALPHA}: at most {allowed} may err\n")
    print("| certificate | of its radius | claims | broken | images with a broken claim |")
    print("|---|---|---|---|---|")
    for (name, factor), verdict in sums.items():
        claims, broken = verdict.inside + verdict.beyond, verdict.violated + verdict.broken
        shown = false[name, factor] if factor < 1 else ""
        print(f"| {name} | {factor:g} | {claims:,} | {broken:,} ({broken / max(claims, 1):.2%}) | {shown} |")
    held = all(count <= allowed for count in false.values())
    names = {name for name, _ in sums}
    return held and all(sums[name, FACTORS[-1]].broken for name in names)


def _trained_table(data: str, outcomes: Sequence[Any]) -> bool:
    images, attacked, certified = (sum(outcome[index] for outcome in outcomes) for index in range(3))
    sums: dict[tuple[str, str, float], Verdict] = defaultdict(Verdict)
    points: dict[tuple[str, str, float], int] = defaultdict(int)
    for outcome in outcomes:
        for _, kind, factor, certificate, count, verdict in outcome[3]:
            key = (certificate, kind, factor)
            sums[key] += Verdict(*verdict)
            points[key] += count
    total = sum(count for (name, _, _), count in points.items() if name == "pixel")
    print(f"\n{data}: {images:,} images, {total:,} points; {attacked:,} of {certified:,} certified pixels attacked\n")
    print(
        "| certificate | attack | budget | points | must hold | near | violated | means too low | may break | broken |"
    )
    print("|---" * 10 + "|")
    order = list(certificates())
    for (name, kind, factor), v in sorted(sums.items(), key=lambda item: order.index(item[0][0])):
        count = points[name, kind, factor]
        cells = (name, kind, f"{factor:g}", f"{count:,}", *(f"{value:,}" for value in v))
        print("| " + " | ".join(cells) + " |")
    broken = sum(verdict.broken for (name, _, factor), verdict in sums.items() if factor > 1 and name == "pixel")
    return not any(verdict.violated or verdict.weaker for verdict in sums.values()) and broken > 0


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line; 0 if all is as it must be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soundness",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--output", type=Path, default=Path("runs/soundness"))
    parser.add_argument("--exact", type=int, default=2000, help="images of each closed form")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="closed forms that are attacked")
    parser.add_argument("--digits", type=int, default=1200, help="digits")
    parser.add_argument("--mnist", type=int, default=24, help="MNIST images")
    parser.add_argument("--batch", type=int, default=24, help="images attacked at once")
    parser.add_argument("--samples", type=int, default=1000, help="samples behind a certificate")
    parser.add_argument("--fresh", type=int, default=1000, help="samples behind a verdict")
    parser.add_argument("--steps", type=int, default=20, help="gradient steps of an attack")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    if arguments.what == "run":
        run(arguments)
    return 0 if table(arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
