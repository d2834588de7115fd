import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_certattr.attacks import AttackConfig, TopKOverlap, attack_smoothed, distance
from lit_certattr.attacks.ball import project
from lit_certattr.attacks.grid import to_grid
from lit_certattr.attribution import Gradient
from lit_certattr.smoothing import DiscreteGaussianNoise, top_k_mask


@given(st.sampled_from(["l2", "linf"]), st.floats(1e-4, 3), st.sampled_from([4, 16, 255]), st.integers(0, 10**6))
def test_on_the_grid_in_ball_and_box_and_never_beyond_the_next_step(norm, eps, levels, seed):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, levels + 1, (2, 1, 4, 5), generator=generator) / levels
    radii = torch.tensor([eps, 0.0], dtype=torch.float64)
    point = project(clean + 0.5 * torch.randn(clean.shape, generator=generator), clean, radii, norm, (0.0, 1.0))
    found = to_grid(point, clean, radii, norm, levels)
    steps = found.double() * levels
    assert (steps - steps.round()).abs().max() < 1e-4
    assert (distance(found, clean, norm) <= radii * (1 + 1e-9) + 1e-12).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found[1], clean[1])
    assert ((found - point).abs() * levels < 1 + 1e-4).all()
    # nothing moves against the perturbation
    assert ((found - clean) * (point - clean) >= 0).all()


def test_a_perturbation_of_fractions_of_a_level_keeps_most_of_its_length():
    clean = torch.full((1, 1, 28, 28), 100 / 255)
    generator = torch.Generator().manual_seed(0)
    eps = torch.tensor([0.05], dtype=torch.float64)  # 0.46 levels a pixel
    delta = torch.randn(clean.shape, generator=generator)
    point = project(clean + delta, clean, eps, "l2", (0.0, 1.0))
    found = to_grid(point, clean, eps, "l2", 255)
    assert distance(found, clean, "l2").item() > 0.95 * 0.05
    moved = (found - clean).flatten()
    assert (moved @ delta.flatten()) / (moved.norm() * delta.norm()) > 0.7


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_attacks_under_integer_noise_end_on_the_grid(trained_digits, norm):
    net, images, targets = trained_digits
    images, targets = (images[:4] * 255).round() / 255, targets[:4]
    noise, objective = DiscreteGaussianNoise(0.1), TopKOverlap(top_k_mask(images[:, 0], 40))
    config = AttackConfig(eps=0.4 if norm == "l2" else 0.05, steps=4, norm=norm, smooth_beta=5.0)
    found = attack_smoothed(net, Gradient(), noise, images, targets, objective, config, judge_draws=16, keep_label=True)
    for image in found:
        noise.check(image, "found")
    assert not torch.equal(found, images)
    assert (distance(found, images, norm) <= config.eps).all()
    assert (net(found).argmax(1) == targets).all()
