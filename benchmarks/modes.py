"""What the named modes of arithmetic save, and how many votes they move.

    python -m benchmarks.modes --network resnet18 --batch 8 --samples 256 --repetitions 5
    python -m benchmarks.modes --network resnet18 --batch 8 --samples 64 --repetitions 5 --compiled

The certifier with the gradient map in float32, with batch normalisation folded, under bf16 autocast, and both; one
thread, CPU time, interleaved, medians of the ratios of each round, in a process that keeps freed memory. A mode is
another explainer: the votes that differ from those of float32, with the same noise, are counted. With ``--compiled``
the compiled network takes the place of bf16; it is compiled before the clock starts, and the seconds are printed.
"""

import argparse
import time
from functools import partial

import torch
from torch import Tensor

from benchmarks.timing import interleaved, ratios
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, PixelResult
from lit_certattr.certification.host_memory import keep_freed_memory
from lit_certattr.models import EfficientNetLite0, SmallCNN, TorchvisionClassifier
from lit_certattr.smoothing import GaussianNoise

MODES = {"float32": (False, False), "folded": (True, False), "bf16": (False, True), "folded, bf16": (True, True)}
"""Names, whether batch normalisation is folded, and whether autocast is on."""
COMPILED = {"float32": (False, False), "folded": (True, False), "compiled": (False, False)}
"""The modes beside the compiled one."""


def main() -> None:
    """Print one line a mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18", help="efficientnet_lite0, or a name of torchvision")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--compiled", action="store_true", help="the compiled network in place of bf16")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    keep_freed_memory()
    own = {"efficientnet_lite0": EfficientNetLite0, "small_cnn": SmallCNN}.get(arguments.network)
    network = own() if own is not None else TorchvisionClassifier(arguments.network)
    network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    image = torch.rand(1, 28, 28) if own is SmallCNN else torch.rand(3, 224, 224)
    votes, modes = dict[str, Tensor](), COMPILED if arguments.compiled else MODES
    certifiers = {
        name: Certifier(
            attribution=Gradient(),
            noise=GaussianNoise(sigma=0.25),
            certificates=[PixelCertificate(top_k=(0.5, 0.25, 0.1), alpha=0.5)],  # so that few samples may certify
            num_samples=arguments.samples,
            batch_size=arguments.batch,
            fold_batch_norm=fold,
            compile_mode="default" if name == "compiled" else None,
        )
        for name, (fold, _) in modes.items()
    }

    def certify(name: str, half: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            result = certifiers[name](network, image[None], [0])[0]["pixel"]
        assert isinstance(result, PixelResult)
        votes[name] = result.votes

    if arguments.compiled:
        start = time.perf_counter()
        certify("compiled", False)
        print(f"compiled, and certified once, in {time.perf_counter() - start:.0f} s")
    work = {name: partial(certify, name, half) for name, (_, half) in modes.items()}
    seconds = interleaved(work, arguments.repetitions)
    print(f"{arguments.network}, batch {arguments.batch}, {arguments.samples} samples, torch {torch.__version__}")
    for name, share in ratios(seconds, "float32").items():
        # A vote that goes to another pixel is one that is missing here and one too many there.
        moved = (votes[name] - votes["float32"]).abs().sum((1, 2)) / (2 * votes["float32"].sum((1, 2)))
        levels = ", ".join(f"{100 * level:.2f} %" for level in moved.tolist())
        print(f"  {name:14s} {share:6.3f} x float32   votes that moved at K = 50, 25, 10 %: {levels}")


if __name__ == "__main__":
    main()
