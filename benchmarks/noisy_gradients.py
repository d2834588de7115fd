"""How much of a gradient through the noise is signal: cosines of independent estimates.

    python -m benchmarks.noisy_gradients

For a digit (a small network, trained for a few seconds) and a photograph (EfficientNet-Lite0) the gradient that an
attack would follow is estimated several times from fresh noise: that of the overlap of the top 20 % of the smoothed
map, and that of the noisy prediction's margin. Estimates that agree have a cosine of 1, those of noise alone 0.
"""

import argparse
from itertools import combinations

import torch
from torch import Tensor, nn

from benchmarks.attacks import tensors, trained
from lit_certattr.attacks import NoisyMaps, TopKOverlap, margin
from lit_certattr.attribution import Gradient, frozen
from lit_certattr.data import MNIST5k, Photographs
from lit_certattr.models import EfficientNetLite0, SmoothActivations
from lit_certattr.smoothing import GaussianNoise, top_k_mask

SIGMA, BETA = 0.25, 5.0


def digit() -> tuple[nn.Module, Tensor]:
    """A trained network and a test image."""
    data = MNIST5k()
    data.setup("fit")
    return trained(data, epochs=8), tensors(data.test_set, 1)[0]


def photograph() -> tuple[nn.Module, Tensor]:
    """A network with its weights and a photograph."""
    data = Photographs()
    data.setup("predict")
    place = data.predict_set.ids.index("flower")
    return EfficientNetLite0().eval(), data.predict_set[place].image[None]


def main() -> None:
    """Print one line a gradient."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=8, help="noisy copies behind an estimate")
    parser.add_argument("--estimates", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| image | gradient of | cosine of two estimates from {arguments.draws} draws |\n|---|---|---|")
    for name, build in (("digit", digit), ("photograph", photograph)):
        network, image = build()
        with torch.no_grad():
            target = network(image).argmax(1)
        noise = GaussianNoise(SIGMA)
        noisy = NoisyMaps(network, Gradient(), noise, target, batch_size=16)
        with frozen(network):
            with torch.no_grad():
                size = image[0, 0].numel() // 5
                votes = top_k_mask(noisy.draw(image, 64).squeeze(1), size).float().mean(0)
            overlap = TopKOverlap(top_k_mask(votes[None], size))

            def of_overlap(x: Tensor, noisy: NoisyMaps = noisy, overlap: TopKOverlap = overlap) -> Tensor:
                with SmoothActivations(BETA):
                    return overlap.surrogate(noisy.draw(x, arguments.draws, create_graph=True))

            def of_prediction(
                x: Tensor, network: nn.Module = network, noise: GaussianNoise = noise, target: Tensor = target
            ) -> Tensor:
                copies = x.repeat(arguments.draws, 1, 1, 1)
                return margin(network(copies + noise.sample_like(copies)), target.repeat(arguments.draws)).mean()

            for what, score in (("overlap of the smoothed map", of_overlap), ("noisy prediction", of_prediction)):
                found = []
                for _ in range(arguments.estimates):
                    x = image.clone().requires_grad_(True)
                    found.append(torch.autograd.grad(score(x).sum(), x)[0].flatten())
                cosines = torch.stack(
                    [torch.nn.functional.cosine_similarity(a, b, dim=0) for a, b in combinations(found, 2)]
                )
                print(f"| {name} | {what} | {cosines.mean():.3f} ± {cosines.std():.3f} |", flush=True)


if __name__ == "__main__":
    main()
