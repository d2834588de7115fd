"""How many samples a certificate needs, from the votes of real maps.

    python -m benchmarks.economy overlap  --data photographs --images 2
    python -m benchmarks.economy stopping --data photographs --images 2
    python -m benchmarks.economy labels   --data photographs --images 2

and the same three with `--data mnist5k --images 24`. The votes of the first 64, 128, ... samples of each image are
drawn once and kept in a cache (`--cache`), so every number of samples is compared on the same noise. 8,192 samples of
a photograph take ten to fifteen minutes on one core.

`overlap` gives the certified overlap of the top 20 % for each bound and number of samples, and the number with which
each bound says what Hoeffding's bound, as published, says with all of them. `stopping` is the table of
`benchmarks.early_stopping` with more samples. `labels` counts certified pixels: all samples for both labels, some of
them to choose the label (as published), Holm instead of Bonferroni.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.counts import EVERY, Counts, counts
from benchmarks.early_stopping import print_table
from benchmarks.networks import SIGMA
from lit_certattr.certificates import PixelResult, TopKOverlapResult
from lit_certattr.certificates.overlap_bounds import Bound, uncovered_sizes
from lit_certattr.certification import Look
from lit_certattr.statistics import doubling_looks, look_share, smallest_sample_size, smallest_significant_count

ALPHA, TOP_K = 0.001, 0.2
BOUNDS: dict[str, dict[str, Any]] = {
    "Hoeffding (published)": {"bound": "published_hoeffding"},
    "exact": {"uncovered": [0.0]},
    "exact, 128 samples choose S": {"uncovered": [0.0], "num_selection": 128},
    "exact, 1 % of K may fail": {"uncovered": [0.01]},
    "default: both": {},
    "one number": {"bound": "one_number", "num_selection": 128},
}
READINGS: dict[str, Callable[[TopKOverlapResult], float]] = {
    "overlap at r = 0": lambda result: result.overlap(0.0) / result.size,
    "overlap at r = 0.02": lambda result: result.overlap(0.02) / result.size,
    "overlap at r = 0.05": lambda result: result.overlap(0.05) / result.size,
    "radius of 50 %": lambda result: result.max_radius(0.5),
    "radius of 25 %": lambda result: result.max_radius(0.25),
}


def _record(num_samples: int, share: float = 1.0) -> dict[str, Any]:
    return {
        "num_samples": num_samples,
        "alpha": ALPHA,
        "alpha_share": share,
        "alpha_slack": 0.0,
        "sigma": SIGMA,
        "noise": "GaussianNoise",
        "flags": [],
    }


def overlap(
    image: Counts,
    num_samples: int,
    sparsity: float,
    bound: Bound = "clopper_pearson",
    uncovered: Sequence[float] = (0.0, 0.01),
    num_selection: int = 0,
    share: float = 1.0,
) -> TopKOverlapResult:
    """The certificate of the top 20 % that the first samples give."""
    votes, selection = image.at(num_samples, sparsity), image.at(num_selection, sparsity)
    exact = bound == "clopper_pearson"
    return TopKOverlapResult.from_votes(
        votes - selection,
        selection,
        num_selection=num_selection,
        top_k=TOP_K,
        sparsity=sparsity,
        saturation=0,
        map_kind="sparsified",
        bound=bound,
        uncovered=uncovered_sizes(uncovered if exact else [0.0], int(TOP_K * votes.numel())),
        num_constant=0,
        tied=0.0,
        joint=torch.zeros(0, 0, dtype=torch.int32),
        pairs=0,
        **_record(num_samples, share),
    )


def pixels(
    image: Counts,
    num_samples: int,
    levels: Sequence[float],
    tau: float = 0.5,
    correction: str = "bonferroni",
    share: float = 1.0,
) -> PixelResult:
    """The pixel certificate that the first samples give."""
    votes = torch.stack([image.at(num_samples, level) for level in levels])
    record = _record(num_samples, share)
    return PixelResult.from_votes(votes, 0, [0.0] * len(levels), levels, tau, correction, record)  # type: ignore[arg-type]


def print_overlap(images: Sequence[Counts], num_samples: int, masks: Sequence[float]) -> None:
    """Means over the images of what each bound says, and the samples that each needs to say as much as Hoeffding's."""
    sizes = [size for size in (256, 512, 1024, 2048, 4096, 8192) if size <= num_samples]
    for sparsity in masks:
        print(f"\nK = {TOP_K:.0%}, masks of {sparsity:.0%}\n\n| bound | samples | " + " | ".join(READINGS) + " |")
        print("|---" * (2 + len(READINGS)) + "|")
        for name, settings in BOUNDS.items():
            if "one_number" in settings.values() and sparsity != TOP_K:
                continue
            for size in sizes:
                values = [
                    [read(overlap(image, size, sparsity, **settings)) for read in READINGS.values()] for image in images
                ]
                cells = [f"{value:.3f}" for value in np.mean(values, 0)]
                print(f"| {name} | {size:,} | " + " | ".join(cells) + " |")
        print(f"\n| bound | samples for what Hoeffding says with {num_samples:,}: " + " | ".join(READINGS) + " |")
        print("|---" * (1 + len(READINGS)) + "|")
        published = [overlap(image, num_samples, sparsity, "published_hoeffding") for image in images]
        goals = {reading: float(np.mean([read(result) for result in published])) for reading, read in READINGS.items()}
        for name, settings in list(BOUNDS.items())[1:-1]:
            needed = [
                _smallest(images, num_samples, sparsity, settings, read, goals[key]) for key, read in READINGS.items()
            ]
            print(f"| {name} | " + " | ".join(needed) + " |", flush=True)


def _smallest(
    images: Sequence[Counts],
    num_samples: int,
    sparsity: float,
    settings: dict[str, Any],
    read: Callable[[TopKOverlapResult], float],
    goal: float,
) -> str:
    """Fewest samples, in steps of 64, by bisection: more samples say more, up to noise."""
    if goal == 0:
        return "-"
    low, high = settings.get("num_selection", 0) // EVERY, num_samples // EVERY

    def says(steps: int) -> bool:
        return float(np.mean([read(overlap(image, steps * EVERY, sparsity, **settings)) for image in images])) >= goal

    if not says(high):
        return f"more than {num_samples:,}"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if says(middle) else (middle, high)
    return f"{high * EVERY:,}"


def print_stopping(data: str, images: Sequence[Counts], num_samples: int) -> None:
    """The table of the stopping rules."""
    least = smallest_sample_size(0.75, ALPHA / images[0].votes[0, 0].size / 8)
    looks = doubling_looks(1 << (least - 1).bit_length(), num_samples)
    runs = []
    for image in images:
        run = []
        for number, n in enumerate(looks, 1):
            share = look_share(number, len(looks))
            results = {
                "c0": pixels(image, n, [TOP_K], 0.75, share=share),
                "c1": pixels(image, n, [TOP_K], 0.75, "holm", share),
                "c2": pixels(image, n, [0.5, 0.25, 0.1], share=share),
                "c3": overlap(image, n, TOP_K, share=share),
            }
            run.append(Look(n, 0.0, results))
        runs.append(run)
    print_table(data, runs)


def print_labels(images: Sequence[Counts], num_samples: int) -> None:
    """Certified pixels at tau = 0.75 by the way in which labels are chosen and pixels share alpha."""
    print("\n| samples | all samples test both labels | 64 of them choose the label | Holm |\n|---|---|---|---|")
    total = len(images) * images[0].votes[0, 0].size
    for n in doubling_looks(2 * EVERY, num_samples):
        both = sum(pixels(image, n, [TOP_K], 0.75).certified_count()[0] for image in images)
        holm = sum(pixels(image, n, [TOP_K], 0.75, "holm").certified_count()[0] for image in images)
        split = 0
        for image in images:
            chosen = image.at(EVERY, TOP_K)
            rest = image.at(n, TOP_K) - chosen
            own = torch.where(chosen > EVERY / 2, rest, n - EVERY - rest)
            split += int((own >= smallest_significant_count(n - EVERY, 0.75, ALPHA / rest.numel())).sum())
        shown = [f"{count / total:.1%} ({count / max(both, 1) - 1:+.1%})" for count in (split, holm)]
        print(f"| {n:,} | {both / total:.1%} | " + " | ".join(shown) + " |")


def main() -> None:
    """Read the command line and print one comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overlap", "stopping", "labels"])
    parser.add_argument("--data", choices=["mnist5k", "photographs"], default="photographs")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--samples", type=int, default=8192, help="samples an image, a multiple of 64")
    parser.add_argument("--masks", type=float, nargs="+", default=[0.2, 0.1, 0.05, 0.02], help="sizes of the masks")
    parser.add_argument("--cache", type=Path, default=Path("runs/economy"), help="folder for the votes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = counts(arguments.data, arguments.images, arguments.samples, arguments.cache)
    if any(image.num_constant for image in images):
        raise SystemExit("some noisy maps are constant; these tables are for maps that are not")
    print(f"{arguments.data}: {len(images)} images, {arguments.samples:,} samples, sigma = {SIGMA}, alpha = {ALPHA}")
    match arguments.what:
        case "overlap":
            print_overlap(images, arguments.samples, arguments.masks)
        case "stopping":
            print_stopping(arguments.data, images, arguments.samples)
        case _:
            print_labels(images, arguments.samples)


if __name__ == "__main__":
    main()
