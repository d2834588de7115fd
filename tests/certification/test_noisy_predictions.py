"""A noisy accuracy that is not that of the samples of the certificates, or that costs more than it is worth."""

import attrs
import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import FunctionAttribution, Gradient, ProbabilityGradient
from lit_certattr.certificates import PixelCertificate, TopKOverlapCertificate
from lit_certattr.certification.noisy_predictions import FIRST, NoisyPredictions
from lit_certattr.certification.stopping import AllDecided
from lit_certattr.metrics import NoisyAccuracy
from lit_certattr.models import SmallCNN
from lit_certattr.smoothing import GaussianNoise, noisy_images

COSTLY = FunctionAttribution(lambda model, images, targets: images[:, 0] * 2, name="twice")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return SmallCNN(image_size=8, width=4).eval()


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(5))


def certify(net, image, method=None, num_samples=200, batch_size=32, **settings):
    certificates = [PixelCertificate([0.5], alpha=0.05), TopKOverlapCertificate(0.2, alpha=0.05)]
    certifier = Certifier(
        method or Gradient(), GaussianNoise(0.5), certificates, num_samples, batch_size=batch_size, **settings
    )
    return certifier(net, image[None], [2], ["image"])[0]


def by_hand(net, image, count):
    blocks = noisy_images(image, GaussianNoise(0.5), image_id="image", num_samples=count, batch_size=50)
    with torch.no_grad():
        return sum(int((net(block).argmax(1) == 2).sum()) for block in blocks)


@pytest.mark.parametrize("batch_size", [7, 32, 200, "auto"])
def test_it_counts_the_samples_of_the_certificates_whatever_the_batch_size(net, image, batch_size):
    results = certify(net, image, batch_size=batch_size)
    for result in results.values():
        assert (result.num_predicted, result.num_predictions) == (by_hand(net, image, 200), 200)
        assert result.num_extra_passes == 0
        assert result.noisy_accuracy == result.num_predicted / 200
    assert 0 < result.num_predicted < 200, "the network must not be sure"


@pytest.mark.parametrize("batch_size", [7, 64, 100, "auto"])
def test_where_it_costs_passes_the_first_64_samples_are_counted(net, image, batch_size):
    result = certify(net, image, COSTLY, batch_size=batch_size)["pixel"]
    assert (result.num_predicted, result.num_predictions) == (by_hand(net, image, FIRST), FIRST)
    assert result.num_extra_passes == FIRST
    few = certify(net, image, COSTLY, num_samples=40)["pixel"]
    assert few.num_predictions == 40


def test_it_adds_no_pass_and_changes_no_certificate_of_a_gradient(net, image, monkeypatch):
    passes = []
    handle = net.register_forward_hook(lambda _, inputs, __: passes.append(len(inputs[0])))
    with_it = certify(net, image)
    counted = sum(passes)
    passes.clear()
    monkeypatch.setattr(NoisyPredictions, "update", lambda *_: None)
    without = certify(net, image)
    handle.remove()
    assert sum(passes) == counted > 200
    for name, result in with_it.items():
        for field in attrs.fields(type(result)):
            one, two = getattr(result, field.name), getattr(without[name], field.name)
            same = torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two
            assert same or field.name in ("num_predicted", "num_predictions")


def test_it_stops_with_the_certificates(net, image):
    results = certify(net, image, num_samples=4096, stopping=[AllDecided(share=0.1)])
    result = results["pixel"]
    assert result.num_predictions == result.num_samples < 4096
    assert result.num_predicted == by_hand(net, image, result.num_samples)


def test_a_score_is_enough(net, image):
    result = certify(net, image, ProbabilityGradient())["pixel"]
    assert (result.num_predictions, result.num_extra_passes) == (200, 0)


def test_copies_that_tie_or_have_no_logits_are_not_predicted(image):
    class Half(nn.Module):
        def forward(self, images):
            total = images.flatten(1).sum(1)
            first = torch.where(total > float(image.sum()), total * torch.inf, total)  # half of the copies
            clean = (total - float(image.sum())).abs() < 1e-3
            first = torch.where(clean, total, first)
            return torch.stack([total * 0, total * 0, first, total], 1)  # the others tie

    certifier = Certifier(COSTLY, GaussianNoise(0.5), [PixelCertificate([0.5], alpha=0.05)], 64, batch_size=16)
    result = certifier(Half(), image[None], [2], ["image"])[0]["pixel"]
    assert (result.num_predicted, result.num_predictions) == (0, 64)


@pytest.mark.parametrize("counts", [{"num_predictions": 201}, {"num_predicted": 201}, {"num_predicted": -1}])
def test_impossible_counts_are_refused(net, image, counts):
    with pytest.raises(ValueError, match="must lie in"):
        attrs.evolve(certify(net, image)["pixel"], **counts)


def test_the_metric_is_the_mean_over_images_and_leaves_unknown_ones_out(net, image):
    result = certify(net, image)["pixel"]
    none = attrs.evolve(result, num_predicted=0)
    metric = NoisyAccuracy()
    metric.update([result, none])
    assert float(metric.compute()) == pytest.approx(result.noisy_accuracy / 2)
    unknown = attrs.evolve(none, num_predictions=0)
    assert unknown.noisy_accuracy is None
    metric.update(unknown)
    with pytest.warns(UserWarning, match="not defined for 1 images"):
        assert float(metric.compute()) == pytest.approx(result.noisy_accuracy / 2)
