"""Three metrics against Quantus, on its own conventions: sparseness, random logit, relevance rank accuracy.

    python -m benchmarks.quantus_metrics
    python -m benchmarks.quantus_metrics --peers DIRECTORY    # into which Quantus was installed before

Quantus is installed with pip, without its dependencies, into a temporary directory that is deleted at the end; torch,
NumPy and the rest are those of this environment. Where the conventions differ, ours is given what Quantus makes of its
input: maps divided by the largest absolute value of the *batch*, 1e-7 added for the sparseness; for the random logit
the class that Quantus drew, and the similarity of the signed maps as one row of pixels. The table gives the largest
difference over ``--maps`` maps, and ``--vectors`` prints the numbers that ``tests/metrics/test_quantus.py`` holds.
"""

import argparse
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from lit_certattr.attribution import Gradient
from lit_certattr.metrics.functional import random_logit, relevance_rank_accuracy, sparseness

PEERS = ("quantus==0.6.0",)
SIDE, CLASSES, SEED = 8, 5, 42


def ramp(*shape: int) -> Tensor:
    """Numbers without a pattern, the same on every machine: no generator is asked."""
    count = int(np.prod(shape))
    return torch.sin(torch.arange(1, count + 1, dtype=torch.float64) ** 2).float().view(shape)


def network() -> nn.Module:
    """A small smooth network with known weights."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 6), nn.Tanh(), nn.Linear(6, CLASSES)).eval()
    with torch.no_grad():
        for index, parameter in enumerate(net.parameters()):
            parameter.copy_(ramp(*parameter.shape) / (1 + index))
    return net


def case(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, classes, maps and masks."""
    images = ramp(count, 1, SIDE, SIDE).abs()
    targets = torch.arange(count) % CLASSES
    maps = ramp(count, SIDE + 1, SIDE, SIDE)[:, 0]
    masks = ramp(count, 3, SIDE, SIDE)[:, 2] > torch.linspace(-0.8, 0.8, count)[:, None, None]
    return images, targets, maps, masks


def signed(net: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Signed gradient maps."""
    return Gradient(channels="sum")(net, images, targets).detach()


def scaled(maps: Tensor) -> Tensor:
    """Maps divided by the largest absolute value of the batch."""
    return maps / maps.abs().max()


def row_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity of maps as one row of pixels, data range that of both, as Quantus computes it."""
    pairs = zip(scaled(first).flatten(1).numpy(), scaled(second).flatten(1).numpy(), strict=True)
    return torch.tensor(
        [structural_similarity(a, b, data_range=float(max(a.max(), b.max()) - min(a.min(), b.min()))) for a, b in pairs]
    )


def theirs(count: int) -> dict[str, np.ndarray]:
    """What Quantus says."""
    import quantus

    images, targets, maps, masks = case(count)
    net, quiet = network(), {"disable_warnings": True, "display_progressbar": False}

    def explain(model: Any, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
        return signed(net, torch.from_numpy(inputs), torch.from_numpy(targets)).numpy()[:, None]

    batch: dict[str, Any] = {"model": net, "x_batch": images.numpy(), "y_batch": targets.numpy()}
    found = {
        "sparseness": quantus.Sparseness(**quiet)(**batch, a_batch=maps.numpy()[:, None].copy()),
        "relevance_rank_accuracy": quantus.RelevanceRankAccuracy(**quiet)(
            **batch, a_batch=maps.numpy()[:, None].copy(), s_batch=masks.numpy()[:, None]
        ),
        "random_logit": quantus.RandomLogit(num_classes=CLASSES, seed=SEED, **quiet)(**batch, explain_func=explain),
    }
    return {name: np.asarray(values, dtype=float) for name, values in found.items()}


def drawn(count: int) -> Tensor:
    """The other classes that Quantus draws: NumPy's global generator, one batch."""
    targets = case(count)[1]
    places = torch.from_numpy(np.random.RandomState(SEED).randint(0, CLASSES - 1, count))
    return places + (places >= targets)


def ours(count: int) -> dict[str, np.ndarray]:
    """What we say of what Quantus makes of its input."""
    images, targets, maps, masks = case(count)
    ways: dict[str, Callable[[], Tensor]] = {
        "sparseness": lambda: sparseness(scaled(maps).abs() + 1e-7).map,
        "relevance_rank_accuracy": lambda: relevance_rank_accuracy(maps, masks).map,
        "random_logit": lambda: (
            random_logit(
                network(),
                images,
                targets,
                Gradient(channels="sum"),
                similarity=row_similarity,
                others=drawn(count),
                ids=[str(index) for index in range(count)],
            ).map
        ),
    }
    return {name: way().numpy() for name, way in ways.items()}


def main() -> None:
    """Install Quantus where no directory is given, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="directory of the installed Quantus; default: a temporary one")
    parser.add_argument("--maps", type=int, default=60, help="at most 64: Quantus draws classes batch by batch")
    parser.add_argument("--vectors", type=int, default=0, help="also print the numbers of so many maps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as directory:
        if arguments.peers is None:
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", directory, *PEERS]
            subprocess.run(install, check=True)
        sys.path.append(arguments.peers or directory)
        print(f"| metric, {arguments.maps} maps | mean of Quantus | largest difference |\n|---|---|---|")
        own = ours(arguments.maps)
        for name, values in theirs(arguments.maps).items():
            print(f"| {name} | {values.mean():.4f} | {np.abs(values - own[name]).max():.1e} |")
        if arguments.vectors:
            for name, values in theirs(arguments.vectors).items():
                print(name, [round(float(value), 8) for value in values])


if __name__ == "__main__":
    main()
