"""On the same samples, as many certified pixels as the published procedure (10 samples to select, 90 to test)."""

import numpy as np
import pytest
import torch
from oracles import pixel
from sklearn.datasets import load_sample_image
from torch import nn

from lit_certattr.attribution import Gradient, InputXGradient
from lit_certattr.certificates import PixelCertificate
from lit_certattr.models import SmallCNN
from lit_certattr.smoothing import GaussianNoise, MapBlock, noisy_maps

SIDE, SAMPLES, SELECTION, TAU, ALPHA = 224, 100, 10, 0.75, 0.001


def shares(selection, test):
    """Certified shares of our rule and of the published one, from the votes of both groups of samples."""
    certificate = PixelCertificate(top_k=[0.5], alpha=ALPHA, tau=TAU)
    accumulator = certificate.start(GaussianNoise(0.15), (SIDE, SIDE))
    accumulator.update(torch.rand(1, SIDE, SIDE))
    accumulator.votes.copy_(torch.as_tensor(selection + test)[None])
    accumulator.num_samples.fill_(SAMPLES)
    result = accumulator.compute()
    published = pixel.peer_labels(selection, test, SELECTION, SAMPLES - SELECTION, TAU, ALPHA)
    certified = result.labels[0].numpy() >= 0
    both = certified & (published >= 0)
    assert (result.labels[0].numpy()[both] == published[both]).all()
    return float(certified.mean()), float((published >= 0).mean())


@pytest.mark.parametrize("clear", [0.1, 0.37, 0.7])
def test_on_votes_as_trained_networks_have_them(clear):
    """Some pixels (nearly) always vote the same, the others anything: measured on digits, 37 % are that clear."""
    rng = np.random.default_rng(0)
    vote = np.where(rng.random((SIDE, SIDE)) < clear, rng.beta(0.2, 30, (SIDE, SIDE)), rng.random((SIDE, SIDE)))
    vote = np.where(rng.random((SIDE, SIDE)) < 0.5, vote, 1 - vote)
    ours, published = shares(rng.binomial(SELECTION, vote), rng.binomial(SAMPLES - SELECTION, vote))
    assert published > 0.05
    assert ours >= published - 0.02


class Blurred(InputXGradient):
    """Input times gradient, averaged over 15x15 pixels: maps of the smoothness that coarse methods have."""

    def __call__(self, model, images, targets, create_graph=False):
        maps = super().__call__(model, images, targets, create_graph)
        return nn.functional.avg_pool2d(maps.unsqueeze(1), 15, stride=1, padding=7).squeeze(1)


@pytest.mark.parametrize("method", [Gradient(), Blurred()], ids=["fine", "coarse"])
def test_on_the_maps_of_a_network(method):
    torch.manual_seed(0)
    network = SmallCNN(in_channels=3, width=4, image_size=SIDE).eval()
    photo = torch.from_numpy(load_sample_image("china.jpg")[100 : 100 + SIDE, 200 : 200 + SIDE].copy())
    image = photo.permute(2, 0, 1).float() / 255
    stream = noisy_maps(
        network, method, GaussianNoise(0.15), image, 0, image_id="china", num_samples=SAMPLES, batch_size=SELECTION
    )
    votes = [MapBlock(maps).votes(SIDE * SIDE // 2).numpy().astype(int) for maps in stream]
    ours, published = shares(votes[0], np.sum(votes[1:], axis=0))
    assert ours >= published - 0.02
    if isinstance(method, Blurred):
        assert published > 0.05  # there is something to compare
