"""What a brightness and an illumination mode in the noise cost and buy, on the packaged photographs.

    python -m benchmarks.budgets --num_samples 200

Each law is a run of its own on the same images: the gradient by 14 x 14 regions, K = 50 %, alpha .001. For each change
the table has the share of the K regions whose label is certified for it (its length in the budget of the law is below
their radius), and, as a check, how many of these labels have a majority of fresh noisy copies of the changed image.
"""

import argparse
import time

import numpy as np
import torch

from lit_certattr import Certifier
from lit_certattr.attribution import Attribution, Gradient, RegionMap
from lit_certattr.budgets import Budget
from lit_certattr.budgets.modes import low_frequencies
from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.data import Photographs
from lit_certattr.models import EfficientNetLite0
from lit_certattr.regions import Grid
from lit_certattr.smoothing import GaussianNoise, MapBlock, Noise, NuisanceNoise, noisy_images

LAWS: dict[str, Noise] = {
    "l2 alone": GaussianNoise(0.25),
    "brightness .2": NuisanceNoise(0.25, brightness=0.2),
    "brightness .2, illumination .1": NuisanceNoise(0.25, brightness=0.2, illumination=0.1),
}
AMOUNTS = (0.05, 0.1, 0.2)


def ramp(shape: torch.Size) -> torch.Tensor:
    """A ramp of light from left to right with values in [-1, 1]."""
    return low_frequencies(shape, 1)[0].float()


def changes(image: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """Changed images by name; a change in both directions has two. None is clipped."""
    found = {f"brightness +-{amount:g}": [image + amount, image - amount] for amount in AMOUNTS}
    found["ramp +-.05"] = [image + 0.05 * ramp(image.shape), image - 0.05 * ramp(image.shape)]
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    found["l2 .125"] = [image + 0.125 * noise / noise.norm()]
    return found


def certified(result: PixelResult, budget: Budget, image: torch.Tensor, changed: list[torch.Tensor]) -> torch.Tensor:
    """Important regions whose label all these changes keep, bool ``[regions]``."""
    length = max(budget.length(image, one) for one in changed)
    return (result.labels[0, 0] == 1) & (result.radius[0, 0] > length)


def majority(
    network: torch.nn.Module,
    method: Attribution,
    law: Noise,
    image: torch.Tensor,
    target: torch.Tensor,
    name: str,
    size: int,
    count: int,
) -> torch.Tensor:
    """Regions that are in the top ``size`` of most of ``count`` fresh noisy copies, bool ``[regions]``."""
    votes = torch.zeros(1, 196)
    for block in noisy_images(image, law, image_id=f"fresh {name}", num_samples=count, batch_size=16, seed=1):
        votes += MapBlock(method(network, block, target.expand(len(block))).detach()).votes(size)
    return votes[0] > count / 2


def main() -> None:
    """Run all laws and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_samples", type=int, default=200, help="samples per image")
    parser.add_argument("--fresh", type=int, default=50, help="noisy copies of each changed image")
    options = parser.parse_args()
    network, data = EfficientNetLite0().eval(), Photographs()
    data.setup("predict")
    samples = data.predict_set
    assert samples is not None
    images = [samples[index].image for index in range(len(samples))]
    names = list(changes(images[0]))
    print("| noise | noisy accuracy | certified, any | " + " | ".join(names) + " |")
    print("|---" * (3 + len(names)) + "|")
    checked = {name: [0, 0] for name in LAWS}
    for name, law in LAWS.items():
        shares: dict[str, list[float]] = {key: [] for key in ("any", *names)}
        accuracy = []
        certificates = [PixelCertificate([0.5], alpha=0.001)]
        run = Certifier(
            RegionMap(Gradient(), Grid(14)), law, certificates, num_samples=options.num_samples, batch_size=16
        )
        for index, image in enumerate(images):
            target = network(image[None]).argmax(1)
            result = run(network, image[None], target, ids=[str(index)])[0]["pixel"]
            assert isinstance(result, PixelResult)
            accuracy.append(result.noisy_accuracy or 0.0)
            size = result.sizes[0]
            shares["any"].append(float((result.labels[0, 0] == 1).sum()) / size)
            for key, changed in changes(image).items():
                kept = certified(result, law.budget, image, changed)
                shares[key].append(float(kept.sum()) / size)
                if bool(kept.any()):
                    method = run.placed(image, str(index)).attribution
                    fresh = majority(network, method, law, changed[0], target, key, size, options.fresh)
                    checked[name][0] += int((kept & fresh).sum())
                    checked[name][1] += int(kept.sum())
        cells = [f"{np.mean(values):.2f}" for values in shares.values()]
        print(f"| {name} | {np.mean(accuracy):.2f} | {' | '.join(cells)} |", flush=True)
    for name, (held, total) in checked.items():
        print(f"{name}: {held} of {total} certified labels have the majority of {options.fresh} fresh copies")
    _cost(network, images[0])


def _cost(network: torch.nn.Module, image: torch.Tensor, rounds: int = 15) -> None:
    """How much longer a sample takes than under Gaussian noise: the difference of the noise alone, on one thread."""
    torch.set_num_threads(1)
    targets = torch.zeros(16, dtype=torch.long)

    def drawing(law: Noise) -> float:
        start = time.process_time()
        next(noisy_images(image, law, image_id="cost", num_samples=16, batch_size=16))
        return time.process_time() - start

    def explaining() -> float:
        block = next(noisy_images(image, LAWS["l2 alone"], image_id="cost", num_samples=16, batch_size=16))
        start = time.process_time()
        Gradient()(network, block, targets)
        return time.process_time() - start

    times = {name: min(drawing(law) for _ in range(rounds)) for name, law in LAWS.items()}
    whole = times["l2 alone"] + min(explaining() for _ in range(rounds // 3))
    for name, seconds in times.items():
        extra = (seconds - times["l2 alone"]) / whole
        print(f"{name}: {100 * extra:.2f} % more processor time for a sample, the fields of the image included")


if __name__ == "__main__":
    main()
