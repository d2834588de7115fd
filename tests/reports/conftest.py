import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.smoothing import GaussianNoise


@pytest.fixture(scope="session")
def certified():
    """Certifies random images of one shape with a random quadratic network."""

    class Quadratic(nn.Module):
        def __init__(self, pixels):
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.scale = nn.Parameter(torch.randn(3, pixels, generator=generator))

        def forward(self, images):
            return (images.flatten(1)[:, None] + 1).square().mul(self.scale).sum(2)

    def make(count=1, shape=(1, 8, 8), top_k=(0.5, 0.25), num_samples=150, names=("pixel", "topk_overlap")):
        certificates = {"pixel": PixelCertificate(top_k), "topk_overlap": TopKOverlapCertificate(0.5)}
        certifier = Certifier(
            Gradient(),
            GaussianNoise(0.25),
            {name: certificates[name] for name in names},
            num_samples=num_samples,
            batch_size=50,
        )
        network = Quadratic(shape[0] * shape[1] * shape[2])
        images = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))
        ids = [f"image-{index}" for index in range(count)]
        results = certifier(network, images, ids=ids)
        maps = Gradient()(network, images, torch.zeros(count, dtype=torch.long))
        return list(zip(ids, images, results, maps, strict=True))

    return make
