"""What the statistics of each certificate cost beside the samples of one image.

    python -m benchmarks.statistics_cost --network efficientnet_lite0 --batch 16 --samples 1000

Samples: forward pass and input gradient of noisy images. Statistics: ranking the maps, counting (`count`), and the
result with all its bounds (`conclude`), for one certificate alone, and for several that share the ranked maps; and sums
over the regions of an image (`--only regions`: `--only` takes a word of the names of the rows that are wanted). One
thread, CPU time (`--device cuda`: time until the accelerator has done it), in turn, medians of the ratios of each
round; tables that all images share are made in a round before.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping

import attrs
import torch
from torch import nn

from benchmarks.throughput import NETWORKS
from benchmarks.timing import interleaved, ratios
from lit_certattr.attribution import FunctionAttribution, Gradient, RegionMap, frozen
from lit_certattr.certificates import (
    Accumulator,
    Certificate,
    Claim,
    ClaimCertificate,
    CosineCertificate,
    PercentileCertificate,
    PixelCertificate,
    RenyiCertificate,
    Result,
    TopKOverlapCertificate,
)
from lit_certattr.certification.host_memory import keep_freed_memory
from lit_certattr.numbers import Box, EnergyInside, Gini, PointingGame
from lit_certattr.regions import Grid, Regions, Superpixels
from lit_certattr.smoothing import GaussianNoise, MapBlock, noisy_images, uniform_levels

MIDDLE = Box(0.25, 0.25, 0.75, 0.75)


def three_claims() -> Certificate:
    """Claims about energy in a box, the pointing game and the Gini index, which needs a sort."""
    return ClaimCertificate(
        [
            Claim("middle", EnergyInside(MIDDLE), at_least=0.5),
            Claim("pointing game", PointingGame(MIDDLE), at_least=0.5),
            Claim("concentrated", Gini(), at_least=0.5),
        ]
    )


CERTIFICATES: Mapping[str, Callable[[], list[Certificate]]] = {
    "pixels, 3 levels": lambda: [PixelCertificate()],
    "pixels, Holm": lambda: [PixelCertificate(tau=0.75, correction="holm")],
    "overlap": lambda: [TopKOverlapCertificate()],
    "overlap, S chosen on 128": lambda: [TopKOverlapCertificate(num_selection=128)],
    "overlap, one number": lambda: [TopKOverlapCertificate(bound="one_number", num_selection=128)],
    "overlap, relaxed maps": lambda: [TopKOverlapCertificate(map_kind="relaxed")],
    "Renyi": lambda: [RenyiCertificate()],
    "cosine": lambda: [CosineCertificate(nonnegative=True)],
    "three claims": lambda: [three_claims()],
    "pixels and three claims": lambda: [PixelCertificate(), three_claims()],
    "a claim about energy": lambda: [ClaimCertificate([Claim("middle", EnergyInside(MIDDLE), at_least=0.5)])],
    "median of the centre, row and column": lambda: [PercentileCertificate()],
    "pixels and overlap": lambda: [PixelCertificate(), TopKOverlapCertificate()],
    "pixels, overlap, Renyi, cosine": lambda: [
        PixelCertificate(),
        TopKOverlapCertificate(),
        RenyiCertificate(),
        CosineCertificate(nonnegative=True),
    ],
}

REGIONS: Mapping[str, Regions] = {
    "regions: 28 x 28": Grid(28),
    "regions: 7 x 7": Grid(7),
    "regions: about 80 superpixels": Superpixels(80),
}


def own_maps(model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Maps that cost nothing."""
    return images[:, 0]


@attrs.frozen
class Cost:
    """What the statistics of some certificates cost.

    Attributes:
        count: Seconds to rank and count the maps of an image.
        conclude: Seconds for the result with all its bounds.
        share: Both together, as a share of the time of the samples.
    """

    count: float
    conclude: float
    share: float


def measure(arguments: argparse.Namespace) -> tuple[float, dict[str, Cost]]:
    """Seconds for one sample, and the cost of each row.

    Args:
        arguments: The command line.
    """
    keep_freed_memory()  # as certify.py does
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    build, shape = NETWORKS[arguments.network]
    network = build().eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    noise, batch, image = GaussianNoise(0.25), arguments.batch, torch.rand(shape).to(device)
    noisy = next(noisy_images(image, noise, image_id="cost", num_samples=batch, batch_size=batch)).clone()
    targets = torch.zeros(batch, dtype=torch.long, device=device)
    pattern = torch.rand(shape[1:]) * 2  # votes of all sizes
    maps = [(pattern + torch.randn(batch, *shape[1:])).abs().to(device) for _ in range(4)]
    started: dict[str, list[Accumulator[Result]]] = {
        name: [certificate.start(noise, shape[1:], noisy[0].numel()).to(device) for certificate in make()]
        for name, make in CERTIFICATES.items()
        if arguments.only in name
    }
    picture = torch.nn.functional.avg_pool2d(torch.rand(shape), 9, 1, 4).to(device)
    placed = {
        name: RegionMap(FunctionAttribution(own_maps), regions).placed(picture, "cost")
        for name, regions in REGIONS.items()
        if arguments.only in name
    }

    def sample() -> None:
        Gradient()(network, noisy, targets)

    def count(name: str) -> None:
        for accumulator in started[name]:
            accumulator.reset()
        for start in range(0, arguments.samples, batch):
            size = min(batch, arguments.samples - start)
            levels = uniform_levels(0, "cost", start, size)
            block = MapBlock(maps[start // batch % len(maps)][:size], start, levels)
            for accumulator in started[name]:
                accumulator.update(block)

    def conclude(name: str) -> None:
        for accumulator in started[name]:
            accumulator.result(1.0)

    def pool(name: str) -> None:
        for start in range(0, arguments.samples, batch):
            placed[name](network, maps[start // batch % len(maps)][:, None], targets)

    cases: dict[str, Callable[[], object]] = {"samples": sample}
    for name in placed:
        cases[f"{name}: count"] = lambda name=name: pool(name)  # type: ignore[misc]
        cases[f"{name}: conclude"] = lambda: None
    for name in started:
        cases[f"{name}: count"] = lambda name=name: count(name)  # type: ignore[misc]
        cases[f"{name}: conclude"] = lambda name=name: conclude(name)  # type: ignore[misc]
    with frozen(network):
        seconds = interleaved(cases, arguments.repetitions, device.type)
    blocks = arguments.samples / batch
    shares = {name: ratio / blocks for name, ratio in ratios(seconds, "samples").items()}
    costs: dict[str, Cost] = {}
    for name in (*started, *placed):
        parts = [f"{name}: count", f"{name}: conclude"]
        counting, concluding = (statistics.median(seconds[part]) for part in parts)
        costs[name] = Cost(counting, concluding, sum(shares[part] for part in parts))
    return statistics.median(seconds["samples"]) / batch, costs


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="efficientnet_lite0")
    parser.add_argument("--batch", type=int, default=16, help="samples evaluated at once")
    parser.add_argument("--samples", type=int, default=1000, help="samples an image")
    parser.add_argument("--only", default="", help="rows with this word in their name")
    parser.add_argument("--repetitions", type=int, default=5, help="rounds that are counted")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    sample, costs = measure(arguments)
    print(f"{arguments.network}, {arguments.samples} samples of {sample:.4f} s\n")
    print("| certificate | count | conclude | together, share of the samples |")
    print("|---|---|---|---|")
    for name, cost in costs.items():
        print(f"| {name} | {cost.count:.2f} s | {cost.conclude:.2f} s | {cost.share:.2%} |")


if __name__ == "__main__":
    main()
