"""Samples that a claim about a number needs, beside those of the pixel certificate for the same sentence.

    python -m benchmarks.claim_samples --data mnist5k --images 20
    python -m benchmarks.claim_samples --data photographs --images 3 --samples 1000

The sentence: *at least s of the K most important pixels lie in the middle of the image, under every perturbation up
to a radius*. The middle is the box from a quarter to three quarters of both sides, K is 10 % of the pixels, alpha is
.001. The pixel certificate says it when at least s K pixels inside the box are certified important at the radius (a
pixel is important if most noisy maps have it in their top K). The claim says it when the mean over the noise of the
share of the top K inside the box is certified to be at least s. Both are about the same noisy maps. So that both
sentences are true, s is a part (half, or .8) of the smaller one of both shares, each estimated from all samples; an
image counts if that share is at least .1. Both are asked at the same growing numbers of samples, and the first one at
which they say it is what they need; one that never does counts as all samples, so that ratios are lower bounds then.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from benchmarks.networks import SIGMA, network_and_data
from lit_certattr.attribution import Gradient, frozen
from lit_certattr.certificates import Certificate, Claim, ClaimCertificate, ClaimsResult, PixelCertificate, PixelResult
from lit_certattr.numbers import Box, TopKInside
from lit_certattr.smoothing import GaussianNoise, noisy_images

TOP_K, ALPHA, LEAST, PARTS = 0.1, 0.001, 0.1, (0.5, 0.8)
MIDDLE = Box(0.25, 0.25, 0.75, 0.75)
NUMBER = TopKInside(MIDDLE, TOP_K)


def steps(num_samples: int) -> list[int]:
    """Numbers of samples at which certificates are asked: all up to 20, then each a tenth larger."""
    asked = list(range(5, 21))
    while asked[-1] < num_samples:
        asked.append(min(num_samples, int(asked[-1] * 1.1)))
    return asked


def noisy_maps(network: nn.Module, image: Tensor, name: str, num_samples: int, batch: int) -> Tensor:
    """Maps ``[n, H, W]`` of the class that the network predicts."""
    target = network(image[None]).argmax(1)
    stream = noisy_images(
        image,
        GaussianNoise(SIGMA),
        image_id=name,
        num_samples=num_samples,
        batch_size=batch,
        memory_format=torch.channels_last,
    )
    return torch.cat([Gradient()(network, images, target.expand(len(images))) for images in stream])


def needed(maps: Tensor, share: float, radius: float) -> dict[str, int | None]:
    """The first number of samples with which each certificate says the sentence."""
    kinds: Mapping[str, Certificate] = {
        "pixels": PixelCertificate([TOP_K], ALPHA, tau=0.5),
        "claim": ClaimCertificate([Claim("inside", NUMBER, at_least=share)], ALPHA),
    }
    inside = MIDDLE.mask(maps.shape[1:])
    found: dict[str, int | None] = dict.fromkeys(kinds)
    counting = {name: kind.start(GaussianNoise(SIGMA), maps.shape[1:]) for name, kind in kinds.items()}
    before = 0
    for count in steps(len(maps)):
        for name, accumulator in counting.items():
            if found[name] is not None:
                continue
            accumulator.update(maps[before:count])
            result = accumulator.compute()
            if isinstance(result, PixelResult):
                shown = ((result.labels_at(radius)[0] == 1) & inside).sum() >= share * result.sizes[0]
                found[name] = count if bool(shown) else None
            elif isinstance(result, ClaimsResult):
                found[name] = count if result.holds(0, radius) else None
        before = count
    return found


def shares(maps: Tensor) -> tuple[float, float]:
    """What all samples say: share of K that has a majority and lies inside, and mean share of the top K inside."""
    accumulator = PixelCertificate([TOP_K], ALPHA, tau=0.5).start(GaussianNoise(SIGMA), maps.shape[1:])
    accumulator.update(maps)
    result = accumulator.compute()
    majority = int((result.majority()[0] & MIDDLE.mask(maps.shape[1:])).sum()) / result.sizes[0]
    return majority, float(NUMBER(maps).nanmean())


Row = tuple[float, float, dict[str, int | None]]


def rows(data: str, images: int, num_samples: int, radii: list[float]) -> Iterator[Row]:
    """Part, radius and what each certificate needs, image by image."""
    network, module, batch = network_and_data(data)
    module.setup("predict")
    used = 0
    with torch.no_grad(), frozen(network):
        for index in range(len(module.predict_set)):
            if used == images:
                return
            image, _, name = module.predict_set[index]
            maps = noisy_maps(network, image, str(name), num_samples, batch)
            share = min(shares(maps))
            if share < LEAST:
                continue
            used += 1
            for part in PARTS:
                for radius in radii:
                    yield part, radius, needed(maps, part * share, radius)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["digits", "mnist5k", "photographs"], default="mnist5k")
    parser.add_argument("--images", type=int, default=20, help="images that count")
    parser.add_argument("--samples", type=int, default=4000, help="most samples")
    parser.add_argument("--radii", type=float, nargs="+", default=[0.0, 0.1])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[float, float], list[dict[str, int | None]]] = defaultdict(list)
    for part, radius, row in rows(arguments.data, arguments.images, arguments.samples, arguments.radii):
        found[part, radius].append(row)
    print(f"{arguments.data}, at most {arguments.samples} samples; medians over the images\n")
    print("| part of the truth | radius | images | claim | pixels | times fewer | never said: claim | pixels |")
    print("|---|---|---|---|---|---|---|---|")
    for (part, radius), own in found.items():
        names = ("claim", "pixels")
        filled = [{name: one[name] or arguments.samples for name in names} for one in own]
        middle = [f"{statistics.median(one[name] for one in filled):.0f}" for name in names]
        times = statistics.median(one["pixels"] / one["claim"] for one in filled)
        never = [str(sum(one[name] is None for one in own)) for name in names]
        print(f"| {part:g} | {radius:g} | {len(own)} | {' | '.join(middle)} | {times:.1f} | {' | '.join(never)} |")


if __name__ == "__main__":
    main()
