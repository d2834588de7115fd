"""What no handful of passes before the sampling can show is found while an image is sampled."""

import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, ProbabilityGradient
from lit_certattr.certificates import PixelCertificate, SmoothGradCertificate
from lit_certattr.certification import Futility
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise
from lit_certattr.statistics import doubling_looks


class Small(nn.Module):
    """A small network whose input something is done to first."""

    def __init__(self, change):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        self.change = change
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images):
        self.calls += 1
        return self.net(self.change(self, images))


def certify(change, num_samples=96, batch_size=32, count=1, **settings):
    settings = {"attribution": Gradient(), "certificates": [PixelCertificate([0.25])]} | settings
    run = Certifier(noise=GaussianNoise(0.3), num_samples=num_samples, batch_size=batch_size, **settings)
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return run(Small(change).eval(), images)


def mixing_from(size):
    def mixing(_, images):
        return images - images.mean(0) if len(images) >= size else images

    return mixing


@pytest.mark.parametrize("size", [6, 9, 32])
def test_a_network_that_mixes_the_images_of_large_batches_alone(size):
    with pytest.raises(
        InputError, match=r"depends on the other images of the batch .* seen in a batch of 32"
    ) as caught:
        certify(mixing_from(size))
    assert "\n" not in str(caught.value)


def test_a_network_that_mixes_batches_larger_than_the_first_look():
    """Early stopping begins with small blocks; larger ones come later."""
    sizes = []

    def mixing(network, images):
        sizes.append(len(images))
        return mixing_from(65)(network, images)

    assert 64 in doubling_looks(64, 512)
    with pytest.raises(InputError, match="seen in a batch of 128"):
        certify(mixing, num_samples=512, batch_size=128, stopping=[Futility()])
    assert 64 in sizes


def test_scores_that_mix_large_batches_where_no_map_is_asked_for():
    method = ProbabilityGradient()
    with pytest.raises(InputError, match=r"the score of ProbabilityGradient .* depends on the other images"):
        certify(
            lambda _, images: images + images.mean(0) if len(images) > 8 else images,
            num_samples=4096,
            batch_size=256,
            attribution=method,
            certificates=[SmoothGradCertificate()],
        )


def after_calls(network, images):
    """Another function from the 12th call on."""
    return images if network.calls < 12 else images * 0.5 + 0.2


def running(network, images):
    """A buffer that follows the images even in eval mode."""
    network.seen += 0.01 * images.detach().mean()
    return images - network.seen if network.calls > 10 else images


def counting(network, images):
    """A drift that no two passes show: 1e-6 a call."""
    return images * (1 + 1e-6 * network.calls)


@pytest.mark.parametrize("change", [after_calls, running])
def test_a_network_that_drifts_while_it_is_sampled(change):
    with pytest.raises(InputError, match="explain image 0 otherwise after its samples than before them") as caught:
        certify(change, num_samples=640)
    assert "\n" not in str(caught.value)


def test_a_drift_too_slow_for_two_passes():
    with pytest.raises(InputError, match="otherwise after its samples than before them"):
        certify(counting, num_samples=4000, batch_size=100)


def test_a_network_that_changes_between_two_images():
    """The second image was looked at before the first was sampled."""

    def later(network, images):
        return images if network.calls < 25 else images * 0.5 + 0.2

    with pytest.raises(InputError, match="explain image 1 otherwise"):
        certify(later, count=2, num_samples=320, batch_size=32)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 96, "auto"])
def test_honest_networks_are_not_refused(batch_size):
    certify(lambda _, images: images, batch_size=batch_size)


def test_what_is_looked_at_changes_no_vote():
    """A counter that changes nothing is no reason to refuse, and no block is passed twice."""
    sizes = []

    def seen(network, images):
        sizes.append(len(images))
        network.seen += 1
        return images

    certify(seen, num_samples=96, batch_size=32)
    assert sizes[-6:] == [1, 32, 1, 32, 32, 1]
