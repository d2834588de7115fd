"""What the checks before and during the sampling cost beside it: images through the network, and CPU time.

python -m benchmarks.preflight
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.data import Digits, ImageDataModule, Photographs
from lit_certattr.models import EfficientNetLite0, SmallCNN
from lit_certattr.preflight import Watch
from lit_certattr.smoothing import GaussianNoise


class Counter:
    """Images that go through a network."""

    def __init__(self, network: nn.Module) -> None:
        self.images = 0
        network.register_forward_pre_hook(self._count)

    def _count(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.images += len(inputs[0])


class Stopwatch:
    """CPU time spent in functions of a module or a class."""

    def __init__(self, module: Any, names: list[str]) -> None:
        self.module, self.functions, self.seconds = module, {name: getattr(module, name) for name in names}, 0.0

    def __enter__(self) -> None:
        for name, function in self.functions.items():
            setattr(self.module, name, self._timed(function))

    def __exit__(self, *_: object) -> None:
        for name, function in self.functions.items():
            setattr(self.module, name, function)

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - start

        return timed


def measure(network: nn.Module, data: ImageDataModule, num_images: int, num_samples: int, batch_size: int) -> str:
    """One row: images of a data set certified one by one, as ``certify.py run`` does."""
    data.setup("predict")
    samples = data.predict_set
    certificates = [PixelCertificate(), TopKOverlapCertificate()]
    certifier = Certifier(Gradient(), GaussianNoise(0.25), certificates, num_samples, batch_size)
    counter = Counter(network.eval())
    looks = Stopwatch(Watch, ["look_at", "check_unchanged"])
    checks = Stopwatch(sys.modules[Certifier.__module__], ["logits_of", "check_function", "explain"])
    start = time.process_time()
    with checks, looks:
        for index in range(num_images):
            certifier(network, samples[index].image[None], ids=[samples.ids[index]])
    total = time.process_time() - start
    passes = num_images * num_samples
    share, cost = counter.images / passes - 1, (checks.seconds + looks.seconds) / total
    run = f"{type(network).__name__}, {num_images} images x {num_samples} samples"
    return f"| {run} | {counter.images - passes} | {passes} | {share:.2%} | {cost:.2%} |"


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| run | images of the checks | samples | share | share of the CPU time |\n|---|---|---|---|---|")
    print(measure(SmallCNN(image_size=8), Digits(), 20, 2000, 256))
    print(measure(EfficientNetLite0(), Photographs(), 4, 400, 16))


if __name__ == "__main__":
    main()
