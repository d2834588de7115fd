"""Where the score of perturbed images never moves the map is constant: a method must not certify its own masks."""

import pytest
import torch
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import LIME, RISE, AblationCAM, Occlusion, ScoreCAM
from lit_certattr.attribution.scores import rounding
from lit_certattr.certificates import PixelCertificate
from lit_certattr.smoothing import GaussianNoise

METHODS = [
    RISE(num_masks=60, cells=4),
    RISE(num_masks=60, cells=4, keep=0.1, score="logit"),
    LIME(segments=4, num_samples=60),
    LIME(segments=4, num_samples=60, fill=0.5, score="logit"),
    Occlusion(5, 3),
    Occlusion(5, 3, score="softmax", channels="sum"),
    Occlusion(2, 1, layer="0"),
    ScoreCAM("0"),
    ScoreCAM("0", relu=False, score="softmax"),
    ScoreCAM("input", relu=False),
    AblationCAM("0"),
    AblationCAM("0", relu=False, score="softmax"),
]


class Logits(nn.Module):
    """Logits of a feature map's mean, made by a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, features):
        mean = features.mean((1, 2, 3))
        return torch.stack(torch.broadcast_tensors(*self.function(mean)), 1)


def network(function):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), Logits(function)).eval()


NEVER_MOVE = {
    "dead": lambda mean: (mean * 0 + 0.3, mean * 0 + 0.1),
    "three classes, dead": lambda mean: (mean * 0 - 0.7, mean * 0 + 1.9, mean * 0),
    "sure of the class": lambda mean: (mean + 60, mean - 60),
    "sure of the other class": lambda mean: (mean - 400, mean + 400),
    "rounding": lambda mean: (1e6 + mean * 0.1, -1e6 - mean * 0.1),
}


CASES = [  # where the network is sure of a class the logit moves, and the probability does not
    pytest.param(method, function, id=f"{name}, {method!r}")
    for name, function in NEVER_MOVE.items()
    for method in METHODS
    if not (name.startswith("sure") and method.score == "logit")
]


@pytest.mark.parametrize(("method", "function"), CASES)
def test_the_map_is_constant_to_the_bit(method, function):
    images, targets = torch.rand(5, 3, 16, 16), torch.tensor([0, 1, 0, 1, 1])
    for max_batch in (None, 3):  # other tiles round otherwise
        method.max_batch = max_batch
        maps = method(network(function), images, targets)
        assert torch.equal(maps, maps[:, :1, :1].expand_as(maps))
        assert maps.isfinite().all()
    method.max_batch = None
    assert method(network(function), images, targets, create_graph=True).detach().flatten(1).std(1).max() == 0


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_score_that_moves_a_little_still_makes_a_map(method):
    """A tenth of a per mille of the logit is far above rounding."""
    net = network(lambda mean: (1 + 1e-3 * mean, -1 - 1e-3 * mean))
    images, targets = torch.rand(3, 3, 16, 16), torch.tensor([0, 1, 0])
    exact = method(net.double(), images.double(), targets)
    found = method(net.float(), images, targets)
    moving = exact.flatten(1).std(1) > 0
    assert moving.all() or (isinstance(method, ScoreCAM | AblationCAM) and method.relu and moving.any())
    assert torch.equal(found.flatten(1).std(1) > 0, moving)


def test_only_the_images_whose_score_does_not_move_are_constant():
    net = nn.Sequential(nn.Identity(), Logits(lambda mean: ((mean - 0.5).clamp(min=0), mean * 0)))
    images = torch.rand(4, 3, 16, 16) * torch.tensor([0.5, 1.0, 0.5, 1.0]).view(-1, 1, 1, 1)
    images[1::2] = 1 - 0.01 * images[1::2]  # bright enough that masks of more than half of it are seen
    maps = RISE(60, 4, score="logit")(net, images, torch.zeros(4, dtype=torch.long))
    assert (maps.flatten(1).std(1) > 0).tolist() == [False, True, False, True]


def test_nan_is_not_called_constant():
    net = network(lambda mean: (mean * torch.nan, mean))
    for method in (RISE(20, 3), LIME(2, 20), Occlusion(8, 8)):
        assert method(net, torch.rand(1, 3, 16, 16), torch.tensor([0])).isnan().all()


def test_rounding_of_probabilities_is_that_of_their_logits():
    """Logits that differ by their rounding have probabilities that differ by no more than theirs."""
    generator = torch.Generator().manual_seed(0)
    logits = 20 * torch.randn(2000, 5, generator=generator)
    moved = logits * (1 + 2 * torch.finfo(torch.float32).eps * (2 * torch.rand(2000, 5, generator=generator) - 1))
    targets = torch.zeros(2000, dtype=torch.long)
    difference = (logits.softmax(1) - moved.softmax(1))[:, 0].abs()
    assert (difference <= rounding(logits, targets, "softmax")).all()
    assert (rounding(logits, targets, "softmax") <= 1e-4 * logits.softmax(1)[:, 0]).all()


@pytest.mark.parametrize("method", [RISE(num_masks=60, cells=4), LIME(segments=4, num_samples=60)], ids=repr)
def test_nothing_of_it_is_certified(method):
    certifier = Certifier(method, GaussianNoise(0.25), [PixelCertificate(top_k=[0.25], alpha=0.01)], num_samples=200)
    (results,) = certifier(network(NEVER_MOVE["dead"]), torch.rand(1, 3, 16, 16), [0])
    assert float(results["pixel"].shares()["certified"][0]) == 0
