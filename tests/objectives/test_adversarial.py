import math

import pytest
import torch
from objectives.catalogue import batch, l2, linf, tanh_net
from torch import nn
from torch.nn import functional

from lit_certattr.attacks import distance
from lit_certattr.errors import InputError
from lit_certattr.objectives import MART, TRADES, AdversarialTraining
from lit_certattr.objectives.adversarial import neighbours_of
from lit_certattr.objectives.contexts import attacking
from lit_certattr.objectives.losses import cross_entropy, kl_divergence, margin_cross_entropy
from lit_certattr.objectives.robust_losses import AdversarialLoss, MartLoss, TradesLoss


class Linear(nn.Module):
    """The worst neighbour of a linear network is known; remembers what it was shown, and how."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 2)
        self.double()
        self.seen: list[torch.Tensor] = []

    def forward(self, images):
        if self.training:
            self.seen.append(images.detach().clone())
        return self.layer(images.flatten(1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_trains_on_the_worst_image_in_ball_and_box(norm):
    net, (images, _) = Linear(), batch()
    images, targets = 0.3 + 0.4 * images, torch.tensor([0, 1, 0, 1, 1])
    config = {"linf": linf, "l2": l2}[norm](0.2, steps=100, step_size=0.1)
    loss, logs = AdversarialTraining(config)(net, images, targets)
    (seen,) = net.seen
    assert (distance(seen, images, norm) <= 0.2).all()
    towards = (1 - 2 * targets).view(-1, 1) * (net.layer.weight[1] - net.layer.weight[0])  # raises the cross-entropy
    step = towards.sign() if norm == "linf" else towards / towards.norm(dim=1, keepdim=True)
    worst = net.layer(images.flatten(1) + 0.2 * step)
    torch.testing.assert_close(loss, functional.cross_entropy(worst, targets), rtol=1e-6, atol=0)
    assert logs["adversarial_accuracy"] == (worst.argmax(1) == targets).float().mean()


@pytest.mark.parametrize("loss", [AdversarialLoss(), TradesLoss(), MartLoss()], ids=repr)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_neighbours_score_higher_and_stay_in_ball_and_box(loss, norm):
    torch.manual_seed(1)
    net, (images, targets) = tanh_net(), batch()
    config = {"linf": linf, "l2": l2}[norm](0.25, steps=5, init="gaussian")
    with attacking(net, images):
        score = loss.score(net, images, targets)
        before = score(images)
        neighbours = neighbours_of(images, score, config)
        assert score(neighbours).mean() > before.mean() + 1e-3
    assert (distance(neighbours, images, norm) <= 0.25).all()
    assert neighbours.min() >= 0
    assert neighbours.max() <= 1
    assert not neighbours.requires_grad


def test_random_starts_are_new_at_every_step_whatever_the_seed_of_the_attack():
    net, (images, targets) = Linear(), batch()
    objective = AdversarialTraining(linf(steps=0, seed=3))
    for _ in range(2):
        objective(net, images, targets % 2)
    assert not torch.equal(*net.seen)


def test_trades_is_cross_entropy_and_divergence():
    net, (images, targets) = Linear(), batch()
    targets = targets % 2
    loss, logs = TRADES(linf(), beta=3.0)(net, images, targets)
    assert torch.equal(net.seen[0], images)
    p, q = (net.layer(seen.flatten(1)).softmax(1) for seen in net.seen)
    expected = -p[torch.arange(5), targets].log().mean() + 3.0 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(loss, expected)
    assert logs["accuracy"] == (p.argmax(1) == targets).float().mean()
    assert logs["adversarial_accuracy"] == (q.argmax(1) == targets).float().mean()


def test_mart_is_its_formula():
    net, (images, targets) = Linear(), batch()
    targets = targets % 2
    loss, _ = MART(linf(), beta=3.0)(net, images, targets)
    p, q = (net.layer(seen.flatten(1)).softmax(1) for seen in net.seen)
    at, rival = q[torch.arange(5), targets], q[torch.arange(5), 1 - targets]
    weighted = (p * (p / q).log()).sum(1) * (1 - p[torch.arange(5), targets])
    torch.testing.assert_close(loss, (-at.log() - (1 - rival).log() + 3.0 * weighted).mean())


def test_trades_refuses_a_start_at_which_nothing_rises():
    with pytest.raises(InputError, match="TradesLoss has zero gradient at the image itself"):
        TRADES(linf(init="zero"))


@pytest.mark.parametrize("kind", [TRADES, MART])
@pytest.mark.parametrize("beta", [-1.0, math.inf, math.nan])
def test_refuses_a_weight_out_of_range(kind, beta):
    with pytest.raises(InputError, match="beta must be a number of at least 0"):
        kind(linf(), beta=beta)


class TestLosses:
    def test_divergence(self):
        torch.manual_seed(0)
        a, b = torch.randn(2, 4, 3, dtype=torch.float64)
        expected = functional.kl_div(b.log_softmax(1), a.softmax(1), reduction="none").sum(1)
        torch.testing.assert_close(kl_divergence(a, b), expected)
        assert torch.equal(kl_divergence(a, a), torch.zeros(4).double())

    def test_certain_predictions_have_finite_losses_and_gradients(self):
        logits = torch.tensor([[200.0, 0.0, -200.0]], requires_grad=True)
        for target in range(3):
            targets = torch.tensor([target])
            for loss in (cross_entropy(logits, targets), margin_cross_entropy(logits, targets)):
                assert loss.isfinite().all()
                assert torch.autograd.grad(loss.sum(), logits)[0].isfinite().all()
        assert margin_cross_entropy(logits, torch.tensor([1])).item() == pytest.approx(400)  # both errors count
