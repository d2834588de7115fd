"""Attacks inside the budget of noise with nuisance modes: they reach its edge, never leave it, and use the modes."""

import math

import pytest
import torch

from lit_certattr.attacks import AttackConfig, attack
from lit_certattr.attacks.geometry import Ball, Ellipsoid, geometry_of
from lit_certattr.smoothing import GaussianNoise, NuisanceNoise

SHAPE = (1, 6, 6)
NOISE = NuisanceNoise(sigma=0.25, brightness=0.4, illumination=0.2, illumination_order=1)
IMAGES = 0.3 + 0.4 * torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
WEIGHTS = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)) + 0.5
GEOMETRY = geometry_of(NOISE, "l2", IMAGES[0])


def score(images):
    return (images * WEIGHTS).sum((1, 2, 3))


def steepest():
    """The largest gain of the score for a change of length 1."""
    assert isinstance(GEOMETRY, Ellipsoid)
    flat = WEIGHTS.flatten().double()
    return math.sqrt(flat @ flat + (GEOMETRY.rows @ flat).square().sum())


def test_lengths_are_those_of_the_budget():
    changed = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(2))
    found = GEOMETRY.distance(changed, IMAGES)
    expected = [NOISE.budget.length(clean, other) for clean, other in zip(IMAGES, changed, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_an_attack_on_a_linear_score_reaches_the_best_change_of_its_length():
    config = AttackConfig(eps=0.2, steps=20, clamp=None, restarts=2)
    found = attack(score, IMAGES, config, geometry=GEOMETRY)
    gain = score(found) - score(IMAGES)
    assert bool((GEOMETRY.distance(found, IMAGES) <= 0.2).all())
    assert gain.tolist() == pytest.approx([0.2 * steepest()] * 3, rel=0.02)
    ball = score(attack(score, IMAGES, config)) - score(IMAGES)
    assert bool((gain > 1.5 * ball).all())  # control: the ball of the same radius has no such change


@pytest.mark.parametrize("init", ["zero", "uniform", "gaussian", "boundary"])
@pytest.mark.parametrize("clamp", [None, (0.0, 1.0)])
def test_every_start_lies_in_budget_and_box(init, clamp):
    eps = torch.tensor([0.01, 0.3, 2.0], dtype=torch.float64)
    start = GEOMETRY.start(IMAGES, eps, init, torch.Generator().manual_seed(0), clamp)
    found = GEOMETRY.project(start, IMAGES, eps, clamp)
    assert bool((GEOMETRY.distance(found, IMAGES) <= eps).all())
    assert clamp is None or bool(((found >= 0) & (found <= 1)).all())
    if init == "boundary":
        assert bool((GEOMETRY.distance(found, IMAGES)[:2] > 0.5 * eps[:2]).all())


def test_random_starts_use_the_modes():
    eps = torch.full((200,), 0.2, dtype=torch.float64)
    centres = torch.full((200, *SHAPE), 0.5)
    start = GEOMETRY.start(centres, eps, "boundary", torch.Generator().manual_seed(0))
    brightness = (start - centres).mean((1, 2, 3)).abs()
    assert float(brightness.max()) > 0.2 * 0.4 / 0.25 * 0.7
    assert float(brightness.min()) < 0.02


def test_a_zero_gradient_gives_no_step_and_no_nan():
    assert torch.equal(GEOMETRY.ascent(torch.zeros(2, *SHAPE)), torch.zeros(2, *SHAPE))


def test_other_noise_and_other_norms_have_their_ball():
    assert isinstance(geometry_of(GaussianNoise(0.25), "l2", IMAGES[0]), Ball)
    assert isinstance(geometry_of(NOISE, "linf", IMAGES[0]), Ball)
