"""R2ET against its formula written out pair by pair, and what its adaptive weights follow."""

import pytest
import torch
from objectives.catalogue import batch, tanh_net
from torch import nn
from torch.nn import functional

from lit_certattr.errors import InputError
from lit_certattr.models import SmoothActivations
from lit_certattr.objectives import R2ET
from lit_certattr.objectives.r2et import rank_gap

IMAGES, TARGETS = batch()
FUNCTIONS = {
    "logit": lambda logits, target: logits[target],
    "loss": lambda logits, target: functional.cross_entropy(logits, target),
    "probability": lambda logits, target: logits.softmax(0)[target],
}


def gradient_of(net, image, target, of):
    image = image.clone().requires_grad_(True)
    return torch.autograd.grad(FUNCTIONS[of](net(image[None])[0], target), image)[0]


def slow_gap(values, size):
    """All pairs of a pixel of the top K and one of the rest, one after the other."""
    order = sorted(range(len(values)), key=lambda place: -float(values[place]))
    pairs = [(i, j) for i in order[:size] for j in order[size:]]
    return sum(values[i] - values[j] for i, j in pairs) / len(pairs)


@pytest.mark.parametrize("of", FUNCTIONS)
def test_is_its_formula(of):
    net, size, step = tanh_net().eval(), 5, 0.2
    gaps, bends = [], []
    for image, target in zip(IMAGES, TARGETS, strict=True):
        gradient = gradient_of(net, image, target, of)
        signs = gradient.sign() / gradient.sign().norm()
        other = gradient_of(net, image + step * signs, target, of)
        gaps.append(slow_gap(gradient.abs().sum(0).flatten(), size))
        bends.append((other - gradient).norm() / step)
    objective = R2ET(0.3, 0.2, size, of=of, step=step, smooth_beta=None)
    loss, logs = objective(net, IMAGES, TARGETS)
    torch.testing.assert_close(logs["gap"], torch.stack(gaps).mean())
    torch.testing.assert_close(logs["bend"], torch.stack(bends).mean())
    base = functional.cross_entropy(net(IMAGES), TARGETS)
    torch.testing.assert_close(loss, base - 0.3 * logs["gap"] + 0.2 * logs["bend"])
    assert min(float(logs["gap"]), float(logs["bend"])) > 1e-3


def test_few_pairs_are_those_on_both_sides_of_the_border():
    maps = torch.tensor([[[9.0, 1.0, 5.0], [7.0, 4.0, 2.0]]])  # 9 7 5 | 4 2 1
    assert rank_gap(maps, 3, pairs=1).tolist() == [1.0]
    assert rank_gap(maps, 3, pairs=2).tolist() == [6.0 - 3.0]
    assert torch.allclose(rank_gap(maps, 3, pairs=3), rank_gap(maps, 3))


@pytest.mark.parametrize("terms", [{"weight": 0.3, "curvature": 0.0}, {"weight": 0.0, "curvature": 0.3}])
def test_adaptive_weights_follow_the_logarithm_of_a_term(terms):
    net = tanh_net().eval()
    parameters = list(net.parameters())
    settings = {"top_k": 5, "of": "logit", "smooth_beta": None}

    def slope(objective):
        loss, logs = objective(net, IMAGES, TARGETS)
        return torch.autograd.grad(loss, parameters), logs

    found, logs = slope(R2ET(**terms, **settings, adaptive=True))
    base = functional.cross_entropy(net(IMAGES), TARGETS)
    plain = torch.autograd.grad(base, parameters, retain_graph=True)
    name = "gap" if terms["weight"] else "bend"
    weighted, _ = slope(R2ET(**terms, **settings))
    for own, raw, of_base in zip(found, weighted, plain, strict=True):
        expected = of_base + (raw - of_base) * (base.detach() + 1) / logs[name]  # d log t = dt / t
        torch.testing.assert_close(own, expected)


def test_maps_are_those_of_the_softplus_twin():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    _, logs = R2ET(top_k=4, of="logit", smooth_beta=5.0)(net, IMAGES, TARGETS)
    with SmoothActivations(5.0):
        maps = [gradient_of(net, x, t, "logit").abs().sum(0).flatten() for x, t in zip(IMAGES, TARGETS, strict=True)]
    torch.testing.assert_close(logs["gap"], torch.stack([slow_gap(one, 4) for one in maps]).mean())
    assert logs["bend"] > 0
    assert R2ET(top_k=4, of="logit", smooth_beta=None, step=1e-6)(net, IMAGES, TARGETS)[1]["bend"] == 0


def test_a_network_without_a_gradient_has_a_finite_loss():
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 3)).double()
    nn.init.zeros_(net[1].weight)
    loss, _ = R2ET(adaptive=True)(net, IMAGES, TARGETS)
    assert all(one.isfinite().all() for one in torch.autograd.grad(loss, list(net.parameters())))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: R2ET(top_k=0), "top_k"),
        (lambda: R2ET(pairs=0), "pairs must be at least 1"),
        (lambda: R2ET(of="logits"), "of must be one of"),
        (lambda: R2ET(step=0.0), "step must be"),
        (lambda: R2ET(weight=-1.0), "at least 0"),
        (lambda: R2ET(top_k=4, pairs=5)(tanh_net(), IMAGES, TARGETS), "choose at most 4"),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
