"""How many samples the certificate of SmoothGrad needs before it says anything.

    python train.py fit --config configs/train/digits_noise.yaml
    python train.py fit --config configs/train/mnist5k_noise.yaml
    python -m benchmarks.smoothgrad digits --samples 10000 100000 1000000
    python -m benchmarks.smoothgrad mnist5k --samples 100000 1000000 --images 3

Test images that the network has not seen, sigma = 0.25, top 20 % of the pixels, alpha = 0.001, for several
temperatures of the softmax: mean over the images of the certified overlap without a perturbation and of the radius that
keeps a quarter and a half of K, after each number of samples; and the same of TopKOverlapCertificate (masks of the
gradient of the logit) with 2000 samples, which is about another map.
"""

import argparse
from collections.abc import Sequence

import torch

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, ProbabilityGradient, frozen
from lit_certattr.certificates import OverlapResult, SmoothGradCertificate, TopKOverlapCertificate
from lit_certattr.data import MNIST5k
from lit_certattr.data.digits import Digits
from lit_certattr.models import load_network
from lit_certattr.smoothing import GaussianNoise

SIGMA, TOP_K = 0.25, 0.2


def line(name: str, results: Sequence[OverlapResult]) -> None:
    """Print the means of one setting."""
    overlap = sum(result.overlap(0) / result.size for result in results) / len(results)
    radii = [sum(result.max_radius(share) for result in results) / len(results) for share in (0.25, 0.5)]
    print(f"{name:34s} overlap {overlap:.3f}   keeps 25 %: {radii[0]:.4f}   50 %: {radii[1]:.4f}", flush=True)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["digits", "mnist5k"])
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 3.0, 10.0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_network(f"runs/{arguments.data}_noise/checkpoints/best.ckpt")
    data = (Digits if arguments.data == "digits" else MNIST5k)(max_images=arguments.images)
    data.setup("predict")
    images = torch.stack([data.predict_set[index].image for index in range(arguments.images)])
    plain = Certifier(Gradient(), GaussianNoise(SIGMA), [TopKOverlapCertificate(TOP_K)], 2000, 128)
    held = [entry["topk_overlap"] for entry in plain(model, images)]
    line("overlap of masks, 2000 samples", [result for result in held if isinstance(result, OverlapResult)])
    for temperature in arguments.temperatures:
        found: dict[int, list[OverlapResult]] = {number: [] for number in arguments.samples}
        for index, image in enumerate(images):
            certificate = SmoothGradCertificate(TOP_K)
            run = Certifier(
                ProbabilityGradient(temperature=temperature), GaussianNoise(SIGMA), [certificate], max(found), 512
            )
            accumulator = certificate.start(run.noise, (image.shape[1], image.shape[2]), image.numel())
            with torch.no_grad(), frozen(model):
                target, drawn = int(model(image[None]).argmax()), 0
                for number in found:
                    for block in run.blocks(model, image, target, str(index), drawn, number):
                        accumulator.update(block)
                    drawn = number
                    found[number].append(accumulator.compute())
        for number, results in found.items():
            line(f"temperature {temperature:4g}, {number:8d} samples", results)


if __name__ == "__main__":
    main()
