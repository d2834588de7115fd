"""How much longer a sample takes under each noise law than under Gaussian noise, in one process on one thread.

    python -m benchmarks.budget_costs

The best of several rounds, in which all laws take turns; what a law computes once for an image is not counted. The
difference to Gaussian noise is divided by the time of a whole sample: its noise, and the gradient of the network.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.budgets import short
from lit_certattr.attribution import Gradient
from lit_certattr.data import Photographs
from lit_certattr.models import EfficientNetLite0, SmallCNN
from lit_certattr.smoothing import (
    AffineNoise,
    BlurNoise,
    ExposureNoise,
    GammaNoise,
    GaussianNoise,
    Noise,
    NuisanceNoise,
    PatchMaskNoise,
    noisy_images,
)

LAWS: tuple[Noise, ...] = (
    GaussianNoise(0.25),
    NuisanceNoise(0.25, brightness=0.2),
    NuisanceNoise(0.25, brightness=0.2, illumination=0.1),
    ExposureNoise(exposure=0.5, sigma=0.25),
    ExposureNoise(exposure=0.5, shading=0.3, sigma=0.25),
    GammaNoise(log_gamma=0.4, sigma=0.25),
    AffineNoise(log_contrast=0.3, brightness=0.2, sigma=0.25),
    BlurNoise(rate=1.0, sigma=0.25),
    PatchMaskNoise(keep=0.25, cells=7, sigma=0.25),
    PatchMaskNoise(keep=0.25, cells=14, sigma=0.25),
)


def blocks(image: Tensor, law: Noise, size: int) -> Iterator[Tensor]:
    """Blocks of noisy copies without end, after the first."""
    found = noisy_images(image, law, image_id="cost", num_samples=10**9, batch_size=size)
    next(found)
    return found


def seconds(action: Callable[[], object]) -> float:
    """Processor time of a call."""
    start = time.process_time()
    action()
    return time.process_time() - start


def costs(network: nn.Module, image: Tensor, size: int, rounds: int) -> tuple[float, list[float]]:
    """Seconds of a gradient, and of the noise under each law, for a block of samples.

    Args:
        network: Network in eval mode.
        image: Image ``[C, H, W]``.
        size: Samples of a block.
        rounds: Rounds, of which the best counts.
    """
    streams = [blocks(image, law, size) for law in LAWS]
    targets = torch.zeros(size, dtype=torch.long)
    noise, gradient = [float("inf")] * len(LAWS), float("inf")
    for number in range(rounds):
        for index, stream in enumerate(streams):
            noise[index] = min(noise[index], seconds(partial(next, stream)))
        if number % 4 == 0:
            block = next(streams[0])
            gradient = min(gradient, seconds(partial(Gradient(), network, block, targets)))
    return gradient, noise


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="of the photograph; digits get ten times as many")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = Photographs()
    data.setup("predict")
    large = costs(EfficientNetLite0().eval(), data.predict_set[0].image, 16, options.rounds)
    small = costs(SmallCNN().eval(), torch.rand(1, 28, 28), 128, 10 * options.rounds)
    for name, (gradient, noise), size in (("photograph", large, 16), ("digit", small, 128)):
        print(f"{name}: {1e3 * (gradient + noise[0]) / size:.3g} ms per sample under Gaussian noise")
    print("\n| noise | photograph | digit |\n|---|---|---|")
    for index, law in enumerate(LAWS[1:], start=1):
        extra = [100 * (noise[index] - noise[0]) / (gradient + noise[0]) for gradient, noise in (large, small)]
        print(f"| `{short(law)}` | {extra[0]:+.1f} % | {extra[1]:+.1f} % |")


if __name__ == "__main__":
    main()
