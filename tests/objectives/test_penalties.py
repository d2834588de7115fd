import math

import pytest
import torch
from objectives.catalogue import batch, tanh_net
from torch import nn
from torch.nn import functional

from lit_certattr.errors import InputError
from lit_certattr.models import SmoothActivations
from lit_certattr.objectives import (
    CURE,
    SSR,
    CrossEntropy,
    GradientNorm,
    GradientNormByDifferences,
    HessianNorm,
    NormRegularised,
    SaliencyGuided,
    Schedule,
)
from lit_certattr.objectives.curvature import largest_curvature
from lit_certattr.objectives.norm_regularised import patch_norms

IMAGES, TARGETS = batch()


def small_net(activation: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 8), activation, nn.Linear(8, 3)).double()


def loss_of(net, image, target) -> torch.Tensor:
    return functional.cross_entropy(net(image[None]), target[None])


def gradient(function, image) -> torch.Tensor:
    image = image.clone().requires_grad_(True)
    return torch.autograd.grad(function(image), image)[0]


def hessian(function, image) -> torch.Tensor:
    size = image.numel()
    return torch.autograd.functional.hessian(lambda flat: function(flat.view_as(image)), image.flatten()).view(size, -1)


def penalty_of(objective, net) -> torch.Tensor:
    return objective(net, IMAGES, TARGETS)[1]["penalty"]


class TestGradientNorm:
    def test_is_its_formula(self):
        net = tanh_net().eval()
        norms = [
            gradient(lambda z, t=t: loss_of(net, z, t), x).square().sum() for x, t in zip(IMAGES, TARGETS, strict=True)
        ]
        loss, logs = GradientNorm(weight=0.5)(net, IMAGES, TARGETS)
        torch.testing.assert_close(logs["penalty"], torch.stack(norms).mean())
        torch.testing.assert_close(loss, functional.cross_entropy(net(IMAGES), TARGETS) + 0.5 * logs["penalty"])

    def test_differences_converge_to_it(self):
        net = tanh_net().eval()
        exact = penalty_of(GradientNorm(), net)
        errors = [(penalty_of(GradientNormByDifferences(step=h), net) - exact).abs() for h in (1e-2, 1e-3, 1e-4)]
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 1e-3 * exact

    def test_differences_need_no_second_derivative(self):
        assert GradientNormByDifferences.order == 1
        net = tanh_net().eval()
        parameters = list(net.parameters())
        grads = [
            torch.autograd.grad(objective(net, IMAGES, TARGETS)[0], parameters)
            for objective in (GradientNorm(1.0), GradientNormByDifferences(1.0, step=1e-4))
        ]
        for exact, found in zip(*grads, strict=True):  # with a constant direction the slope is right, to first order
            torch.testing.assert_close(found, exact, rtol=1e-2, atol=1e-3)


class TestCURE:
    def test_is_its_formula(self):
        net, values = tanh_net().eval(), []
        for image, target in zip(IMAGES, TARGETS, strict=True):
            at = gradient(lambda z, t=target: loss_of(net, z, t), image)
            shifted = image + 0.3 * at.sign() / math.sqrt(32)
            values.append((gradient(lambda z, t=target: loss_of(net, z, t), shifted) - at).square().sum())
        torch.testing.assert_close(penalty_of(CURE(step=0.3), net), torch.stack(values).mean())

    def test_does_not_depend_on_the_size_of_the_batch(self):
        net = tanh_net().eval()
        twice = CURE()(net, IMAGES.repeat(2, 1, 1, 1), TARGETS.repeat(2))[1]["penalty"]
        torch.testing.assert_close(twice, penalty_of(CURE(), net))

    def test_a_flat_image_has_no_penalty_and_finite_slopes(self):
        net = small_net(nn.Tanh())
        with torch.no_grad():
            net[1].weight.zero_()
        loss, logs = CURE()(net, IMAGES, TARGETS)
        assert logs["penalty"] == 0
        assert all(g.isfinite().all() for g in torch.autograd.grad(loss, list(net.parameters())))


class TestHessianNorm:
    def test_is_unbiased_for_the_frobenius_norm_of_the_twin(self):
        net, norms = small_net(nn.ReLU()), []
        for image, target in zip(IMAGES, TARGETS, strict=True):
            with SmoothActivations(3.0):
                norms.append(hessian(lambda z, t=target: net(z[None])[0, t], image).square().sum())
        torch.manual_seed(0)
        found = penalty_of(HessianNorm(draws=3000, smooth_beta=3.0), net)
        torch.testing.assert_close(found, torch.stack(norms).mean(), rtol=0.1, atol=0)

    def test_is_zero_without_the_twin(self):
        assert penalty_of(HessianNorm(smooth_beta=None), small_net(nn.ReLU())) == 0


class TestSSR:
    @pytest.mark.parametrize("target", [0, 1, 2])
    def test_is_the_largest_eigenvalue_of_the_hessian_of_a_relu_network(self, target):
        net, values = small_net(nn.ReLU()), []
        for image in IMAGES:
            matrix = hessian(lambda z: loss_of(net, z, torch.tensor(target)), image)
            values.append(torch.linalg.eigvalsh(matrix)[-1])
        found = SSR()(net, IMAGES, torch.full((5,), target))[1]["penalty"]
        torch.testing.assert_close(found, torch.stack(values).mean())
        assert found > 1e-4

    def test_gauss_newton_of_any_jacobian(self):
        torch.manual_seed(0)
        jacobian, p = torch.randn(4, 3, 7, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64).softmax(1)
        dense = jacobian.transpose(1, 2) @ (torch.diag_embed(p) - p[:, :, None] * p[:, None]) @ jacobian
        torch.testing.assert_close(largest_curvature(jacobian, p), torch.linalg.eigvalsh(dense)[:, -1])

    def test_certain_predictions_are_flat_with_finite_slopes(self):
        jacobian = torch.randn(1, 3, 7, requires_grad=True)
        logits = torch.tensor([[400.0, 0.0, -400.0]], requires_grad=True)
        found = largest_curvature(jacobian, logits.softmax(1))
        assert found.item() == pytest.approx(0, abs=1e-6)
        assert all(g.isfinite().all() for g in torch.autograd.grad(found.sum(), [jacobian, logits]))


class TestNormRegularised:
    @pytest.mark.parametrize(
        ("settings", "conjugate"),
        [
            ({"kind": "l1", "eps": 1e-6}, lambda g: 1e-6 * g.abs().sum()),
            ({"kind": "elastic", "eps": 1e-6, "eps2": 2e-6}, lambda g: 1e-6 * g.abs().sum() + 2e-6 * g.square().sum()),
            (
                {"kind": "group", "eps": 1e-6, "patch": 2},
                lambda g: (
                    1e-6
                    * sum(
                        g[c, i : i + 2, j : j + 2].norm()
                        for c in range(2)
                        for i in range(0, 4, 2)
                        for j in range(0, 4, 2)
                    )
                ),
            ),
        ],
        ids=["l1", "elastic", "group"],
    )
    def test_gradient_is_that_of_the_conjugate_norm_to_first_order(self, settings, conjugate):
        net = tanh_net().eval()
        parameters = list(net.parameters())
        base = torch.autograd.grad(functional.cross_entropy(net(IMAGES), TARGETS), parameters)
        found = torch.autograd.grad(NormRegularised(**settings)(net, IMAGES, TARGETS)[0], parameters)
        images = IMAGES.clone().requires_grad_(True)
        losses = functional.cross_entropy(net(images), TARGETS, reduction="sum")
        (slopes,) = torch.autograd.grad(losses, images, create_graph=True)
        penalty = torch.stack([conjugate(slope) for slope in slopes]).mean()
        expected = torch.autograd.grad(penalty, parameters, allow_unused=True, materialize_grads=True)
        for b, f, e in zip(base, found, expected, strict=True):
            torch.testing.assert_close((f - b) / 1e-6, e / 1e-6, rtol=1e-3, atol=1e-3)

    def test_patches_have_their_own_length_and_zero_ones_stay(self):
        values = torch.zeros(1, 2, 4, 4)
        values[0, 1, :2, 2:] = 3.0
        norms = patch_norms(values, 2)
        assert (norms[0, 1, :2, 2:] == 6).all()
        assert norms.sum() == 4 * 6 + 28

    def test_budget_follows_the_epoch(self):
        net, losses = tanh_net().eval(), []
        objective = NormRegularised(Schedule(0.1, warmup_epochs=1))
        for epoch in (0, 1):
            objective.epoch = epoch
            losses.append(objective(net, IMAGES, TARGETS)[0])
        torch.testing.assert_close(losses[0], functional.cross_entropy(net(IMAGES), TARGETS))
        assert losses[1] > losses[0]

    def test_box_is_optional(self):
        seen = []
        net = nn.Sequential(nn.Flatten(), nn.Linear(32, 3)).double()
        net.register_forward_pre_hook(lambda _, images: seen.append(images[0].detach()))
        for clamp in (None, (0.0, 1.0)):
            NormRegularised(0.5, clamp=clamp)(net, IMAGES, TARGETS)
        assert seen[1].max() > 1
        assert torch.equal(seen[3], seen[1].clamp(0, 1))

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            ({"kind": "l7"}, "kind must be one of l1, elastic, group, got 'l7'"),
            ({"eps2": -1.0}, "eps2 must be at least 0"),
            ({"patch": 0}, "patch at least 1"),
            ({"eps": -1.0}, "value of a schedule"),
        ],
    )
    def test_refuses_settings_out_of_range(self, settings, complaint):
        with pytest.raises(InputError, match=complaint):
            NormRegularised(**settings)

    def test_refuses_patches_that_do_not_tile(self):
        with pytest.raises(InputError, match="patches of 3 x 3 do not tile images of 4 x 4"):
            NormRegularised(kind="group", patch=3)(tanh_net(), IMAGES, TARGETS)


class TestSaliencyGuided:
    @pytest.mark.parametrize("absolute", [False, True])
    def test_replaces_the_least_important_pixels_between_the_images_extremes(self, absolute):
        net = tanh_net().eval()
        objective = SaliencyGuided(share=0.25, absolute=absolute)
        masked = objective.masked(net, IMAGES, TARGETS)
        for image, other, target in zip(IMAGES, masked, TARGETS, strict=True):
            slope = gradient(lambda z, t=target: net(z[None])[0, t], image)
            importance = (slope.abs() if absolute else slope).sum(0).flatten()
            changed = (image != other).all(0).flatten()
            assert changed.sum() == 4
            assert importance[changed].max() < importance[~changed].min()
            assert image.min() <= other.min()
            assert other.max() <= image.max()

    def test_is_its_formula(self):
        net, objective = tanh_net().eval(), SaliencyGuided(weight=2.0)
        torch.manual_seed(3)
        loss, logs = objective(net, IMAGES, TARGETS)
        torch.manual_seed(3)
        masked = objective.masked(net, IMAGES, TARGETS)
        p, q = net(IMAGES).softmax(1), net(masked).softmax(1)
        torch.testing.assert_close(logs["divergence"], (p * (p / q).log()).sum(1).mean())
        torch.testing.assert_close(loss, functional.cross_entropy(net(IMAGES), TARGETS) + 2.0 * logs["divergence"])

    @pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
    def test_refuses_a_share_out_of_range(self, share):
        with pytest.raises(InputError, match=r"share must lie in \(0, 1\)"):
            SaliencyGuided(share=share)


@pytest.mark.parametrize("kind", [CURE, GradientNormByDifferences])
@pytest.mark.parametrize("step", [0.0, -1.0, math.inf, math.nan])
def test_refuses_a_step_out_of_range(kind, step):
    with pytest.raises(InputError, match="step must be a positive number"):
        kind(step=step)


def test_refuses_no_draws():
    with pytest.raises(InputError, match="draws must be at least 1, got 0"):
        HessianNorm(draws=0)


def test_network_that_works_in_place_leaves_the_batch_alone():
    class InPlace(nn.Sequential):
        def forward(self, images):
            return super().forward(images.mul_(0.5))

    class OutOfPlace(nn.Sequential):
        def forward(self, images):
            return super().forward(images * 0.5)

    net = tanh_net()
    images, targets = batch()
    found = CrossEntropy()(InPlace(*net), images, targets)[0]
    assert torch.equal(images, batch()[0])
    torch.testing.assert_close(found, CrossEntropy()(OutOfPlace(*net), images, targets)[0])
