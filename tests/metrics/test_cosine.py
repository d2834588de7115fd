"""The metric of certified cosines."""

import attrs
import pytest
import torch

from lit_certattr.certificates import CosineCertificate, PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.metrics import CertifiedCosine, cosine_metrics, metrics_for
from lit_certattr.smoothing import GaussianNoise


def result(norm):
    certificate = CosineCertificate(alpha=0.05, num_selection=8)
    accumulator = certificate.start(GaussianNoise(0.25), (2, 3))
    accumulator.update(torch.rand(100, 2, 3, generator=torch.Generator().manual_seed(0)))
    return attrs.evolve(accumulator.compute(), norm=norm)


def test_mean_over_images_with_0_where_nothing_is_certified():
    results = [result(0.9), result(0.5), result(0.05)]
    assert results[2].at(0.1) == -1
    metric = CertifiedCosine(0.1)
    metric.update(results[:2])
    metric.update(results[2])
    assert float(metric.compute()) == pytest.approx((results[0].at(0.1) + results[1].at(0.1)) / 3, abs=1e-6)


def test_names_and_refusals():
    certificate = CosineCertificate()
    assert list(metrics_for(certificate, [0.05, 0.1])) == list(cosine_metrics([0.05, 0.1]))
    with pytest.raises(InputError, match="radius must be a finite number, not negative"):
        CertifiedCosine(-1)
    pixel = PixelCertificate(top_k=[0.5]).start(GaussianNoise(0.25), (2, 3))
    pixel.update(torch.rand(100, 2, 3))
    with pytest.raises(InputError, match="needs a CosineResult, got PixelResult"):
        CertifiedCosine(0.1).update(pixel.compute())
