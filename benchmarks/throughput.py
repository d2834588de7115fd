"""What the certifier costs beside the passes that no certifier can avoid.

    python -m benchmarks.throughput time   --network small_cnn --batch 64
    python -m benchmarks.throughput time   --network efficientnet_lite0 --batch 8 --samples 64
    python -m benchmarks.throughput memory --network small_cnn

`time` compares the certifier (fresh noise, gradients, top-K counts for three levels and the overlap, result)
with the bare loop: forward and input gradient of a fixed noisy batch of the same size and layout. One thread,
CPU time, interleaved, medians of the ratios of each round. `memory` is the peak of a fresh process for each
number of samples, above what it had before sampling.
"""

import argparse
import resource
import statistics
import subprocess
import sys

import torch

from benchmarks.timing import interleaved, ratios
from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, frozen
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.models import EfficientNetLite0, SmallCNN, TorchvisionClassifier
from lit_certattr.smoothing import GaussianNoise, noisy_images

NETWORKS = {
    "small_cnn": (lambda: SmallCNN(), (1, 28, 28)),
    "efficientnet_lite0": (lambda: EfficientNetLite0(), (3, 224, 224)),
    "resnet18": (lambda: TorchvisionClassifier("resnet18"), (3, 224, 224)),
}


def setting(arguments: argparse.Namespace) -> tuple[torch.nn.Module, torch.Tensor, Certifier]:
    """Network, image and certifier of one comparison."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    build, shape = NETWORKS[arguments.network]
    model = build().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    certifier = Certifier(
        attribution=Gradient(),
        noise=GaussianNoise(sigma=0.25),
        certificates=[PixelCertificate(top_k=(0.5, 0.25, 0.1)), TopKOverlapCertificate(top_k=0.2)],
        num_samples=arguments.samples,
        batch_size=arguments.batch,
    )
    return model, torch.rand(shape), certifier


def compare_time(arguments: argparse.Namespace) -> None:
    """Print the medians and the ratio."""
    model, image, certifier = setting(arguments)
    sizes = {"image_id": "bench", "num_samples": arguments.samples, "batch_size": arguments.batch}
    noisy = next(noisy_images(image, certifier.noise, **sizes)).clone(memory_format=torch.preserve_format)
    target = torch.zeros(arguments.batch, dtype=torch.long)

    def bare() -> None:
        for _ in range(arguments.samples // arguments.batch):
            images = noisy.detach().requires_grad_(True)
            torch.autograd.grad(model(images).gather(1, target[:, None]).sum(), images)

    def noise() -> None:
        for _ in noisy_images(image, certifier.noise, **sizes):
            pass

    def certify() -> None:
        certifier(model, image[None], [0])

    with frozen(model):
        seconds = interleaved({"bare": bare, "noise alone": noise, "certifier": certify}, arguments.repetitions)
    shares = ratios(seconds, "bare")
    print(f"{arguments.network}, batch {arguments.batch}, {arguments.samples} samples, torch {torch.__version__}")
    for name, values in seconds.items():
        milliseconds = 1e3 * statistics.median(values) / arguments.samples
        print(f"  {name:12s} {milliseconds:9.4f} ms of CPU a sample   {shares[name]:6.3f} x the bare loop")


def measure_memory(arguments: argparse.Namespace) -> None:
    """Print the peak of a fresh process for 10, 1,000 and 10,000 samples."""
    if not arguments.child:
        for samples in (arguments.batch, 10 * arguments.batch, 100 * arguments.batch):
            options = ["--network", arguments.network, "--batch", str(arguments.batch), "--samples", str(samples)]
            subprocess.run([sys.executable, "-m", "benchmarks.throughput", "memory", "--child", *options], check=True)
        return
    model, image, certifier = setting(arguments)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    certifier(model, image[None], [0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{arguments.samples:6d} samples: peak {(peak - before) / 1024:7.1f} MiB above the start", flush=True)


def main() -> None:
    """Read the command line and run one comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "memory"])
    parser.add_argument("--network", choices=sorted(NETWORKS), default="small_cnn")
    parser.add_argument("--batch", type=int, default=64, help="samples evaluated at once")
    parser.add_argument("--samples", type=int, default=1024, help="samples an image")
    parser.add_argument("--repetitions", type=int, default=9, help="rounds that are counted")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    {"time": compare_time, "memory": measure_memory}[arguments.what](arguments)


if __name__ == "__main__":
    main()
