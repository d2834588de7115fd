"""MoreauGrad against closed forms, a reference minimiser, and its Lipschitz statement."""

import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import nn

from lit_certattr.attribution import MoreauGrad
from lit_certattr.attribution.fixed import normals
from lit_certattr.errors import InputError

TARGET = torch.tensor([1])


class Quadratic(nn.Module):
    """Logit 1 is z.A z / 2 + b.z of the pixels z, logit 0 is 0."""

    def __init__(self, matrix, vector):
        super().__init__()
        self.matrix, self.vector = matrix, vector

    def forward(self, images):
        flat = images.flatten(1)
        value = (flat @ self.matrix * flat).sum(1) / 2 + flat @ self.vector
        return torch.stack([torch.zeros_like(value), value], 1)


def quadratic(eigenvalues, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    return Quadratic(basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T, vector)


def sharp(**options):
    """The exact minimiser: many steps, none averaged away."""
    defaults = {"sigma": 0.0, "num_samples": 1, "steps": 400, "step_size": 0.2, "average": 1, "channels": "sum"}
    return MoreauGrad(**(defaults | options))


@pytest.mark.parametrize("rho", [0.2, 0.5, 1.0])
def test_a_quadratic_score_has_a_closed_form(rho):
    """MG = A (I + rho A)^-1 (x - x0) where A x0 = -b, also for a score that is not convex."""
    net = quadratic([2.0, 1.0, 0.3, -0.5])
    image = torch.rand(1, 1, 2, 2, dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64)
    expected = torch.linalg.solve(eye + rho * net.matrix, net.matrix @ image.flatten() + net.vector)
    found = sharp(rho=rho)(net, image, TARGET)
    torch.testing.assert_close(found.flatten(), expected)


def test_inner_smoothing_averages_the_gradient_over_fixed_draws():
    """For a quadratic it moves the gradient by A times the mean of the draws."""
    net, rho, sigma = quadratic([2.0, 1.0, 0.3, 0.1]), 0.5, 0.3
    image = torch.rand(2, 1, 2, 2, dtype=torch.float64)
    mean = sigma * normals(7, 6, 1, 2, 2).mean(0).flatten()
    eye = torch.eye(4, dtype=torch.float64)
    right = (image.flatten(1) + mean) @ net.matrix + net.vector
    found = sharp(rho=rho, sigma=sigma, num_samples=6, seed=7)(net, image, TARGET.repeat(2))
    torch.testing.assert_close(found.flatten(1), torch.linalg.solve(eye + rho * net.matrix, right.T).T)


def linear(channels=2, size=4):
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, 2)).double()


def test_a_linear_score_is_thresholded():
    net, image = linear(), torch.rand(1, 2, 4, 4, dtype=torch.float64)
    weight = net[1].weight[1].view_as(image).detach()
    plain = MoreauGrad(sigma=0.3, num_samples=3, steps=400, average=1).scores(net, image, TARGET)
    torch.testing.assert_close(plain, weight)
    sparse = sharp(sparsity=0.08, channels="sum_abs").scores(net, image, TARGET)
    torch.testing.assert_close(sparse, weight.sign() * (weight.abs() - 0.08).clamp(min=0))
    assert 0 < int((sparse == 0).sum()) < sparse.numel()


@pytest.mark.parametrize("group", [2, 3, 9])
def test_groups_are_thresholded_together(group):
    net, image = linear(), torch.rand(1, 2, 4, 4, dtype=torch.float64)
    weight = net[1].weight[1].view_as(image).detach()
    norms = {}
    for row, column in itertools.product(range(4), repeat=2):
        block = (row // group, column // group)
        norms[block] = norms.get(block, 0.0) + float(weight[0, :, row, column].square().sum())
    threshold = sorted(norms.values())[len(norms) // 2] ** 0.5 * 0.9
    expected = weight.clone()
    for row, column in itertools.product(range(4), repeat=2):
        norm = norms[row // group, column // group] ** 0.5
        expected[0, :, row, column] *= max(0.0, 1 - threshold / norm)
    torch.testing.assert_close(sharp(sparsity=threshold, group=group).scores(net, image, TARGET), expected)


@pytest.mark.parametrize(("sparsity", "group"), [(0.0, None), (0.2, None), (0.3, 2)])
def test_the_minimiser_is_the_minimum(sparsity, group):
    """Against a general optimiser on the objective of the docstring, written out."""
    net, image, rho = quadratic([1.5, 0.7, 0.4, -0.2] * 4), torch.rand(1, 1, 4, 4, dtype=torch.float64), 0.8
    found = -rho * sharp(rho=rho, sparsity=sparsity, group=group).scores(net, image, TARGET).flatten()

    def objective(shift):
        shift = torch.as_tensor(shift)
        value = net(image + shift.view_as(image))[0, 1] + shift.square().sum() / (2 * rho)
        if group is None:
            return float(value + sparsity * shift.abs().sum())
        blocks = shift.view(4 // group, group, 4 // group, group).square().sum((1, 3)).sqrt()
        return float(value + sparsity * blocks.sum())

    best = objective(found)
    for start in (torch.zeros(16), found + 0.05 * torch.randn(16)):
        other = minimize(objective, start.numpy(), method="Powell", options={"maxiter": 30})
        assert best <= other.fun + 1e-6


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([(0.0, None), (0.1, None), (0.2, 2)]))
def test_the_map_is_lipschitz(seed, variant):
    """L / (1 - rho L) with L the largest absolute curvature; an indefinite quadratic comes near it."""
    sparsity, group = variant
    rho, curvature = 0.3, 2.0
    net = quadratic([curvature, 0.5, -1.0, -curvature], seed % 100)
    method = sharp(rho=rho, sparsity=sparsity, group=group, steps=200)
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randn(2, 1, 2, 2, generator=generator, dtype=torch.float64)
    first, second = method.scores(net, pair, TARGET.repeat(2)).flatten(1)
    assert (first - second).norm() <= curvature / (1 - rho * curvature) * (pair[0] - pair[1]).norm() * (1 + 1e-6)


def test_the_lipschitz_bound_is_reached():
    net, rho, curvature = quadratic([2.0, 0.5, -1.0, -2.0]), 0.3, 2.0
    direction = torch.linalg.eigh(net.matrix).eigenvectors[:, 0].view(1, 1, 2, 2)
    first, second = sharp(rho=rho).scores(net, torch.cat([0 * direction, direction]), TARGET.repeat(2))
    assert (first - second).norm().item() == pytest.approx(curvature / (1 - rho * curvature))


def test_the_smoothness_of_a_smoothed_score():
    """The extreme case among scores in [0, 1] is the indicator of |z| > sigma: curvature 2 phi(1) / sigma^2 at 0."""
    sigma = 0.4
    curvature = 2 * math.exp(-0.5) / math.sqrt(2 * math.pi) / sigma**2
    normal = torch.distributions.Normal(0.0, 1.0)

    def smoothed(z):
        return normal.cdf((z - sigma) / sigma) + normal.cdf((-z - sigma) / sigma)

    z = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(smoothed(z), z, create_graph=True)
    (second,) = torch.autograd.grad(slope, z)
    assert float(second) == pytest.approx(curvature)
    rho = 0.1
    bound = MoreauGrad(rho=rho, sigma=sigma, score="softmax").lipschitz()
    assert bound == pytest.approx(curvature / (1 - rho * curvature))
    assert MoreauGrad(rho=rho, sigma=sigma).lipschitz() == math.inf
    assert MoreauGrad(rho=1.0, sigma=sigma, score="softmax").lipschitz() == math.inf
    assert MoreauGrad(rho=rho, sigma=0, num_samples=1, score="softmax").lipschitz() == math.inf


def test_published_averaging():
    """The mean of the last iterates, not the last one."""
    net, image = linear(), torch.rand(1, 2, 4, 4, dtype=torch.float64)
    runs = [
        MoreauGrad(sigma=0, num_samples=1, steps=steps, average=1).scores(net, image, TARGET) for steps in (3, 4, 5)
    ]
    found = MoreauGrad(sigma=0, num_samples=1, steps=5, average=3).scores(net, image, TARGET)
    torch.testing.assert_close(found, torch.stack(runs).mean(0))


@pytest.mark.parametrize("max_batch", [1, 3, None])
def test_the_budget_does_not_matter_and_pickles_are_small(max_batch):
    images, targets = torch.rand(3, 2, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 1])
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)).double()
    options = {"steps": 6, "average": 2, "num_samples": 5, "sparsity": 0.01, "score": "softmax"}
    expected = MoreauGrad(**options, max_batch=7)(net, images, targets)
    method = MoreauGrad(**options, max_batch=max_batch)
    torch.testing.assert_close(method(net, images, targets), expected)
    assert len(pickle.dumps(method)) < 1000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rho": 0.0}, "rho and step_size must be positive"),
        ({"sparsity": -1.0}, "sparsity and sigma must not be negative"),
        ({"average": 301}, "steps at least average"),
        ({"group": 0}, "average and group must be at least 1"),
        ({"sigma": 0.0}, "sigma=0 makes all 32 inner samples the same"),
        ({"score": "margin"}, "score must be one of"),
        ({"max_batch": 0}, "max_batch must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        MoreauGrad(**wrong)
