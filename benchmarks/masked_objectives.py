"""Training objectives on images with a known object and a shortcut: where do maps lie, and what can be certified of it?

    python -m benchmarks.masked_objectives run
    python -m benchmarks.masked_objectives table

The images are scikit-learn's digits, each with a tag beside it: 16 x 16 pixels, the digit (8 x 8) in the left half, and
the tag in the right half, four bright pixels at one of ten places. In training the tag names the class of 90 % of the
images, and a random class otherwise; in the test images it is random, so that a network that reads the tag is often
wrong. The claim: at least half of the map lies on the digit, whose box is a quarter of the image.

`run` trains each case with the budget of ``benchmarks.objectives``, and measures it on test images. One file a run is
written, so an interrupted run goes on where it was. `table` prints means and standard deviations over seeds.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.objective_runs import ALPHA, SIGMA, TAU, TOP_K, Budget, build, digits, fit, preset
from benchmarks.objectives import Row, cell, write
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.certificates import Claim, ClaimCertificate, PixelCertificate, PixelResult
from lit_certattr.certificates.claims_result import ClaimsResult
from lit_certattr.metrics import CertifiedOneShare, SameClassOverlap
from lit_certattr.metrics.functional import energy_in_mask
from lit_certattr.models import SmallCNN
from lit_certattr.numbers import Box, EnergyInside
from lit_certattr.regions import Grid
from lit_certattr.smoothing import GaussianNoise

SIZE, TAGGED, RADIUS, CELLS = 16, 0.9, 0.1, 8
BOX = {"top": 0.25, "left": 0.0, "bottom": 0.75, "right": 0.5}
CLAIM = Claim("digit", EnergyInside(Box(**BOX)), at_least=0.5)
TRAINED_CLAIM = {
    "class_path": "lit_certattr.certificates.Claim",
    "init_args": {
        "name": "digit",
        "at_least": 0.5,
        "number": {
            "class_path": "lit_certattr.numbers.EnergyInside",
            "init_args": {"mask": {"class_path": "lit_certattr.numbers.Box", "init_args": BOX}},
        },
    },
}
GRID = {
    "class_path": "lit_certattr.attribution.RegionMap",
    "init_args": {
        "base": {"class_path": "lit_certattr.attribution.Gradient"},
        "regions": {"class_path": "lit_certattr.regions.Grid", "init_args": {"cells": CELLS}},
    },
}
HINGE = {"claim": TRAINED_CLAIM, "radius": 0.15}
CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "cross_entropy": ("cross_entropy", {}),
    "noise_gaussian": ("noise_gaussian", {}),
    "noise_consistency": ("noise_consistency", {}),
    "noise_consistency_regions": ("noise_consistency_regions", {"attribution": GRID}),
    "r2et": ("r2et", {}),
    "claim_hinge": ("claim_hinge", HINGE),
    "claim_hinge, no contrast": ("claim_hinge", HINGE | {"contrast": 0.0}),
}
"""Label, preset, and the arguments that these images need."""
COLUMNS = {
    "accuracy": "accuracy",
    "tag": "predicted what the tag says",
    "energy": "energy on the digit",
    "claim": "claim certified",
    "claim_bound": "certified energy",
    "regions": "cells certified",
    "same_class": "same class",
    "different_class": "different class",
}


def tagged(images: Tensor, tags: Tensor) -> Tensor:
    """Images ``[B, 1, 16, 16]`` of a digit on the left, and a tag on the right at one of ten places."""
    canvas = torch.zeros(len(images), 1, SIZE, SIZE)
    canvas[:, :, 4:12, :8] = images
    for index, tag in enumerate(tags.tolist()):
        row, column = 3 + 2 * (tag // 2), 10 + 3 * (tag % 2)
        canvas[index, :, row : row + 2, column : column + 2] = 1.0
    return canvas


def images_of(split: str, share: float, seed: int) -> tuple[Tensor, Tensor, Tensor, list[str]]:
    """Images, labels, tags and ids of a split; a share of the tags is the label, the others are random classes."""
    chosen = digits().train_set if split == "train" else digits().test_set
    assert chosen is not None
    samples = [chosen[index] for index in range(len(chosen))]
    labels = torch.tensor([int(sample.target) for sample in samples])
    generator = torch.Generator().manual_seed(seed)
    random = torch.randint(0, 10, labels.shape, generator=generator)
    tags = torch.where(torch.rand(labels.shape, generator=generator) < share, labels, random)
    return tagged(torch.stack([sample.image for sample in samples]), tags), labels, tags, [str(s.id) for s in samples]


def measure(network: nn.Module, budget: Budget) -> dict[str, float]:
    """What the table holds, on test images whose tags are random."""
    images, labels, tags, ids = images_of("test", 0.0, seed=10_000)
    with torch.no_grad():
        predictions = network(images).argmax(1)
    maps = Gradient()(network, images, predictions)
    overlap = SameClassOverlap(10, (SIZE, SIZE), TOP_K)
    overlap.update(maps, predictions)
    alike = overlap.compute()
    inside = Box(**BOX).mask((SIZE, SIZE)).expand_as(maps)
    return {
        "accuracy": float((predictions == labels).float().mean()),
        "tag": float((predictions == tags)[tags != labels].float().mean()),
        "energy": float(energy_in_mask(maps, inside).map.mean()),
        "same_class": float(alike["same_class_overlap"]),
        "different_class": float(alike["different_class_overlap"]),
    } | certified(network, images[: budget.images], ids[: budget.images], budget)


def certified(network: nn.Module, images: Tensor, ids: Sequence[str], budget: Budget) -> dict[str, float]:
    """The claim, and the cells of a grid, certified at radius 0.1."""
    noise = GaussianNoise(SIGMA)
    about = Certifier(Gradient(), noise, [ClaimCertificate([CLAIM], ALPHA)], budget.samples, batch_size=256)
    claims = [one["claims"] for one in about(network, images, None, ids)]
    held = [one for one in claims if isinstance(one, ClaimsResult)]
    cells = RegionMap(Gradient(), Grid(CELLS))
    pixel = Certifier(cells, noise, [PixelCertificate([TOP_K], ALPHA, TAU)], budget.samples, batch_size=256)
    results = [one["pixel"] for one in pixel(network, images, None, ids)]
    share = CertifiedOneShare(RADIUS)
    share.update([one for one in results if isinstance(one, PixelResult)])
    return {
        "claim": mean(float(one.holds(0, RADIUS)) for one in held),
        "claim_bound": mean(one.interval(0, RADIUS).low for one in held),
        "regions": float(share.compute()),
    }


def run(arguments: argparse.Namespace, budget: Budget) -> None:
    """Train and measure whatever is not there yet."""
    for seed in arguments.seeds:
        images, labels, _, _ = images_of("train", TAGGED, seed)
        for label in arguments.only or CASES:
            name, changes = CASES[label]
            settings = preset(name, changes)
            about = {"label": label, "seed": seed, "settings": settings, "budget": asdict(budget)}
            key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
            path = arguments.output / f"{key}.json"
            if path.exists():
                continue
            begin = time.process_time()
            torch.manual_seed(seed)
            network = fit(build(settings), SmallCNN(image_size=SIZE, width=budget.width), images, labels, budget)
            trained = time.process_time() - begin
            numbers = measure(network, budget)
            write(path, about | {"numbers": numbers, "cpu_seconds": time.process_time() - begin, "training": trained})
            print(f"{label}, seed {seed}: {numbers}", flush=True)


def table(arguments: argparse.Namespace, budget: Budget) -> None:
    """Print the table, in the order of the cases."""
    found: dict[str, list[Row]] = {label: [] for label in CASES}
    for path in sorted(arguments.output.glob("*.json")):
        row = json.loads(path.read_text())
        if row["budget"] == asdict(budget) and row["label"] in found:
            found[row["label"]].append(row)
    print(f"| objective | {' | '.join(COLUMNS.values())} |\n|---|{'---|' * len(COLUMNS)}")
    for label, runs in found.items():
        if runs:
            print(f"| `{label}` | {' | '.join(cell(runs, name) for name in COLUMNS)} |")
    spent = [row["cpu_seconds"] for runs in found.values() for row in runs]
    count = len({row["seed"] for runs in found.values() for row in runs})
    print(f"\n{len(spent)} runs with {count} seeds, {sum(spent) / 60:.1f} minutes of CPU.")
    covered = float(Box(**BOX).mask((SIZE, SIZE)).float().mean())
    print(f"Chance: {covered:.0%} of the energy on the digit, {TOP_K:.0%} overlap.")


def main(args: Sequence[str] | None = None) -> None:
    """Read the command line and run or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--output", type=Path, default=Path("runs/masked_objectives"), help="folder of the files")
    parser.add_argument("--only", nargs="+", default=[], choices=list(CASES), help="cases; default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for name in ("epochs", "width", "images", "samples"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Budget(), name))
    arguments = parser.parse_args(args)
    torch.set_num_threads(1)
    budget = Budget(**{name: getattr(arguments, name) for name in ("epochs", "width", "images", "samples")})
    {"run": run, "table": table}[arguments.what](arguments, budget)


if __name__ == "__main__":
    main()
