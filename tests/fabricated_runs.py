"""Small finished runs, in a fraction of a second: random images, a quadratic network, real certificates."""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    CosineCertificate,
    PixelCertificate,
    PredictionCertificate,
    TopKOverlapCertificate,
)
from lit_certattr.numbers import Entropy
from lit_certattr.records import RunDirectory
from lit_certattr.smoothing import GaussianNoise, Noise

MAKERS: dict[str, Any] = {
    "pixel": lambda alpha, top_k: PixelCertificate(top_k, alpha=alpha),
    "topk_overlap": lambda alpha, top_k: TopKOverlapCertificate(top_k[0], alpha=alpha),
    "cosine": lambda alpha, top_k: CosineCertificate(num_selection=32, alpha=alpha),
    "claim": lambda alpha, top_k: ClaimCertificate([Claim("spread <b>|&_", Entropy(), at_least=0.2)], alpha=alpha),
    "prediction": lambda alpha, top_k: PredictionCertificate(alpha=alpha),
}


class Quadratic(torch.nn.Module):
    """Three logits of 64 pixels."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.randn(3, 64, generator=torch.Generator().manual_seed(seed)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.flatten(1)[:, None] + 1).square().mul(self.scale).sum(2)


def images(count: int, seed: int = 1) -> torch.Tensor:
    """Random images ``[count, 1, 8, 8]``."""
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


@cache
def _results(
    network: int, sigma: float, alpha: float, top_k: tuple[float, ...], kinds: tuple[str, ...], count: int,
    num_samples: int, image_seed: int, law: Noise | None,
) -> Any:  # fmt: skip
    certificates = {kind: MAKERS[kind](alpha, top_k) for kind in kinds}
    noise = GaussianNoise(sigma) if law is None else law
    certifier = Certifier(Gradient(), noise, certificates, num_samples=num_samples, batch_size=50)
    given, model = images(count, image_seed), Quadratic(network)
    results = certifier(model, given, ids=[f"image-{index}" for index in range(count)])
    maps = Gradient()(model, given, torch.zeros(count, dtype=torch.long))
    return results, maps, certifier.settings()


def make_run(
    path: Path,
    network: int = 0,
    sigma: float = 0.25,
    alpha: float = 0.01,
    top_k: tuple[float, ...] = (0.5, 0.25),
    kinds: tuple[str, ...] = ("pixel", "topk_overlap"),
    count: int = 4,
    num_samples: int = 150,
    image_seed: int = 1,
    labels: bool = True,
    law: Noise | None = None,
    **settings: Any,
) -> RunDirectory:
    """A finished run, without figures and page."""
    results, maps, own = _results(network, sigma, alpha, top_k, kinds, count, num_samples, image_seed, law)
    directory = RunDirectory(path)
    plain = {"kind": "any", "alpha": alpha, "top_k": list(top_k)}
    every = own | {"certificates": dict.fromkeys(kinds, plain), "network": f"hash {network}", "structure": "s"}
    every |= {"images": f"images {image_seed} {count}"} | settings
    directory.open(every, provenance={"network": {"class": "Quadratic", "parameters": 192}})
    directory.log_session({"images": count, "seconds": 2.0 * count})
    given = images(count, image_seed)
    ids = [f"image-{index}" for index in range(count)]
    for index, image_id in enumerate(ids):
        facts = {"label": index % 3 if labels else -1, "prediction": 1}
        directory.write(image_id, results[index], given[index], maps[index], facts)
    directory.write_table(ids)
    return directory
