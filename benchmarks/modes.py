"""What the named modes of arithmetic save, and how many votes they move.

    python -m benchmarks.modes --network resnet18 --batch 8 --samples 256 --repetitions 5

The certifier with the gradient map in float32, with batch normalisation folded, under bf16 autocast, and both; one
thread, CPU time, interleaved, medians of the ratios of each round, in a process that keeps freed memory. A mode is
another explainer: the votes that differ from those of float32, with the same noise, are counted.
"""

import argparse
from functools import partial

import torch
from torch import Tensor

from benchmarks.timing import interleaved, ratios
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.certification.host_memory import keep_freed_memory
from lit_certattr.models import EfficientNetLite0, TorchvisionClassifier
from lit_certattr.smoothing import GaussianNoise

MODES = {"float32": (False, False), "folded": (True, False), "bf16": (False, True), "folded, bf16": (True, True)}
"""Names, whether batch normalisation is folded, and whether autocast is on."""


def main() -> None:
    """Print one line a mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18", help="efficientnet_lite0, or a name of torchvision")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    keep_freed_memory()
    lite = arguments.network == "efficientnet_lite0"
    network = EfficientNetLite0() if lite else TorchvisionClassifier(arguments.network)
    network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    image, votes = torch.rand(3, 224, 224), dict[str, Tensor]()

    def certify(name: str, fold: bool, half: bool) -> None:
        certifier = Certifier(
            attribution=Gradient(),
            noise=GaussianNoise(sigma=0.25),
            certificates=[PixelCertificate(top_k=(0.5, 0.25, 0.1), alpha=0.5)],  # so that few samples may certify
            num_samples=arguments.samples,
            batch_size=arguments.batch,
            fold_batch_norm=fold,
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            result = certifier(network, image[None], [0])[0]["pixel"]
        assert isinstance(result, PixelResult)
        votes[name] = result.votes

    seconds = interleaved({name: partial(certify, name, *mode) for name, mode in MODES.items()}, arguments.repetitions)
    print(f"{arguments.network}, batch {arguments.batch}, {arguments.samples} samples, torch {torch.__version__}")
    for name, share in ratios(seconds, "float32").items():
        # A vote that goes to another pixel is one that is missing here and one too many there.
        moved = (votes[name] - votes["float32"]).abs().sum((1, 2)) / (2 * votes["float32"].sum((1, 2)))
        levels = ", ".join(f"{100 * level:.2f} %" for level in moved.tolist())
        print(f"  {name:14s} {share:6.3f} x float32   votes that moved at K = 50, 25, 10 %: {levels}")


if __name__ == "__main__":
    main()
