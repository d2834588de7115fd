"""What the exact bound for Gaussian noise certifies beyond the bound by total variation, on maps of real images.

    python -m benchmarks.cosine
    python -m benchmarks.cosine --data mnist5k --images 6 --samples 2000

Without data: lengths over sigma of a cosine, for known norms. With data: means over the images, by the same samples.
The bound by total variation is what ball noise of the same sigma certifies, to a few digits in many dimensions.
"""

import argparse
import statistics

import attrs

from benchmarks.networks import SIGMA, network_and_data
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.attribution.base import ChannelReduction
from lit_certattr.certificates import CosineCertificate, CosineResult
from lit_certattr.certificates.cosine_bounds import max_variation, radius_over_sigma
from lit_certattr.certificates.gaussian_cosine import max_length
from lit_certattr.smoothing import GaussianNoise

COSINES, NORMS = (0.9, 0.99), (0.5, 0.7, 0.8, 0.9, 0.93, 0.97, 0.99)


def print_lengths() -> None:
    """Print the longest perturbations, over sigma, that keep a cosine, for maps of known norms."""
    print("| norm | cosine | any sign: total variation | exact | no negative values: total variation | with exact |")
    print("|---|---|---|---|---|---|")
    for norm in NORMS:
        for cosine in COSINES:
            cells = []
            for nonnegative in (False, True):
                old = radius_over_sigma(GaussianNoise(1.0), max_variation(cosine, norm, nonnegative), 1)
                new = max_length(cosine, norm, nonnegative)
                cells += [f"{old:.3f}", f"{new:.3f} ({new / old:.2f} x)"]
            print(f"| {norm:g} | {cosine:g} | " + " | ".join(cells) + " |")


def print_radii(name: str, num_images: int, num_samples: int) -> None:
    """Print the certified radii of images by both bounds, from the same samples."""
    network, data, batch_size = network_and_data(name)
    data.setup("predict")
    images = [data.predict_set[index] for index in range(num_images)]
    print(f"{name}: {num_images} images, {num_samples} samples, sigma = {SIGMA}, alpha = 0.001")
    print("| maps | norm | cosine | by total variation | exact | factor |\n|---|---|---|---|---|---|")
    signs: tuple[tuple[str, ChannelReduction], ...] = (("any sign", "sum"), ("no negative values", "sum_abs"))
    for maps, channels in signs:
        certificate = CosineCertificate(nonnegative=channels == "sum_abs")
        certifier = Certifier(Gradient(channels), GaussianNoise(SIGMA), [certificate], num_samples, batch_size)
        results = [certifier(network, image[None], None, [str(key)])[0]["cosine"] for image, _, key in images]
        held = [result for result in results if isinstance(result, CosineResult)]
        norm = statistics.mean(result.norm for result in held)
        for cosine in COSINES:
            new = statistics.mean(result.max_radius(cosine) for result in held)
            by_variation = [attrs.evolve(result, bound=result.bound.removeprefix("gaussian_")) for result in held]
            old = statistics.mean(result.max_radius(cosine) for result in by_variation)
            print(f"| {maps} | {norm:.3f} | {cosine:g} | {old:.4f} | {new:.4f} | {new / old:.2f} |", flush=True)


def main() -> None:
    """Read the command line and run one comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["digits", "mnist5k", "photographs"])
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--samples", type=int, default=2000)
    arguments = parser.parse_args()
    if arguments.data is None:
        print_lengths()
    else:
        print_radii(arguments.data, arguments.images, arguments.samples)


if __name__ == "__main__":
    main()
