"""The stand-in is an accelerator as far as its tests rely on it, and sees what it has to see."""

import numpy as np
import pytest
import torch
from standin.device import NAME
from torch import nn

from lit_certattr.devices import constant, onto


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).all()),
        lambda x: [1, 2][x.argmax() * 0],
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x[[0, 1]],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: x.unique(),
        lambda x: torch.ones(3).to(NAME),
        lambda x: torch.tensor([1.0], device=NAME),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: torch.ones(3).copy_(x),
        lambda x: nn.functional.one_hot(x.long()),
    ],
)
def test_waiting_is_seen(device, ask):
    x = torch.rand(3).to(NAME)
    device.waits.clear()
    ask(x)
    assert device.waits


def test_what_waits_for_nothing_is_no_waiting(device):
    x, values = torch.rand(3).to(NAME), torch.ones(3)
    constant(values, x)
    device.waits.clear()
    ((x * 2).clamp_(min=0.1)[1:] + onto(values, x)[:2]).softmax(0).sum()
    torch.zeros(2, device=x.device)
    assert constant(values, x) is constant(values, x)
    assert not device.waits
    assert sum(device.copies.values()) == 2


def test_devices_do_not_mix(device):
    x = torch.rand(3).to(NAME)
    with pytest.raises(RuntimeError, match="expected all tensors on standin"):
        x + torch.ones(3)
    with pytest.raises(TypeError, match="can't convert"):
        np.asarray(x)


def test_it_computes(device):
    torch.manual_seed(0)
    net, images = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)), torch.rand(2, 1, 6, 6)
    wanted = net(images)
    (gradient,) = torch.autograd.grad(wanted.sum(), net[0].weight)
    net.to(NAME)
    found = net(images.to(NAME))
    assert found.device.type == NAME
    assert torch.equal(found.cpu(), wanted)
    assert torch.equal(torch.autograd.grad(found.sum(), net[0].weight)[0].cpu(), gradient)


def test_float64_is_seen(device):
    torch.rand(3, dtype=torch.float64).to(NAME)
    assert device.doubles
