import math

import pytest
import torch
from confidence_penalty import ConfidencePenalty
from torch import nn

from lit_certattr.errors import InputError
from lit_certattr.objectives import CrossEntropy

images, targets = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])


def network(scale):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    net[1].weight.data *= scale
    net[1].bias.data *= scale
    return net


def test_without_weight_it_is_cross_entropy():
    net = network(1.0)
    loss, plain = ConfidencePenalty(beta=0)(net, images, targets)[0], CrossEntropy()(net, images, targets)[0]
    torch.testing.assert_close(loss, plain)


def test_a_prediction_that_knows_nothing_has_the_largest_entropy():
    loss, logs = ConfidencePenalty(beta=0.5)(network(0.0), images, targets)
    assert logs["entropy"].item() == pytest.approx(math.log(10))
    assert loss.item() == pytest.approx(0.5 * math.log(10))


def test_it_can_be_differentiated():
    net = network(1.0)
    ConfidencePenalty()(net, images, targets)[0].backward()
    assert net[1].weight.grad.abs().sum() > 0


def test_a_negative_weight_is_refused():
    with pytest.raises(InputError, match="beta"):
        ConfidencePenalty(-1)
