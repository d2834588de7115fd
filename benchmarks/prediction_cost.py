"""What the noisy accuracy and the certificate of the prediction cost beside everything else of one image.

    python -m benchmarks.prediction_cost

CPU time inside the functions that count predictions, as a share of that of the whole certification of one image,
passes through the network included. One thread.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from lit_certattr import Certifier
from lit_certattr.attribution import Attribution, Gradient, IntegratedGradients
from lit_certattr.certificates import Certificate, PixelCertificate, PredictionCertificate
from lit_certattr.certificates.prediction import PredictionAccumulator
from lit_certattr.certification.noisy_predictions import NoisyPredictions
from lit_certattr.models import EfficientNetLite0, SmallCNN
from lit_certattr.smoothing import GaussianNoise, LogitsRecord

PARTS = {"noisy accuracy": [(NoisyPredictions, "update"), (LogitsRecord, "add")]}
PARTS |= {"prediction": [(PredictionAccumulator, "count"), (PredictionAccumulator, "invalid")]}
SMALL, LARGE = torch.rand(1, 1, 28, 28), torch.rand(1, 3, 224, 224)
CASES: list[tuple[str, nn.Module, Tensor, Attribution, int, int]] = [
    ("SmallCNN, Gradient", SmallCNN(), SMALL, Gradient(), 4000, 256),
    ("EfficientNet-Lite0, Gradient", EfficientNetLite0(), LARGE, Gradient(), 64, 32),
    ("SmallCNN, IntegratedGradients(20)", SmallCNN(), SMALL, IntegratedGradients(20), 1000, 64),
]


@contextmanager
def timed(spent: dict[str, float]) -> Iterator[None]:
    """Add the time inside the parts to ``spent``."""

    def around(part: str, call: Any) -> Any:
        def measured(*arguments: Any) -> Any:
            begin = time.process_time()
            try:
                return call(*arguments)
            finally:
                spent[part] += time.process_time() - begin

        return measured

    with ExitStack() as stack:
        for part, places in PARTS.items():
            for owner, name in places:
                stack.enter_context(patch.object(owner, name, around(part, getattr(owner, name))))
        yield


def main() -> None:
    """Certify one image in each case, and print the shares."""
    torch.set_num_threads(1)
    for name, network, images, method, num_samples, batch_size in CASES:
        for certificates in ([PixelCertificate([0.5])], [PixelCertificate([0.5]), PredictionCertificate()]):
            named: list[Certificate] = list(certificates)
            certifier = Certifier(method, GaussianNoise(0.25), named, num_samples, batch_size=batch_size)
            certifier(network.eval(), images, ids=["before"])
            spent = dict.fromkeys(PARTS, 0.0)
            with timed(spent):
                begin = time.process_time()
                result = certifier(network, images, ids=["image"])[0]["pixel"]
                whole = time.process_time() - begin
            shares = ", ".join(f"{part} {100 * seconds / whole:.3f} %" for part, seconds in spent.items())
            print(f"{name}, {' and '.join(certifier.certificates)}: {shares}; {result.num_extra_passes} extra passes")


if __name__ == "__main__":
    main()
