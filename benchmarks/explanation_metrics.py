"""Metrics of pairs of maps: what they cost, and what they say of maps that have nothing in common.

    OMP_NUM_THREADS=1 python -m benchmarks.explanation_metrics speed
    OMP_NUM_THREADS=1 python -m benchmarks.explanation_metrics ranks
    OMP_NUM_THREADS=1 python -m benchmarks.explanation_metrics chance

`speed`: CPU time a pair of eight pairs of 224 x 224 maps at k = 1000, one thread, the cases in turn, medians of nine
rounds; ratios are medians of the ratios of each round. "as published" follows the procedure of Kamath et al. (2024): a
list of pixels that grows by a window for every pixel of the set, and a list of candidates that is searched anew for
every diverse pick. (Its slips at the border, at pixel 0 and at the second pick are mended, so all cases give the same
numbers, which is checked.) "sets" is the plain way with Python sets. Ours takes the pairs as one batch and gives the
chance levels as well. "iid" maps are N(0, 1), "blurred" ones the absolute value of N(0, 1) after a Gaussian filter of 4
pixels.
`ranks`: correlations against torchmetrics and SciPy. `chance`: means over pairs of independent maps.
"""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import Tensor
from torchmetrics.functional import kendall_rank_corrcoef, spearman_corrcoef

from benchmarks.timing import interleaved, ratios
from lit_certattr.metrics.functional import kendall, lens_chance, lens_curves, lens_scores, lens_spearman, spearman

SIDE, K, BLUR, PAIRS = 224, 1000, 4.0, 8
CANDIDATES = {1: 6000, 2: 15_000, 3: 25_000}
"""Candidates for diverse picks, as published; doubled here where they run out."""

Numbers = tuple[float, float, float]


def random_maps(number: int, side: int, blur: float, seed: int = 0) -> Tensor:
    """Independent maps ``[number, side, side]``."""
    noise = np.random.default_rng(seed).standard_normal((number, side, side))
    if blur:
        noise = np.abs([gaussian_filter(one, blur) for one in noise])
    return torch.from_numpy(noise).float()


def window_of(pixel: int, window: int) -> list[int]:
    """Flat indices of the window of a pixel, cut at the border."""
    row, column = divmod(pixel, SIDE)
    rows = range(max(0, row - window), min(SIDE, row + window + 1))
    columns = range(max(0, column - window), min(SIDE, column + window + 1))
    return [r * SIDE + c for r in rows for c in columns]


def best(values: np.ndarray, number: int) -> np.ndarray:
    """Flat indices of the largest values, best first."""
    return np.argsort(values.ravel())[::-1][:number]


def published_near(pixels: np.ndarray, window: int) -> np.ndarray:
    """Neighbourhood of a set, from a list that grows."""
    near: list[int] = []
    for pixel in pixels.tolist():
        near = near + window_of(pixel, window)
    return np.unique(np.array(near))


def published_diverse(values: np.ndarray, window: int) -> np.ndarray:
    """Diverse set, from a list of candidates that loses a window for every pick."""
    number = CANDIDATES[window]
    while True:
        left, picks = best(values, number), list[int]()
        while len(picks) < K and len(left):
            picks.append(left[0])
            left = np.setdiff1d(left, window_of(int(left[0]), window), assume_unique=True)
        if len(picks) == K or number >= values.size:
            return np.array(picks)
        number *= 2


def published_scores(first: np.ndarray, second: np.ndarray, window: int) -> Numbers:
    """Intersection, precision and recall of two sets."""
    shared = np.intersect1d(first, second)
    near_second = np.intersect1d(first, published_near(second, window))
    near_first = np.intersect1d(second, published_near(first, window))
    return len(shared) / len(first), len(near_second) / len(first), len(near_first) / len(second)


def sets_diverse(values: np.ndarray, window: int) -> set[int]:
    """Diverse set, from one walk down the ranking."""
    picks: set[int] = set()
    blocked: set[int] = set()
    for pixel in best(values, values.size).tolist():
        if pixel not in blocked:
            picks.add(pixel)
            blocked.update(window_of(pixel, window))
            if len(picks) == K:
                break
    return picks


def sets_scores(first: set[int], second: set[int], window: int) -> Numbers:
    """Intersection, precision and recall of two sets."""
    near_first, near_second = ({q for p in s for q in window_of(p, window)} for s in (first, second))
    return len(first & second) / K, len(first & near_second) / K, len(second & near_first) / K


def cases_of(clean: Tensor, perturbed: Tensor, window: int, diverse: bool) -> dict[str, Callable[[], list[Numbers]]]:
    """Three ways to the same three numbers of each pair."""
    pairs = list(zip(clean.numpy(), perturbed.numpy(), strict=True))

    def published() -> list[Numbers]:
        chosen = [[published_diverse(m, window) if diverse else best(m, K) for m in pair] for pair in pairs]
        return [published_scores(first, second, window) for first, second in chosen]

    def sets() -> list[Numbers]:
        chosen = [[sets_diverse(m, window) if diverse else set(best(m, K).tolist()) for m in pair] for pair in pairs]
        return [sets_scores(first, second, window) for first, second in chosen]

    def ours() -> list[Numbers]:
        scores = lens_scores(clean, perturbed, K, [window], diverse)
        return torch.cat([scores.intersection, scores.precision, scores.recall], dim=1).tolist()

    return {"as published": published, "sets": sets, "ours": ours}


def print_speed(rounds: int) -> None:
    """Print the table of all windows and kinds of maps, and the cost of the passes over many windows or k."""
    print("| numbers | maps | w | as published | sets | ours | published / ours | sets / ours |")
    print("|---|---|---|---|---|---|---|---|")
    for diverse in (False, True):
        for kind, blur in (("iid", 0.0), ("blurred", BLUR)):
            for window in (1, 2, 3):
                clean, perturbed = random_maps(2 * PAIRS, SIDE, blur).split(PAIRS)
                cases = cases_of(clean, perturbed, window, diverse)
                found = [case() for case in cases.values()]
                if not np.allclose(found, found[0], atol=1e-6):
                    raise RuntimeError(f"the ways differ: {found}")
                seconds = interleaved(cases, rounds)
                ms = {name: 1e3 * statistics.median(values) / PAIRS for name, values in seconds.items()}
                ratio = ratios(seconds, "ours")
                name = "LENS-div" if diverse else "LENS"
                line = f"| {name} | {kind} | {window} | {ms['as published']:.1f} ms | {ms['sets']:.1f} ms "
                print(line + f"| {ms['ours']:.2f} ms | {ratio['as published']:.0f} | {ratio['sets']:.0f} |", flush=True)
    a, b = random_maps(2 * PAIRS, SIDE, 0.0).split(PAIRS)
    passes: dict[str, Callable[[], object]] = {
        "LENS, w = 1": lambda: lens_scores(a, b, K, [1]),
        "LENS, w = 1, 2, 3": lambda: lens_scores(a, b, K, (1, 2, 3)),
        "LENS-div, w = 1, 2, 3": lambda: lens_scores(a, b, K, (1, 2, 3), diverse=True),
        "LENS, w = 1, all 50,176 k": lambda: lens_curves(a, b, 1),
    }
    print("\n| one pass | CPU time a pair |\n|---|---|")
    for name, values in interleaved(passes, rounds).items():
        print(f"| {name} | {1e3 * statistics.median(values) / PAIRS:.2f} ms |")


def print_ranks(rounds: int) -> None:
    """Print the time of rank correlations."""
    a, b = random_maps(2, SIDE, 0.0)
    x, y = a.flatten(), b.flatten()
    cases: dict[str, Callable[[], object]] = {
        "Spearman, ours": lambda: spearman(a, b),
        "Spearman, SciPy": lambda: spearmanr(x.numpy(), y.numpy()),
        "Spearman, torchmetrics": lambda: spearman_corrcoef(x, y),
        "LENS-Spearman, ours": lambda: lens_spearman(a, b, 1),
        "Kendall, ours (SciPy)": lambda: kendall(a, b),
    }
    print("| correlation | CPU time |\n|---|---|")
    for name, values in interleaved(cases, rounds).items():
        print(f"| {name} | {1e3 * statistics.median(values):.1f} ms |")
    once = interleaved({"torchmetrics": lambda: kendall_rank_corrcoef(x, y)}, 1)
    print(f"| Kendall, torchmetrics (once) | {1e3 * once['torchmetrics'][0]:.0f} ms |")


def print_chance(pairs: int) -> None:
    """Print what the numbers are for maps that have nothing in common."""
    print("| size, k | maps | number | w = 1 | w = 2 | w = 3 |\n|---|---|---|---|---|---|")
    for side, k in ((SIDE, K), (128, K), (28, 100)):
        closed = [lens_chance((side, side), k, window) for window in (1, 2, 3)]
        print_line(f"{side}², {k}", "uniform sets", "LENS, closed form", closed)
        for kind, blur in (("iid", 0.0), ("blurred", BLUR)):
            clean, perturbed = random_maps(2 * pairs, side, blur).unflatten(0, (2, pairs))
            for diverse in (False, True):
                scores = lens_scores(clean, perturbed, k, (1, 2, 3), diverse)
                name = "LENS-prec-div" if diverse else "LENS-prec"
                print_line("", kind, name, scores.precision.mean(0).tolist())
                print_line("", kind, f"{name}, chance level", scores.precision_chance.mean(0).tolist())
                if diverse and bool((scores.picks_clean < k).any()):
                    print_line("", kind, "picks made", scores.picks_clean.mean(0).tolist(), digits=0)
            if not blur:
                for padding in ("paper", "symmetric"):
                    found = [float(lens_spearman(clean.abs(), perturbed.abs(), w, padding).mean()) for w in (1, 2, 3)]
                    print_line("", "iid, absolute", f"LENS-Spearman, {padding}", found)


def print_line(size: str, kind: str, name: str, values: list[float], digits: int = 3) -> None:
    """Print one line of the table of chance levels."""
    print(f"| {size} | {kind} | {name} | " + " | ".join(f"{value:.{digits}f}" for value in values) + " |", flush=True)


def main() -> None:
    """Read the command line and print one table."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "ranks", "chance"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pairs", type=int, default=20, help="pairs of maps of `chance`")
    arguments = parser.parse_args()
    if arguments.what == "chance":
        print_chance(arguments.pairs)
    else:
        {"speed": print_speed, "ranks": print_ranks}[arguments.what](arguments.rounds)


if __name__ == "__main__":
    main()
