"""Certified overlap in l2, l4, l6 and l-infinity, by Renyi divergences.

    python train.py fit --config configs/train/mnist5k_noise.yaml
    python -m benchmarks.renyi_norms

Digits of MNIST 5k that the network has not seen, maps of Gradient, sigma = 0.25, top 5 % of the pixels, linear scores,
alpha = 0.001: mean certified overlap without a perturbation, and the mean radius that keeps a quarter and a half of K.
One grey level is 0.0039. "overlap, linf" is the l2 radius of TopKOverlapCertificate over the root of the number of
pixels: every perturbation whose largest change is below it is shorter than that radius.
"""

import argparse

import torch

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import Certificate, OverlapResult, RenyiCertificate, TopKOverlapCertificate
from lit_certattr.data import MNIST5k
from lit_certattr.models import load_network
from lit_certattr.smoothing import GaussianNoise, GeneralisedNormalNoise


def main() -> None:
    """Print one line for each noise law and norm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="runs/mnist5k_noise/checkpoints/best.ckpt")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--top_k", type=float, default=0.05)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, data = load_network(arguments.checkpoint), MNIST5k(max_images=arguments.images)
    data.setup("predict")
    images = torch.stack([data.predict_set[index].image for index in range(arguments.images)])
    norms = {
        GaussianNoise(0.25): ["l2", "l4", "l6", "linf"],
        GeneralisedNormalNoise(0.25, 4): ["l4", "linf"],
        GeneralisedNormalNoise(0.25, 6): ["l6", "linf"],
    }
    print("noise                                   | certificate   | overlap | keeps 25 % | keeps 50 %")
    for noise, wanted in norms.items():
        certificates: dict[str, Certificate] = {
            norm: RenyiCertificate(arguments.top_k, radius_norm=norm) for norm in wanted
        }
        if isinstance(noise, GaussianNoise):
            certificates["overlap, l2"] = TopKOverlapCertificate(arguments.top_k)
            certificates["overlap, linf"] = TopKOverlapCertificate(arguments.top_k)
        names = {f"c{index}": name for index, name in enumerate(certificates)}
        run = Certifier(
            Gradient(),
            noise,
            {key: certificates[name] for key, name in names.items()},
            num_samples=arguments.samples,
            batch_size=128,
        )
        found = run(model, images, ids=[str(index) for index in range(len(images))])
        for key, name in names.items():
            held = [entry[key] for entry in found]
            results = [result for result in held if isinstance(result, OverlapResult)]
            overlap = sum(result.overlap(0) / result.size for result in results) / len(results)
            radii = [sum(result.max_radius(share) for result in results) / len(results) for share in (0.25, 0.5)]
            if name == "overlap, linf":
                radii = [radius / images[0].numel() ** 0.5 for radius in radii]  # linf <= r / sqrt(d) implies l2 <= r
            print(f"{noise!r:39s} | {name:13s} | {overlap:7.3f} | {radii[0]:10.5f} | {radii[1]:10.5f}", flush=True)


if __name__ == "__main__":
    main()
