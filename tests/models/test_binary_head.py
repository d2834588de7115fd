"""One logit, or one label of many, as a decision between two classes."""

import pytest
import torch
from torch import nn

from lit_certattr import certify
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import PixelCertificate, PredictionCertificate
from lit_certattr.errors import InputError
from lit_certattr.models import BinaryHead

IMAGES = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def network(logits):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, logits)).eval()


@pytest.mark.parametrize("squeezed", [False, True])
def test_the_softmax_is_the_sigmoid(squeezed):
    net = network(1)
    head = BinaryHead(nn.Sequential(net, nn.Flatten(0)) if squeezed else net, name="ill")
    probability = net(IMAGES).sigmoid()
    assert torch.allclose(head(IMAGES).softmax(1), torch.cat([1 - probability, probability], 1), atol=1e-6)
    assert torch.equal(head(IMAGES).argmax(1) == 1, net(IMAGES)[:, 0] > 0)
    assert head.class_names == ["not ill", "ill"]
    one, zero = (Gradient("sum")(head, IMAGES, torch.full((4,), label)) for label in (1, 0))
    assert torch.allclose(one, -zero)
    assert one.abs().max() > 0


def test_the_prediction_of_a_label_does_not_depend_on_the_others():
    """Of a multi-label network the largest logit says nothing: here a label is present that is never the largest."""
    net = network(3)
    with torch.no_grad():
        net[3].bias += torch.tensor([9.0, 3.0, -9.0])
    assert not bool((net(IMAGES).argmax(1) == 1).any())
    settings = {
        "certificates": [PixelCertificate([0.5]), PredictionCertificate()],
        "num_samples": 60,
        "progress": False,
    }
    found = certify(BinaryHead(net, label=1, name="smiling"), IMAGES[0], noise=0.1, **settings)
    assert found.explained == "smiling (1)"
    assert found["prediction"].verdict == "holds"
    assert found["pixel"].noisy_accuracy == 1.0
    plain = certify(net, IMAGES[0], 1, noise=0.1, **settings)
    assert plain["pixel"].noisy_accuracy == 0.0
    assert torch.equal(plain["pixel"].votes, found["pixel"].votes)  # the map is the same up to a factor


def test_mistakes():
    with pytest.raises(InputError, match=r"must return one logit per image, got \(4, 3\): give the label"):
        BinaryHead(network(3))(IMAGES)
    with pytest.raises(InputError, match=r"must return logits \[B, labels\] with label 3, got \(4, 3\)"):
        BinaryHead(network(3), label=3)(IMAGES)
    with pytest.raises(InputError, match="label must be"):
        BinaryHead(network(3), label=-1)
    with pytest.raises(InputError, match="name must be one line"):
        BinaryHead(network(1), name="")
    with pytest.raises(InputError, match=r"one logit s.* use BinaryHead\(network\) of lit_certattr.models"):
        certify(network(1), IMAGES[0], num_samples=60)
