"""Gamma curves: the length of a change is |ln gamma|, and other images are not covered."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from lit_certattr.budgets import GammaBudget
from lit_certattr.budgets.gamma import gamma_curved

BUDGET = GammaBudget(0.2)


def curved(image, log_gamma):
    return BUDGET.change(image, torch.tensor([log_gamma], dtype=torch.float64))


@given(
    seed=st.integers(0, 2**31),
    amount=st.floats(-1.5, 1.5),
    double=st.booleans(),
    shape=st.sampled_from([(3, 8, 8), (1, 5, 9), (1, 1, 3)]),
)
def test_a_curve_has_the_length_of_its_amount(seed, amount, double, shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    image.view(-1)[:2] = torch.tensor([0.0, 1.0])  # black and white stay
    image = image if double else image.float()
    length = BUDGET.length(image, curved(image, amount))
    tolerance = 1e-12 if double else 1e-5
    assert abs(amount) - tolerance <= length <= abs(amount) + max(tolerance, 1e-9)


def test_curves_are_a_group():
    image = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(curved(curved(image, 0.3), -0.5), curved(image, -0.2), atol=1e-14)


def test_certified_radius_is_the_one_of_the_reference():
    for vote in (0.6, 0.9, 0.999):
        assert float(BUDGET.votes.radius(vote)) == pytest.approx(0.2 * norm.ppf(vote), rel=1e-12)
        assert float(BUDGET.votes.radius(vote)) <= 0.2 * norm.ppf(vote)


def test_black_and_white_images_do_not_change():
    for value in (0.0, 1.0):
        image = torch.full((1, 2, 2), value)
        assert torch.equal(curved(image, 0.7), image)
        assert BUDGET.length(image, image) == 0
        assert BUDGET.length(image, torch.full((1, 2, 2), 0.5)) == math.inf


def test_a_constant_grey_image_and_one_pixel():
    for shape in ((1, 1, 1), (3, 4, 5)):
        grey = torch.full(shape, 0.5, dtype=torch.float64)
        assert BUDGET.length(grey, grey**2) == pytest.approx(math.log(2), rel=1e-9)


def test_what_is_no_curve_is_not_covered():
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    curve = curved(image, 0.3)
    spot = curve.clone()
    spot[0, 3, 4] += 1 / 255
    others = [
        spot,
        (curve * 255).round() / 255,
        curve.half().float(),
        image + 0.05,
        torch.zeros_like(image),
        1.5 * image,
    ]
    assert [BUDGET.length(image, other) for other in others] == [math.inf] * len(others)


def test_gradients_are_finite_at_black():
    image = torch.tensor([0.0, 1e-30, 0.5, 1.0]).view(1, 1, 1, 4).repeat(2, 1, 1, 1).requires_grad_()
    gamma_curved(image, torch.tensor([-2.0, 2.0])).sum().backward()
    assert bool(image.grad.isfinite().all())
    assert bool((image.grad[..., 0] == 0).all())


@pytest.mark.parametrize("radius", [0.0, 0.123456, 2.0, 1e3, 1e6])
def test_words_are_rounded_to_the_safe_side(radius):
    (axis,) = BUDGET.axes(radius)
    low, high = (float(word) for word in (axis.words.split()[2], axis.words.split()[4]))
    assert 0 <= math.exp(-radius) <= low <= max(1.001 * math.exp(-radius), 1e-300)
    assert high >= 1
    assert math.log(high) <= radius if high < math.inf else radius > 700
    assert axis.low <= axis.high


def test_the_search_is_a_grid_up_to_both_ends():
    image = torch.full((1, 2, 2), 0.5, dtype=torch.float64)
    amounts = BUDGET.search(image, 0.3, 9)[:, 0]
    assert len(amounts) == 9
    assert sorted(abs(float(one)) for one in amounts)[-2:] == pytest.approx([0.3, 0.3], rel=1e-5)
    assert max(BUDGET.length(image, one) for one in BUDGET.candidates(image, 0.3, 9)) < 0.3


def test_an_image_with_black_and_white_has_the_length_and_the_gamma_of_its_curve():
    image = torch.tensor([[[0.0, 0.2, 0.7, 1.0]]], dtype=torch.float64)
    budget, changed = GammaBudget(0.2), image**1.25
    assert budget.length(image, changed) == pytest.approx(math.log(1.25), rel=1e-9)
    split = budget.split(image, changed)
    assert split["gamma"] == pytest.approx(1.25, rel=1e-9)
    assert split["l2 rest"] == pytest.approx(0, abs=1e-12)
    # What black and white become says nothing about the curve, but has to be what they were.
    changed[0, 0, 3] = 0.9
    assert budget.length(image, changed) == math.inf


def test_the_ends_of_the_axis_are_the_curves_of_the_radius():
    axis = GammaBudget(0.2).axes(0.3)[0]
    assert (axis.low, axis.high) == pytest.approx((math.exp(-0.3), math.exp(0.3)), rel=1e-12)
