"""Equal weights are not an equal function: what tells networks apart, and what does not."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from lit_certattr.errors import InputError
from lit_certattr.models import SmallCNN, network_hash, probe, same_answers, structure_hash


def _net(act: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), act, nn.Linear(8, 3))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (nn.ReLU(), nn.Tanh()),
        (nn.GELU(), nn.GELU(approximate="tanh")),
        (nn.LeakyReLU(0.01), nn.LeakyReLU(0.2)),
        (nn.Dropout(0.1), nn.Dropout(0.5)),
        (nn.Identity(), nn.Sequential(nn.Identity())),
    ],
)
def test_what_has_no_weights_decides_too(one, two):
    first, second = _net(one), _net(two)
    assert structure_hash(first) != structure_hash(second)
    assert structure_hash(first) == structure_hash(_net(one))
    if isinstance(two, nn.Sequential):
        return
    assert network_hash(first) == network_hash(second)


class Configurable(nn.Module):
    def __init__(self, **settings):
        super().__init__()
        vars(self).update(settings)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"act": torch.relu}, {"act": torch.tanh}),
        ({"act": functools.partial(torch.clamp, min=0)}, {"act": functools.partial(torch.clamp, min=1)}),
        ({"size": (1, 2)}, {"size": (1, 3)}),
        ({"scale": np.float64(1.5)}, {"scale": np.float64(2.5)}),
        ({"kind": nn.ReLU}, {"kind": nn.Tanh}),
        ({"options": {"a": 1}}, {"options": {"a": 2}}),
        ({"dtype": torch.float32}, {"dtype": torch.float64}),
    ],
)
def test_plain_attributes_are_arguments(one, two):
    assert structure_hash(Configurable(**one)) != structure_hash(Configurable(**two))
    assert structure_hash(Configurable(**one)) == structure_hash(Configurable(**one))


def test_what_changes_from_call_to_call_is_no_structure():
    net = _net(nn.ReLU())
    before = structure_hash(net)
    net(torch.rand(2, 1, 4, 4))
    net.train().requires_grad_(False)
    net[1]._cache = torch.rand(3)
    assert structure_hash(net) == before
    assert structure_hash(Configurable(last=torch.rand(2))) == structure_hash(Configurable(last=torch.rand(2)))


def test_buffers_outside_of_the_state_dict_and_hooks_are_seen():
    def net(value):
        made = _net(nn.ReLU())
        made[1].register_buffer("mean", torch.tensor(value), persistent=False)
        return made

    assert network_hash(net(1.0)) == network_hash(net(2.0))
    assert structure_hash(net(1.0)) != structure_hash(net(2.0))
    hooked = _net(nn.ReLU())
    before = structure_hash(hooked)
    hooked[1].register_forward_hook(lambda module, inputs, output: -output)
    assert structure_hash(hooked) != before


def test_answers_tell_another_forward_and_stand_rounding():
    net = SmallCNN(image_size=8).eval()
    answers = probe(net, (1, 8, 8))
    assert answers == probe(net, (1, 8, 8))
    assert same_answers(answers, probe(net.double(), (1, 8, 8)))
    net.float()
    twice = nn.Sequential(net, nn.Softmax(1))
    assert not same_answers(answers, probe(twice, (1, 8, 8)))
    for wrong in (None, answers[:-1], ["1"] * len(answers), [None] * len(answers)):
        assert not same_answers(wrong, answers)


def test_the_probe_leaves_the_network_as_it_was():
    net = _net(nn.Dropout(0.5)).train()
    modes = [module.training for module in net.modules()]
    assert probe(net, (1, 4, 4)) == probe(net, (1, 4, 4)), "dropout is off"
    assert [module.training for module in net.modules()] == modes
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_answers_that_are_not_finite_have_a_place():
    class Infinite(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :2] / 0

    assert probe(Infinite(), (1, 2, 2)).count(None) > 0


def test_a_network_that_cannot_take_the_image_is_one_line():
    with pytest.raises(InputError, match=r"cannot take a pseudo-random image of shape \(3, 4, 4\)"):
        probe(_net(nn.ReLU()), (3, 4, 4))
