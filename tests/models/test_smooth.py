import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lit_certattr.errors import InputError
from lit_certattr.models import SmoothActivations

x = torch.linspace(-9, 9, 181, dtype=torch.float64)

PIECEWISE_LINEAR = {
    "relu layer": nn.ReLU(),
    "relu in place": lambda z: nn.ReLU(inplace=True)(z.clone()),
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "torch.relu_": lambda z: torch.relu_(z.clone()),
    "Tensor.relu": lambda z: z.relu(),
    "Tensor.relu_": lambda z: z.clone().relu_(),
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(-2, 3),
    "leaky": nn.LeakyReLU(0.1),
    "hardswish": nn.Hardswish(),
    "hardsigmoid": nn.Hardsigmoid(),
}


@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_twins_approach_the_original_and_are_smooth(name):
    function = PIECEWISE_LINEAR[name]
    kinky = function(x)
    with SmoothActivations(beta=500.0):
        assert torch.allclose(function(x), kinky, atol=0.03)
    with SmoothActivations(beta=1.0):
        inputs = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        smooth = function(inputs)
        (slope,) = torch.autograd.grad(smooth.sum(), inputs, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), inputs)
        if name == "hardsigmoid":  # its centre of symmetry: look beside it
            return
        assert curvature.abs().item() > 1e-3
    assert torch.equal(function(x), kinky)


def test_the_derivative_of_a_gradient_map_needs_the_twin():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)).double()

    def second(images):
        (gradient,) = torch.autograd.grad(net(images)[:, 0].sum(), images, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), images, allow_unused=True, materialize_grads=True)[0]

    images = torch.rand(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert not second(images).any()
    with SmoothActivations(beta=10.0):
        assert second(images).abs().max() > 1e-6


def test_second_derivatives_stay_finite_far_from_the_kink():
    inputs = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4], requires_grad=True)
    with SmoothActivations(beta=100.0):
        (slope,) = torch.autograd.grad(torch.relu(inputs).sum(), inputs, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), inputs)
    assert torch.isfinite(curvature).all()
    assert slope[-1] == 1


def test_an_error_inside_restores_the_activations():
    with pytest.raises(RuntimeError), SmoothActivations(beta=1.0):
        raise RuntimeError
    assert torch.relu(torch.tensor(0.0)) == 0


@pytest.mark.parametrize("beta", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_beta(beta):
    with pytest.raises(InputError, match="beta"):
        SmoothActivations(beta)
