"""Second derivatives: which exist, and what the contexts do about those that do not."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from lit_certattr.attribution import Gradient, input_gradient
from lit_certattr.errors import InputError
from lit_certattr.objectives import CrossEntropy, NoiseConsistency
from lit_certattr.objectives.contexts import attacking, explaining
from lit_certattr.smoothing import GaussianNoise

IMAGES, TARGETS = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])


def net_with(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), activation, nn.Linear(8, 3))


def slope_of_the_squared_gradient(net: nn.Module) -> torch.Tensor:
    images = IMAGES.clone().requires_grad_(True)
    _, gradient = input_gradient(net, images, TARGETS, create_graph=True)
    (slope,) = torch.autograd.grad(gradient.square().sum(), images, allow_unused=True, materialize_grads=True)
    return slope


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project, self.head = nn.Linear(4, 24), nn.Linear(8, 3)

    def forward(self, images):
        q, k, v = self.project(images.squeeze(1)).chunk(3, dim=-1)
        attended = functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])
        return self.head(attended.mean((1, 2)))


class TestFacts:
    """What the objectives rest on; if torch changes one of these, a comment somewhere is wrong."""

    def test_a_relu_network_has_no_second_derivative_and_its_twin_has(self):
        net = net_with(nn.ReLU())
        assert (slope_of_the_squared_gradient(net) == 0).all()
        with explaining(net, smooth_beta=10.0):
            assert slope_of_the_squared_gradient(net).abs().sum() > 1e-3

    @pytest.mark.parametrize("activation", [nn.Softplus(), nn.GELU(), nn.SiLU(), nn.Tanh()], ids=repr)
    def test_smooth_networks_have_one(self, activation):
        assert slope_of_the_squared_gradient(net_with(activation)).abs().sum() > 1e-4

    def test_gradient_of_a_relu_network_depends_on_weights_and_not_on_biases(self):
        net = net_with(nn.ReLU())
        _, gradient = input_gradient(net, IMAGES, TARGETS, create_graph=True)
        grads = torch.autograd.grad(gradient.square().sum(), list(net.parameters()), allow_unused=True)
        reached = [grad is not None and bool(grad.abs().sum() > 0) for grad in grads]
        assert reached == [True, False, True, False]  # weight, bias, weight, bias

    def test_fused_attention_has_no_second_derivative_and_the_plain_kernel_has(self):
        net, images = Attention(), IMAGES.clone().requires_grad_(True)

        def slope() -> torch.Tensor:
            (gradient,) = torch.autograd.grad(net(images)[:, 0].sum(), images, create_graph=True)
            return torch.autograd.grad(gradient.square().sum(), images)[0]

        with sdpa_kernel(SDPBackend.FLASH_ATTENTION), pytest.raises(RuntimeError, match="not implemented"):
            slope()
        with explaining(net):
            assert slope().abs().sum() > 0
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # where a graph is asked for, input_gradient sees to it itself
            assert slope_of_the_squared_gradient(net).abs().sum() > 0

    def test_batch_normalisation_in_training_mode_mixes_images(self):
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))

        def influence_of_others() -> float:
            images = IMAGES.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(net(images)[0, 0], images)
            return float(gradient[1:].abs().sum())

        assert influence_of_others() > 0
        with explaining(net):
            assert influence_of_others() == 0


class TestContexts:
    def test_modes_come_back_after_an_error(self):
        net = net_with(nn.ReLU())
        net[1].eval()
        for context in (explaining(net), attacking(net, IMAGES)):
            with pytest.raises(ZeroDivisionError), context:
                net(IMAGES / 0 if any(part.training for part in net.modules()) else 1 / 0)
            assert [part.training for part in net.modules()] == [True, True, False, True, True]
            assert all(parameter.requires_grad for parameter in net.parameters())

    def test_parameters_are_trainable_when_explained_and_not_when_attacked(self):
        net = net_with(nn.ReLU())
        with explaining(net):
            assert net(IMAGES).requires_grad
        with attacking(net, IMAGES):
            assert not net(IMAGES).requires_grad

    def test_gradients_exist_under_no_grad(self):
        net = net_with(nn.ReLU())
        with torch.no_grad(), explaining(net):
            assert net(IMAGES).requires_grad

    def test_inference_mode_is_refused_in_one_line(self):
        objective = NoiseConsistency(GaussianNoise(0.1), Gradient())
        with torch.inference_mode(), pytest.raises(InputError, match="inference_mode forbids"):
            objective(net_with(nn.ReLU()), IMAGES, TARGETS)

    def test_attacks_never_run_in_half_precision(self):
        net = net_with(nn.ReLU())
        with torch.autocast("cpu", dtype=torch.float16):
            assert net(IMAGES).dtype == torch.float16
            with attacking(net, IMAGES):
                assert net(IMAGES).dtype == torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16), attacking(net, IMAGES):
            assert net(IMAGES).dtype == torch.bfloat16


def test_orders():
    assert CrossEntropy.order == 1
    assert NoiseConsistency.order == 2
