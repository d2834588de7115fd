"""What joint tests of pairs of pixels gain and cost in the certified overlap.

    python train.py fit --config configs/train/mnist5k_noise.yaml
    python -m benchmarks.pairs digits
    python -m benchmarks.pairs photograph
    python -m benchmarks.pairs time

`digits`: means over eight test digits of 28x28 pixels, maps of Gradient, sigma = 0.25, alpha = 0.001: largest radius
that keeps 50, 70 and 90 % of K. `photograph`: certified overlap at radii 0, 0.025 and 0.05 of one photograph of 224x224
pixels with EfficientNet-Lite0. Settings with a selection spend 5 % of the samples on it (digits) or 10 % (photograph).
`time`: CPU time of the certifier with pairs over that without, one thread, interleaved, medians.
"""

import argparse
from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.timing import interleaved, ratios
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import TopKOverlapCertificate, TopKOverlapResult
from lit_certattr.data import MNIST5k, Photographs
from lit_certattr.models import EfficientNetLite0, load_network
from lit_certattr.smoothing import GaussianNoise

SIGMA = 0.25
SHARES, RADII = (0.5, 0.7, 0.9), (0.0, 0.025, 0.05)


def certificates(top_k: float, samples: int, share: float, widths: list[int]) -> dict[str, TopKOverlapCertificate]:
    """Without a selection, with one, and with pairs."""
    chosen = int(share * samples)
    found = {"plain": TopKOverlapCertificate(top_k), "split": TopKOverlapCertificate(top_k, num_selection=chosen)}
    return found | {f"pairs{b}": TopKOverlapCertificate(top_k, num_selection=chosen, pairs=b) for b in widths}


def results_of(
    model: torch.nn.Module, images: torch.Tensor, samples: int, batch: int, named: dict[str, TopKOverlapCertificate]
) -> Iterator[tuple[str, list[TopKOverlapResult]]]:
    """The results of all images under each name."""
    run = Certifier(Gradient(), GaussianNoise(SIGMA), named, samples, batch)
    found = run(model, images, ids=[str(index) for index in range(len(images))])
    for name in named:
        yield name, [entry[name] for entry in found]  # type: ignore[misc]


def digits(checkpoint: str) -> None:
    """Radii that keep shares of K."""
    model, data = load_network(checkpoint), MNIST5k(max_images=8)
    data.setup("predict")
    images = torch.stack([data.predict_set[index].image for index in range(8)])
    for top_k in (0.05, 0.2):
        size = int(top_k * 784)
        for samples in (500, 2000, 8000):
            named = certificates(top_k, samples, 0.05, [size // 4, size // 2, size])
            for name, results in results_of(model, images, samples, 128, named):
                radii = [sum(one.max_radius(share) for one in results) / len(results) for share in SHARES]
                print(
                    f"K = {size:3d}, {samples:5d} samples, {name:8s}",
                    *(f"{radius:.3f}" for radius in radii),
                    flush=True,
                )


def photograph() -> None:
    """Overlaps at radii."""
    data = Photographs()
    data.setup("predict")
    images = data.predict_set[0].image[None]
    for top_k in (0.2, 0.5):
        named = certificates(top_k, 1000, 0.1, [128, 1024])
        for name, results in results_of(EfficientNetLite0(), images, 1000, 16, named):
            shares = [results[0].overlap(radius) / results[0].size for radius in RADII]
            print(f"K = {top_k}, 1000 samples, {name:8s}", *(f"{share:.3f}" for share in shares), flush=True)


def cost(checkpoint: str) -> None:
    """CPU time relative to a run without pairs."""
    model, image = load_network(checkpoint), torch.rand(1, 1, 28, 28)

    def case(pairs: int) -> Certifier:
        certificate = TopKOverlapCertificate(0.2, num_selection=100, pairs=pairs)
        return Certifier(Gradient(), GaussianNoise(SIGMA), [certificate], 2048, 128)

    cases = {f"pairs{pairs}": case(pairs) for pairs in (0, 40, 156)}
    seconds = interleaved({name: partial(run, model, image, [0]) for name, run in cases.items()}, 7)
    print({name: round(value, 3) for name, value in ratios(seconds, "pairs0").items()})


def main() -> None:
    """Read the command line and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["digits", "photograph", "time"])
    parser.add_argument("--checkpoint", default="runs/mnist5k_noise/checkpoints/best.ckpt")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    match arguments.what:
        case "digits":
            digits(arguments.checkpoint)
        case "photograph":
            photograph()
        case _:
            cost(arguments.checkpoint)


if __name__ == "__main__":
    main()
