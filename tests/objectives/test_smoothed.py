import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objectives.catalogue import batch, l2, linf, tanh_net
from scipy.stats import norm
from torch import nn
from torch.nn import functional

from lit_certattr.attacks import distance
from lit_certattr.errors import InputError
from lit_certattr.objectives import MACER, Schedule, SmoothAdv, SmoothMix, Stability
from lit_certattr.objectives.losses import log_mean_softmax
from lit_certattr.objectives.smoothed import smoothed_score
from lit_certattr.smoothing import GaussianNoise

IMAGES, TARGETS = batch()
SIGMA = 0.3


class Spy(nn.Module):
    """A network that remembers what it was trained on, and what it answered."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tanh_net().eval()
        self.seen: list[torch.Tensor] = []

    def forward(self, images):
        if self.training:
            self.seen.append(images.detach())
        return self.net.eval()(images)

    def probabilities(self, images) -> torch.Tensor:
        return self.net(images).softmax(1)


@given(st.integers(1, 5), st.integers(0, 10**6))
def test_mean_prediction(draws, seed):
    logits = torch.randn(draws, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(log_mean_softmax(logits).exp(), logits.softmax(2).mean(0))


def test_stability_is_its_formula():
    net = Spy()
    loss, logs = Stability(GaussianNoise(SIGMA), weight=3.0)(net, IMAGES, TARGETS)
    clean, noisy = net.seen
    assert torch.equal(clean, IMAGES)
    p, q = net.probabilities(clean), net.probabilities(noisy)
    disagreement = -(p * q.log()).sum(1).mean()
    torch.testing.assert_close(logs["disagreement"], disagreement)
    torch.testing.assert_close(loss, functional.cross_entropy(net.net(clean), TARGETS) + 3.0 * disagreement)


class TestMACER:
    def test_is_its_formula(self):
        net = Spy()
        objective = MACER(GaussianNoise(SIGMA), draws=4, weight=2.0, beta=3.0, margin=1.5)
        targets = net.net(IMAGES).argmax(1)
        targets[:2] = (targets[:2] + 1) % 3
        loss, logs = objective(net, IMAGES, targets)
        (copies,) = net.seen
        logits = net.net(copies).unflatten(0, (4, 5))
        expected, hinges, acted = 0.0, [], 0
        for place, target in enumerate(targets):
            expected -= logits[:, place].softmax(1).mean(0)[target].log() / 5
            p = (3.0 * logits[:, place]).softmax(1).mean(0)
            first, second = p.argsort(descending=True)[:2].tolist()
            gap = norm.ppf(p[first].item()) - norm.ppf(p[second].item())
            right = first == target
            acted += right
            hinges.append(max(0.0, 1.5 - gap) if right else 0.0)
        assert 0 < acted < 5
        assert sum(hinges) > 0
        assert logs["hinge"].item() == pytest.approx(sum(hinges) / 5)
        assert loss.item() == pytest.approx(expected.item() + 2.0 * SIGMA / 2 * sum(hinges) / 5)

    def test_certain_predictions_are_left_out_with_finite_slopes(self):
        class Certain(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.tensor(1e4))

            def forward(self, images):
                return self.scale * torch.tensor([1.0, 0.0, -1.0]).expand(len(images), 3)

        net = Certain()
        loss, logs = MACER(GaussianNoise(SIGMA), draws=2)(net, IMAGES.float(), torch.zeros(5, dtype=torch.long))
        assert logs["hinge"] == 0
        assert torch.autograd.grad(loss, net.scale)[0].isfinite()

    @pytest.mark.parametrize("settings", [{"draws": 0}, {"beta": 0.0}, {"margin": -1.0}])
    def test_refuses_settings_out_of_range(self, settings):
        with pytest.raises(InputError, match=f"{next(iter(settings))} must be"):
            MACER(GaussianNoise(SIGMA), **settings)


class TestSmoothAdv:
    @pytest.mark.parametrize("config", [linf(0.2, init="zero"), l2(0.5, init="zero")], ids=["linf", "l2"])
    def test_trains_on_attacked_images_under_the_noise_that_was_attacked(self, config):
        net = Spy()
        torch.manual_seed(4)
        loss, logs = SmoothAdv(GaussianNoise(SIGMA), config, draws=3, ramp_epochs=0)(net, IMAGES, TARGETS)
        torch.manual_seed(4)
        noises = GaussianNoise(SIGMA).sample_like(IMAGES.repeat(3, 1, 1, 1)).unflatten(0, (3, 5))
        neighbours = net.seen[0].unflatten(0, (3, 5)) - noises
        for copy in neighbours:
            torch.testing.assert_close(copy, neighbours[0])
        assert (distance(neighbours[0], IMAGES, config.norm) <= config.eps + 1e-12).all()
        score = smoothed_score(net.net, lambda images: images + noises, TARGETS)
        assert score(neighbours[0]).mean() > score(IMAGES).mean() + 0.01
        torch.testing.assert_close(loss, functional.cross_entropy(net.net(net.seen[0]), TARGETS.repeat(3)))
        assert 0 <= logs["adversarial_accuracy"] <= 1

    def test_score_is_that_of_the_smoothed_prediction(self):
        net, noises = tanh_net().eval(), torch.randn(4, *IMAGES.shape, dtype=torch.float64)
        mean = torch.stack([net(IMAGES + noise).softmax(1) for noise in noises]).mean(0)
        expected = -mean[torch.arange(5), TARGETS].log()
        torch.testing.assert_close(smoothed_score(net, lambda images: images + noises, TARGETS)(IMAGES), expected)

    def test_budget_rises_with_the_epochs(self):
        net, sizes = Spy(), []
        objective = SmoothAdv(GaussianNoise(1e-4), l2(0.4, steps=8, init="zero"), draws=1, ramp_epochs=4)
        for epoch in (0.0, 1.0, 4.0, 9.0):
            objective.epoch = epoch
            objective(net, IMAGES, TARGETS)
            sizes.append(distance(net.seen[-1], IMAGES, "l2").max().item())
        assert sizes == pytest.approx([0.0, 0.1, 0.4, 0.4], rel=0.02, abs=2e-3)


class TestSmoothMix:
    def test_is_its_formula(self):
        net = Spy()
        objective = SmoothMix(GaussianNoise(SIGMA), linf(0.3, init="zero"), draws=3, weight=2.0)
        torch.manual_seed(4)
        loss, logs = objective(net, IMAGES, TARGETS)
        torch.manual_seed(4)
        noises = GaussianNoise(SIGMA).sample_like(IMAGES.repeat(3, 1, 1, 1)).unflatten(0, (3, 5))
        share = torch.rand(5, 1, dtype=torch.float64) / 2
        clean, mixed = (seen.unflatten(0, (3, 5)) for seen in net.seen)
        torch.testing.assert_close(clean - noises, IMAGES.expand(3, -1, -1, -1, -1))
        moved = (mixed - noises)[0] - IMAGES
        assert (moved.flatten(1).abs().amax(1) <= 0.3 * share[:, 0] + 1e-9).all()
        assert (moved.flatten(1).abs().amax(1) > 0.1 * share[:, 0]).all()
        p = torch.stack([net.probabilities(one) for one in clean]).mean(0)
        wanted = (1 - share) * p + share / 3
        total = 0.0
        for one in mixed:
            q = net.probabilities(one)
            total = total + ((wanted * (wanted / q).log()).sum(1) * (p.argmax(1) == TARGETS)).mean() / 3
        torch.testing.assert_close(logs["mixed"], total)
        base = functional.cross_entropy(net.net(net.seen[0]), TARGETS.repeat(3))
        torch.testing.assert_close(loss, base + 2.0 * total)
        assert 0 < (p.argmax(1) == TARGETS).sum() < 5

    def test_costs_nothing_before_it_begins(self):
        net = Spy()
        SmoothMix(GaussianNoise(SIGMA), linf(), weight=Schedule(1.0, warmup_epochs=1))(net, IMAGES, TARGETS)
        assert len(net.seen) == 1


@pytest.mark.parametrize("kind", [SmoothAdv, SmoothMix])
def test_refuses_no_draws(kind):
    with pytest.raises(InputError, match="draws must be at least 1, got 0"):
        kind(GaussianNoise(SIGMA), linf(), draws=0)
