"""On an accelerator the certifier gives the same votes as on the CPU, and the loop over the samples never waits."""

import attrs
import pytest
import torch
from standin.device import NAME
from torch import Tensor

from lit_certattr.attribution import Gradient, ProbabilityGradient, RegionMap
from lit_certattr.certificates import (
    Claim,
    ClaimCertificate,
    CosineCertificate,
    PercentileCertificate,
    PixelCertificate,
    PredictionCertificate,
    RenyiCertificate,
    SmoothGradCertificate,
    TopKOverlapCertificate,
)
from lit_certattr.certification import Certifier
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.numbers import Box, EnergyInside, Gini, MoreThan, OverlapWith, PointingGame, TopKInside
from lit_certattr.regions import Grid
from lit_certattr.smoothing import (
    AffineNoise,
    BlurNoise,
    ExposureNoise,
    GammaNoise,
    GaussianNoise,
    NuisanceNoise,
    PatchMaskNoise,
    RegionMaskNoise,
    UniformBallNoise,
)

BOX, GAUSSIAN = Box(0.25, 0.25, 0.75, 0.75), GaussianNoise(0.25)
CLAIMS = [
    Claim("energy", EnergyInside(BOX), at_least=0.1),
    Claim("inside", TopKInside(BOX, 0.25), at_least=0.1),
    Claim("more", MoreThan(BOX, Box(0, 0, 0.25, 1)), at_least=0.1),
    Claim("place", PointingGame(BOX), at_least=0.1),
    Claim("concentrated", Gini(), at_least=0.1),
    Claim("like", OverlapWith(torch.arange(256.0).view(16, 16).tolist(), 0.25), at_least=0.1),
]
CASES = {
    "pixel": (GAUSSIAN, PixelCertificate([0.5, 0.1]), Gradient()),
    "positive": (GAUSSIAN, PixelCertificate([0.5], ties="positive"), Gradient()),
    "regions": (GAUSSIAN, PixelCertificate([0.5]), RegionMap(Gradient(), Grid(4))),
    "overlap": (GAUSSIAN, TopKOverlapCertificate(0.2), Gradient()),
    "pairs": (GAUSSIAN, TopKOverlapCertificate(0.2, num_selection=100, pairs=3), Gradient()),
    "relaxed": (GAUSSIAN, TopKOverlapCertificate(0.2, map_kind="relaxed"), Gradient()),
    "ranked": (GAUSSIAN, TopKOverlapCertificate(0.2, map_kind="ranked"), Gradient()),
    "smoothgrad": (GAUSSIAN, SmoothGradCertificate(0.2, num_selection=100), ProbabilityGradient()),
    "renyi": (GAUSSIAN, RenyiCertificate(0.2), Gradient()),
    "cosine": (UniformBallNoise(0.25), CosineCertificate(num_selection=100), Gradient()),
    "claims": (GAUSSIAN, ClaimCertificate(CLAIMS), Gradient()),
    "levels": (GAUSSIAN, ClaimCertificate(CLAIMS[:2], bound="clopper_pearson"), Gradient()),
    "percentile": (GAUSSIAN, PercentileCertificate(), Gradient()),
    "prediction": (GAUSSIAN, PredictionCertificate(), Gradient()),
    "nuisance": (NuisanceNoise(0.25, brightness=0.1, illumination=0.1), PixelCertificate([0.5]), Gradient()),
    "exposure": (ExposureNoise(exposure=0.2, shading=0.1, sigma=0.1), PixelCertificate([0.5]), Gradient()),
    "gamma": (GammaNoise(0.2), PixelCertificate([0.5]), Gradient()),
    "affine": (AffineNoise(0.1, 0.1), PixelCertificate([0.5]), Gradient()),
    "blur": (BlurNoise(0.5, 0.1), PixelCertificate([0.5]), Gradient()),
    "patches": (PatchMaskNoise(0.5, 4), PixelCertificate([0.5]), Gradient()),
    "objects": (RegionMaskNoise(0.5, Grid(4)), PixelCertificate([0.5]), Gradient()),
}
IMAGE = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def certified(case, net, image, num_samples):
    noise, certificate, method = CASES[case]
    certifier = Certifier(method, noise, [certificate], num_samples=num_samples, batch_size=50)
    return next(iter(certifier(net, image, [2], ["a"])[0].values()))


def network():
    torch.manual_seed(0)
    return SmallCNN(image_size=16, width=4).eval()


def tensors(result):
    return {name: value for name, value in attrs.asdict(result, recurse=False).items() if isinstance(value, Tensor)}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_same_result_and_no_waiting_in_the_loop(case, device):
    wanted = certified(case, network(), IMAGE, 1000)
    net, image = network().to(NAME), IMAGE.to(NAME)
    certified(case, net, image, 700)  # the first time, network and method are tried out
    waits = []
    for num_samples in (700, 1000):
        device.waits.clear()
        found = certified(case, net, image, num_samples)
        waits.append(device.waits.copy())
    assert waits[0] == waits[1]  # as often for 14 blocks of samples as for 20
    assert found.sampling["device"] == NAME
    assert tensors(found).keys() == tensors(wanted).keys()
    for name, value in tensors(wanted).items():
        assert tensors(found)[name].device.type == "cpu", name
        assert torch.allclose(tensors(found)[name], value, rtol=1e-5, atol=1e-6, equal_nan=True), name
    if "votes" in tensors(wanted):
        assert torch.equal(found.votes, wanted.votes)


@pytest.mark.parametrize("case", ["pixel", "regions", "nuisance", "blur", "patches"])
def test_no_float64_where_the_device_has_none(case, device, no_float64):
    certified(case, network().to(NAME), IMAGE.to(NAME), 400)
    assert not device.doubles


@pytest.mark.parametrize("case", ["cosine", "claims", "percentile"])
def test_what_needs_float64_is_refused_where_the_device_has_none(case, device, no_float64):
    with pytest.raises(InputError, match="needs float64, which standin does not have"):
        certified(case, network().to(NAME), IMAGE.to(NAME), 400)
