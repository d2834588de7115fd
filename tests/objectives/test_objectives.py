import pytest
import torch
from torch import nn
from torch.nn import functional

from lit_certattr.errors import InputError
from lit_certattr.objectives import CrossEntropy, NoiseAugmentation, Objective
from lit_certattr.smoothing import GaussianNoise, Noise, UniformBallNoise

IMAGES, TARGETS = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
OBJECTIVES = [
    CrossEntropy(),
    CrossEntropy(label_smoothing=0.1),
    NoiseAugmentation(GaussianNoise(0.25)),
    NoiseAugmentation(UniformBallNoise(0.25), draws=3),
]


class Spy(nn.Module):
    """A network that remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 3)
        self.seen: list[torch.Tensor] = []

    def forward(self, images):
        self.seen.append(images.detach())
        return self.linear(images.flatten(1))


class Planned(Noise):
    """Noise that is known: copy number i of the batch is shifted by i + 1."""

    def perturb_(self, out, image, normals, start):
        raise NotImplementedError

    def sample_like(self, images, generator=None):
        return torch.arange(1.0, len(images) + 1).view(-1, 1, 1, 1).expand_as(images)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
class TestContract:
    def test_loss_is_a_scalar_whose_gradient_reaches_every_parameter(self, objective: Objective):
        net = Spy()
        loss, _ = objective(net, IMAGES, TARGETS)
        assert loss.shape == ()
        assert loss.isfinite()
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        assert all(gradient.abs().sum() > 0 for gradient in gradients)

    def test_logs_are_detached_scalars(self, objective: Objective):
        _, logs = objective(Spy(), IMAGES, TARGETS)
        assert logs
        assert all(value.shape == () and not value.requires_grad for value in logs.values())

    def test_leaves_model_and_inputs_alone(self, objective: Objective):
        net, images = Spy(), IMAGES.clone()
        objective(net, images, TARGETS)
        assert net.training
        assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
        assert torch.equal(images, IMAGES)

    def test_can_be_differentiated_twice(self, objective: Objective):
        images = IMAGES.clone().requires_grad_(True)
        loss, _ = objective(Spy(), images, TARGETS)
        (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
        assert gradient.requires_grad


def test_cross_entropy_is_the_mean_over_the_clean_images():
    net = Spy()
    loss, logs = CrossEntropy()(net, IMAGES, TARGETS)
    log_probabilities = net.linear(IMAGES.flatten(1)).log_softmax(1)
    torch.testing.assert_close(loss, -log_probabilities[torch.arange(5), TARGETS].mean())
    torch.testing.assert_close(logs["accuracy"], (log_probabilities.argmax(1) == TARGETS).float().mean())
    assert torch.equal(net.seen[0], IMAGES)


def test_label_smoothing_spreads_over_all_classes():
    net = Spy()
    loss, _ = CrossEntropy(label_smoothing=0.3)(net, IMAGES, TARGETS)
    log_probabilities = net.linear(IMAGES.flatten(1)).log_softmax(1)
    wanted = 0.7 * functional.one_hot(TARGETS, 3) + 0.1
    torch.testing.assert_close(loss, -(wanted * log_probabilities).sum(1).mean())


def test_noise_augmentation_is_the_mean_over_draws_of_each_image():
    net = Spy()
    loss, logs = NoiseAugmentation(Planned(1.0), draws=2)(net, IMAGES, TARGETS)
    losses, hits = [], []
    for draw in range(2):
        for index in range(5):
            logits = net.linear((IMAGES[index] + draw * 5 + index + 1).flatten()[None])
            losses.append(functional.cross_entropy(logits, TARGETS[index : index + 1]))
            hits.append(float(logits.argmax() == TARGETS[index]))
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    assert logs["accuracy"].item() == pytest.approx(sum(hits) / 10)


@pytest.mark.parametrize("law", [GaussianNoise, UniformBallNoise])
def test_noise_is_unclamped_fresh_and_of_the_stated_size(law):
    net, images = Spy(), torch.rand(500, 1, 4, 4)
    objective = NoiseAugmentation(law(0.25), draws=2)
    for _ in range(2):
        objective(net, images, torch.zeros(500, dtype=torch.long))
    first, second = (seen - images.repeat(2, 1, 1, 1) for seen in net.seen)
    assert net.seen[0].min() < 0
    assert net.seen[0].max() > 1
    assert first.std().item() == pytest.approx(0.25, rel=0.03)
    assert abs(first.mean().item()) < 0.01
    assert not torch.equal(first, second)  # another step
    assert not torch.equal(first[:500], first[500:])  # another draw of the same image
    if law is UniformBallNoise:
        assert first.flatten(1).norm(dim=1).max() <= law(0.25).ball_radius(16) * (1 + 1e-6)


def test_same_seed_gives_the_same_loss():
    net, objective = Spy(), NoiseAugmentation(GaussianNoise(0.25))
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(objective(net, IMAGES, TARGETS)[0].item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_refuses_a_smoothing_out_of_range(value):
    with pytest.raises(InputError, match="label_smoothing"):
        CrossEntropy(label_smoothing=value)


def test_refuses_no_draws():
    with pytest.raises(InputError, match="draws must be at least 1, got 0"):
        NoiseAugmentation(GaussianNoise(0.25), draws=0)
