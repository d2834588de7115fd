"""SmoothGrad: a mean over fixed noise, so one function of the image."""

import pytest
import torch

from lit_certattr import Certifier
from lit_certattr.attribution import GradCAM, Gradient, MaxLogitGradient, SmoothGrad
from lit_certattr.certificates import PixelCertificate
from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN
from lit_certattr.smoothing import (
    DiscreteGaussianNoise,
    ExposureNoise,
    GammaNoise,
    GaussianNoise,
    NuisanceNoise,
    UniformBallNoise,
    normal_stream,
)

TARGETS = torch.tensor([0, 3, 9])


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return SmallCNN(image_size=12, width=4).double().eval()


@pytest.fixture
def images():
    return torch.rand(3, 1, 12, 12, dtype=torch.float64)


@pytest.mark.parametrize("noise", [GaussianNoise(0.2), UniformBallNoise(0.2), DiscreteGaussianNoise(0.2)])
@pytest.mark.parametrize("base", [Gradient("sum"), GradCAM()])
def test_is_the_mean_over_the_same_noise_for_all_images(net, images, noise, base):
    rows = torch.empty(5, 144, dtype=torch.float64)
    noise.perturb_(rows, torch.zeros(144, dtype=torch.float64), normal_stream(7, "\x00SmoothGrad", rows.device), 0)
    copies = rows.view(5, 1, 12, 12)
    expected = torch.stack([base(net, images + e, TARGETS) for e in copies]).mean(0)
    torch.testing.assert_close(SmoothGrad(base, noise, draws=5, seed=7)(net, images, TARGETS), expected)


@pytest.mark.parametrize("max_batch", [1, 3, 7, 64])
def test_grouping_and_batch_do_not_matter(net, images, max_batch):
    expected = SmoothGrad(Gradient(), GaussianNoise(0.2), draws=5)(net, images, TARGETS)
    method = SmoothGrad(Gradient(), GaussianNoise(0.2), draws=5, max_batch=max_batch)
    torch.testing.assert_close(method(net, images, TARGETS), expected)
    for index in range(3):
        alone = method(net, images[index : index + 1], TARGETS[index : index + 1])[0]
        torch.testing.assert_close(alone, expected[index])


def test_calls_repeat_and_seeds_differ(net, images):
    method = SmoothGrad(Gradient(), GaussianNoise(0.2), draws=3)
    first = method(net, images, TARGETS)
    torch.rand(5)
    assert torch.equal(method(net, images, TARGETS), first)
    assert not torch.allclose(SmoothGrad(Gradient(), GaussianNoise(0.2), 3, seed=1)(net, images, TARGETS), first)


def test_torchs_generator_is_left_alone(net, images):
    state = torch.get_rng_state()
    SmoothGrad(Gradient(), GaussianNoise(0.2), draws=3)(net, images, TARGETS)
    assert torch.equal(torch.get_rng_state(), state)


def test_modes_and_graphs(net, images):
    method = SmoothGrad(Gradient("sum"), GaussianNoise(0.2), draws=3)
    expected = method(net, images, TARGETS)
    assert not expected.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(method(net, images * 1, TARGETS + 0), expected)
    maps = method(net, images, TARGETS, create_graph=True)
    torch.testing.assert_close(maps.detach(), expected)
    (gradient,) = torch.autograd.grad(maps.square().sum(), net.features[0].weight)
    assert gradient.any()


def test_can_be_certified_and_records_what_it_explains(net, images):
    net = net.float()
    for base, rule in ((Gradient(), None), (MaxLogitGradient(), "predicted at each draw")):
        method = SmoothGrad(base, GaussianNoise(0.1), draws=2)
        certifier = Certifier(method, GaussianNoise(0.25), [PixelCertificate(top_k=[0.25])], num_samples=60)
        result = certifier(net, images[:1].float())[0]["pixel"]
        assert result.sampling["attribution"] == repr(method)
        assert result.sampling.get("class_rule") == rule
    net.double()


def test_settings_are_checked_and_named():
    for wrong in ({"draws": 0}, {"max_batch": 0}):
        with pytest.raises(InputError, match="at least 1"):
            SmoothGrad(Gradient(), GaussianNoise(0.1), **wrong)
    named = repr(SmoothGrad(Gradient(), GaussianNoise(0.1)))
    assert "base=Gradient(channels='sum_abs', layer='input', upsample=True)" in named
    assert "noise=GaussianNoise(sigma=0.1)" in named


@pytest.mark.parametrize("noise", [NuisanceNoise(0.2, brightness=0.1), ExposureNoise(exposure=0.5), GammaNoise(0.2)])
def test_a_law_that_does_not_add_noise_to_single_pixels_is_refused_where_it_is_named(noise):
    with pytest.raises(InputError, match=rf"not that of {type(noise).__name__}\(.*use GaussianNoise"):
        SmoothGrad(Gradient(), noise)
