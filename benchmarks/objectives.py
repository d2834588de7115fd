"""Which training objective makes attributions robust: measured under attack, and certified.

    python -m benchmarks.objectives run
    python -m benchmarks.objectives table
    python -m benchmarks.objectives plot --figure runs/objectives/objectives.png

`run` trains every preset of configs/objective on the 8x8 digits with the same network, optimiser, learning rate, batch
size and number of epochs, and measures it on images it was not trained on. One file a run is written, so a run that
was interrupted goes on where it was, and what was measured with the same settings is not measured again. Then it times
one step of every objective. `--vary "{weight: 3.0}"` trains the chosen presets with other arguments (may be repeated):

    python -m benchmarks.objectives run --split val --only noise_consistency --vary "{weight: 3.0}" --seeds 0

`table` and `plot` read the files: means over seeds, spread as the standard deviation of a seed.
"""

import argparse
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import correlation, mean, median, stdev
from typing import Any, NamedTuple

import torch
import yaml
from torch import nn

from benchmarks.objective_runs import EPS, Budget, build, images_of, measure, preset, presets, train
from benchmarks.objectives_plot import AXES, SHADE, draw
from benchmarks.timing import interleaved, ratios
from lit_certattr.models import SmallCNN
from lit_certattr.objectives import Objective

# Twenty points of a path at each of two hundred steps would be most of the study: fewer, for these alone.
REDUCED: Mapping[str, Mapping[str, Any]] = {
    "ig_norm": {"steps": 5, "search_steps": 2},
    "ig_sum_norm": {"steps": 5, "search_steps": 2},
    "cacr": {"steps": 3, "search_steps": 1},
}
BASELINE = "noise_gaussian"
EMPIRICAL = ("seeds", "accuracy", "PGD", "top-k", "Kendall", "LENS (chance)")
CERTIFIED = ("accuracy", "certified", "overlap", "radius", "same class, maps", "same class, certified", "step")
Row = dict[str, Any]


class Case(NamedTuple):
    """A preset with changed arguments, under the label of the tables."""

    label: str
    settings: dict[str, Any]


def cases(only: Sequence[str], vary: Sequence[str]) -> list[Case]:
    """The presets and their variations."""
    found = []
    for name in only or presets():
        for text in vary or [""]:
            changes = {**REDUCED.get(name, {}), **(yaml.safe_load(text) if text else {})}
            found.append(Case(f"{name} {text}".strip(), preset(name, changes)))
    return found


def write(path: Path, content: Any) -> None:
    """Write all of a file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1))
    part.replace(path)


def run(arguments: argparse.Namespace, budget: Budget) -> None:
    """Train and measure whatever is not there yet, seed by seed; then time the steps."""
    chosen = cases(arguments.only, arguments.vary)
    for seed in arguments.seeds:
        for label, settings in chosen:
            about = {"label": label, "seed": seed, "settings": settings, "budget": asdict(budget)}
            key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
            path = arguments.output / f"{key}.json"
            if path.exists():
                continue
            begin = time.process_time()
            numbers = measure(train(build(settings), budget, seed), budget)
            seconds = time.process_time() - begin
            write(path, about | {"numbers": numbers, "cpu_seconds": seconds})
            print(f"{label}, seed {seed}: {seconds:.1f} s, {brief(numbers)}", flush=True)
    if arguments.rounds:
        write(arguments.output / "steps/costs.json", costs(chosen, budget, arguments.rounds))


def brief(numbers: Mapping[str, float]) -> str:
    """The numbers of a run that say most."""
    names = ("accuracy", "pgd_accuracy", "attack_top_k_intersection", "certified_share", "same_class_overlap")
    return ", ".join(f"{name} {numbers[name]:.3f}" for name in (*names, "same_class_overlap_votes"))


def costs(chosen: Sequence[Case], budget: Budget, rounds: int) -> dict[str, float]:
    """CPU time of a training step of each objective, relative to cross-entropy."""
    images, labels, _ = images_of("train", budget.batch_size)
    steps = {}
    for label, settings in [Case("", preset("cross_entropy", {})), *chosen]:
        objective, network = build(settings), SmallCNN(image_size=8, width=budget.width)
        objective.epoch = float(budget.epochs)  # warm-ups are over
        optimizer = torch.optim.Adam(network.parameters(), budget.learning_rate)

        def step(
            objective: Objective = objective,
            network: nn.Module = network,
            optimizer: torch.optim.Optimizer = optimizer,
        ) -> None:
            optimizer.zero_grad()
            objective(network, images, labels)[0].backward()
            optimizer.step()

        steps[label] = step
    seconds = interleaved(steps, rounds)
    return {label: ratio for label, ratio in ratios(seconds, "").items() if label}


def rows(folder: Path, budget: Budget) -> dict[str, list[Row]]:
    """The runs of this budget by label, most certified first."""
    found: dict[str, list[Row]] = {}
    for path in sorted(folder.glob("*.json")):
        row = json.loads(path.read_text())
        if row["budget"] == asdict(budget):
            found.setdefault(row["label"], []).append(row)
    return dict(sorted(found.items(), key=lambda item: -mean(values(item[1], "certified_share"))))


def values(runs: Sequence[Row], name: str) -> list[float]:
    """One number of several seeds."""
    return [run["numbers"][name] for run in runs]


def spread(runs: Sequence[Row], name: str, scale: float = 1.0) -> tuple[float, float]:
    """Mean and standard deviation over seeds, NaN for a single one."""
    numbers = [scale * value for value in values(runs, name)]
    return mean(numbers), stdev(numbers) if len(numbers) > 1 else math.nan


def cell(runs: Sequence[Row], name: str, digits: int = 1, scale: float = 100.0) -> str:
    """Mean and spread, by default in percent."""
    centre, width = spread(runs, name, scale)
    return f"{centre:.{digits}f}" + ("" if math.isnan(width) else f" ± {width:.{digits}f}")


def table(arguments: argparse.Namespace, budget: Budget) -> None:
    """Print the two tables."""
    found = rows(arguments.output, budget)
    path = arguments.output / "steps/costs.json"
    steps = json.loads(path.read_text()) if path.exists() else {}
    print(f"| objective | {' | '.join(EMPIRICAL)} |\n|---|{'---|' * len(EMPIRICAL)}")
    for label, runs in found.items():
        pairs = [
            f"{cell(runs, f'attack_{name}', 2, 1.0)} ({mean(values(runs, f'random_{name}')):.2f})"
            for name in ("top_k_intersection", "kendall")
        ]
        chance = f"({mean(values(runs, 'attack_lens_precision_w1_chance')):.2f})"
        lens = f"{cell(runs, 'attack_lens_precision_w1', 2, 1.0)} {chance}"
        accuracies = [cell(runs, name) for name in ("accuracy", "pgd_accuracy")]
        print(f"| {named(label)} | {' | '.join([str(len(runs)), *accuracies, *pairs, lens])} |")
    print(f"\n| objective | {' | '.join(CERTIFIED)} |\n|---|{'---|' * len(CERTIFIED)}")
    for label, runs in found.items():
        shares = [cell(runs, name) for name in ("accuracy", "certified_share", "certified_overlap")]
        alike = [cell(runs, name) for name in ("same_class_overlap", "same_class_overlap_votes")]
        radius = cell(runs, "certified_radius", 3, 1.0)
        step = f"{steps[label]:.1f}" if label in steps else ""
        print(f"| {named(label)} | {' | '.join([*shares, radius, *alike, step])} |")
    for label in found:
        if label.startswith("noise_consistency"):
            print(
                f"\n{named(label)} against `{BASELINE}`, seed by seed: {gains(found[label], found.get(BASELINE, []))}"
            )
    if len(found) > 2:
        print(f"\nCorrelation with the certified share over {len(found)} objectives: {correlations(found)}")
    spent = [run["cpu_seconds"] for runs in found.values() for run in runs]
    print(f"\n{len(spent)} runs, median {median(spent):.1f} s of CPU, {sum(spent) / 60:.1f} minutes in all.")


def correlations(found: Mapping[str, Sequence[Row]]) -> str:
    """Pearson correlations of the objectives' means with their certified shares."""
    certified = [mean(values(runs, "certified_share")) for runs in found.values()]
    names = ("attack_top_k_intersection", "same_class_overlap", "accuracy", "pgd_accuracy")
    pairs = {name: correlation([mean(values(runs, name)) for runs in found.values()], certified) for name in names}
    return ", ".join(f"{name} {value:+.2f}" for name, value in pairs.items())


def gains(runs: Sequence[Row], base: Sequence[Row]) -> str:
    """Differences to the runs of another objective with the same seeds, in points."""
    floors = {run["seed"]: run["numbers"] for run in base}
    pairs = [(run["numbers"], floors[run["seed"]]) for run in runs if run["seed"] in floors]
    found = []
    for name in ("accuracy", "certified_share", "same_class_overlap", "same_class_overlap_votes"):
        points = [100 * (own[name] - floor[name]) for own, floor in pairs]
        width = f" ± {stdev(points):.1f}" if len(points) > 1 else ""
        found.append(f"{name} {mean(points):+.1f}{width}" if points else f"{name} unknown")
    return ", ".join(found)


def named(label: str) -> str:
    """A label as code, marked where the preset was reduced."""
    return f"`{label}`" + ("*" if label.split()[0] in REDUCED else "")


def plot(arguments: argparse.Namespace, budget: Budget) -> None:
    """Draw certified against empirical robustness."""
    names = ("attack_top_k_intersection", "certified_share")
    points = {
        label: (spread(runs, names[0]), spread(runs, names[1]), mean(values(runs, "same_class_overlap")))
        for label, runs in rows(arguments.output, budget).items()
    }
    labels = AXES[0].format(eps=EPS), AXES[1].format(radius=budget.radius)
    draw(points, labels, SHADE, arguments.figure)


def main(args: Sequence[str] | None = None) -> None:
    """Read the command line and run, print or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "plot"])
    parser.add_argument("--output", type=Path, default=Path("runs/objectives"), help="folder of the files of the runs")
    parser.add_argument("--figure", type=Path, default=Path("runs/objectives/objectives.png"))
    parser.add_argument("--only", nargs="+", default=[], help="presets; default all")
    parser.add_argument("--vary", action="append", default=[], help="arguments to change, as YAML; may be repeated")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the timing of steps; 0 for none")
    for setting in fields(Budget):
        name = f"--{setting.name.replace('_', '-')}"
        parser.add_argument(name, type=type(setting.default), default=setting.default)
    arguments = parser.parse_args(args)
    torch.set_num_threads(1)
    budget = Budget(**{setting.name: getattr(arguments, setting.name) for setting in fields(Budget)})
    {"run": run, "table": table, "plot": plot}[arguments.what](arguments, budget)


if __name__ == "__main__":
    main()
