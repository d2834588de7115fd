import pytest
import torch
from torch import nn

from lit_certattr.attacks import AttackConfig, attack_noisy_prediction, attack_prediction, distance, margin
from lit_certattr.errors import InputError
from lit_certattr.smoothing import DiscreteGaussianNoise, GaussianNoise, UniformBallNoise

LAWS = [GaussianNoise(0.2), UniformBallNoise(0.2), DiscreteGaussianNoise(0.2)]


def mean_margin(net, images, labels, noise, draws=2000):
    with torch.no_grad():
        return torch.stack([margin(net(images + noise.sample_like(images)), labels) for _ in range(draws)]).mean(0)


def test_finds_the_worst_case_of_a_linear_network():
    """The worst perturbation of length eps is along the difference of the two rows of weights."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    images, labels = torch.full((2, 1, 4, 4), 0.5), torch.tensor([0, 1])
    config = AttackConfig(eps=0.3, steps=30, step_size=0.3, keep="last")
    found = attack_noisy_prediction(net, GaussianNoise(0.2), images, labels, config)
    along = (net[1].weight[1] - net[1].weight[0]).view(1, 4, 4)
    worst = images + 0.3 * torch.stack([along, -along]) / along.norm()
    assert torch.allclose(found, worst, atol=1e-3)


@pytest.mark.slow
def test_looks_through_the_noise():
    """A narrow dent next to the image fools a network without noise; only the wide one counts under noise."""

    class Dents(nn.Module):
        def forward(self, images):
            place = images.flatten(1)[:, 0] - 0.5
            wrong = 3.0 * torch.exp(-(((place + 0.1) / 0.01) ** 2)) + torch.exp(-(((place - 0.3) / 0.3) ** 2))
            return torch.stack([torch.ones_like(wrong), wrong], 1)

    images, labels = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    config = AttackConfig(eps=0.3, steps=40, restarts=20, seed=3)
    (fooled,) = attack_prediction(Dents(), images, labels, config)
    assert float(fooled) == pytest.approx(0.4, abs=0.02), "the control falls into the narrow one"
    (found,) = attack_noisy_prediction(Dents(), GaussianNoise(0.3), images, labels, config, draws=64, judge_draws=512)
    assert float(found) > 0.65


@pytest.mark.parametrize("noise", LAWS, ids=lambda law: type(law).__name__)
def test_moves_noisy_copies_further_than_random_search_within_the_budget(trained_digits, noise):
    net, images, labels = trained_digits
    images, labels = (images[:4] * 255).round() / 255, labels[:4]
    eps = torch.tensor([0.4, 0.8, 1.2, 1.6])
    config = AttackConfig(eps=1.0, steps=10)
    found, lucky = (
        attack_noisy_prediction(net, noise, images, labels, one, eps=eps) for one in (config, config.random_search())
    )
    assert (distance(found, images, "l2") <= eps).all()
    assert found.min() >= 0
    assert found.max() <= 1
    for point in found:
        noise.check(point, "found")
    assert (mean_margin(net, found, labels, noise, 200) > mean_margin(net, lucky, labels, noise, 200)).all()


def test_repeats_itself_on_any_batch_size_and_leaves_everything_as_found(trained_digits):
    net, images, labels = trained_digits
    state = torch.get_rng_state()
    config = AttackConfig(eps=0.5, steps=3)
    seen = []

    def run(batch_size):
        return attack_noisy_prediction(
            net,
            GaussianNoise(0.2),
            images[:2],
            labels[:2],
            config,
            draws=4,
            judge_draws=6,
            batch_size=batch_size,
            on_images=seen.append,
        )

    assert torch.allclose(run(4), run(64), atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert sum(seen) == 2 * 2 * (3 * 4 + (config.num_points + 1) * 6)


def test_bad_calls(trained_digits):
    net, images, labels = trained_digits
    arguments = (net, GaussianNoise(0.1), images[:1], labels[:1], AttackConfig(eps=1.0))
    with pytest.raises(InputError, match="at least 1, got 0, 64, 64"):
        attack_noisy_prediction(*arguments, draws=0)
    with pytest.raises(InputError):
        attack_noisy_prediction(net, DiscreteGaussianNoise(0.1), images[:1] * 0.999, labels[:1], arguments[-1])
