"""Multiplications by fields: lengths in stops, words on the safe side, and other images are not covered."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from lit_certattr.budgets import FieldBudget
from lit_certattr.budgets.fields import multiplied
from lit_certattr.budgets.modes import Group, each_channel, low_frequencies, uniform

EXPOSURE = Group("exposure", 0.5, uniform)
BALANCE = Group("white balance", 0.2, each_channel, True)
SHADING = Group("shading", 0.3, partial(low_frequencies, order=2), True)
BUDGETS = {
    "exposure": FieldBudget((EXPOSURE,)),
    "balance": FieldBudget((BALANCE,)),
    "all": FieldBudget((EXPOSURE, BALANCE, SHADING)),
}


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    size=st.floats(0, 2),
    double=st.booleans(),
    name=st.sampled_from(sorted(BUDGETS)),
    shape=st.sampled_from([(3, 6, 8), (1, 7, 5), (3, 1, 1)]),
)
def test_a_change_is_as_long_as_its_cheapest_amounts(seed, size, double, name, shape):
    budget, generator = BUDGETS[name], torch.Generator().manual_seed(seed)
    image = torch.rand(shape, generator=generator, dtype=torch.float64)
    image.view(-1)[0] = 0.0  # black stays
    modes = budget.modes(image)
    amounts = size * modes.tau * torch.randn(len(modes.tau), generator=generator, dtype=torch.float64)
    image = image if double else image.float()
    length = budget.length(image, budget.change(image, amounts))
    # The shortest of all amounts that have the same effect where the image is not black, by the pseudoinverse.
    rows = (modes.fields.flatten(1) * modes.tau[:, None]).T[(image != 0).flatten()].numpy()
    shortest = np.linalg.pinv(rows) @ rows @ (amounts / modes.tau).numpy()
    exact = budget.typical * float(np.linalg.norm(shortest))
    tolerance = 1e-8 if double else 2e-5
    assert exact - tolerance <= length <= exact + tolerance


def test_one_stop_is_twice_the_light():
    image = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert BUDGETS["exposure"].length(image, 2 * image) == pytest.approx(1.0, rel=1e-6)
    # Exposure with tau .5 is cheaper than the same by white balance with .2, and both share.
    assert BUDGETS["all"].length(image, 2 * image) == pytest.approx(0.5 / math.sqrt(0.25 + 0.04 / 3), rel=1e-5)
    assert BUDGETS["balance"].length(image, 2 * image) == pytest.approx(math.sqrt(3), rel=1e-6)


def test_the_certified_radius_is_that_of_the_reference():
    votes = BUDGETS["exposure"].votes
    for vote in (0.6, 0.9, 0.999):
        assert 0.5 * norm.ppf(vote) * (1 - 1e-12) <= float(votes.radius(vote)) <= 0.5 * norm.ppf(vote)


@pytest.mark.parametrize("name", BUDGETS)
def test_what_is_no_multiplication_is_not_covered(name):
    budget = BUDGETS[name]
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    darker = image * 0.8
    spot = darker.clone()
    spot[0, 3, 4] += 1 / 255
    lit = image.clone()
    lit[:, 2, 2] = 0
    others = [spot, (darker * 255).round() / 255, (2 * image).clamp(0, 1), darker.half().float(), image + 0.1, -image]
    assert [budget.length(image, other) for other in others] == [math.inf] * len(others)
    assert budget.length(lit, image) == math.inf  # light where there was none
    assert budget.length(image, lit) == math.inf
    assert budget.length(image, torch.zeros_like(image)) == math.inf


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 1, 1)])
def test_black_and_constant_images(shape):
    for name, budget in BUDGETS.items():
        black, grey = torch.zeros(shape), torch.full(shape, 0.25)
        assert budget.length(black, black) == 0, name
        assert budget.length(black, grey) == math.inf
        assert 0 < budget.length(grey, 2 * grey) < 1.8


def test_a_huge_change_is_long_or_not_covered():
    image = torch.full((1, 2, 2), 0.5, dtype=torch.float64)
    budget = BUDGETS["exposure"]
    assert budget.length(image, image * 2.0**200) >= 199
    assert budget.length(image, image * 2.0**-200) >= 199
    assert budget.length(image, torch.full_like(image, 1e308)) >= 1000


@pytest.mark.parametrize("radius", [0.0, 0.123456, 3.0, 1e3, 1e6])
@pytest.mark.parametrize("name", BUDGETS)
def test_words_are_rounded_to_the_safe_side(name, radius):
    budget = BUDGETS[name]
    for group, axis in zip(budget.groups, budget.axes(radius), strict=True):
        amount = radius * group.tau / budget.typical
        assert axis.high == -axis.low == amount
        assert 0.999 * amount <= float(axis.words.split("+-")[1].split()[0]) <= amount
        if group.several:  # a factor would be that of one amount alone
            assert axis.words.endswith("stops, as the root of the sum of squares of its amounts")
        else:
            low, high = (float(word.rstrip(")")) for word in axis.words.split("from ")[1].split(" to "))
            assert 2.0 ** -min(amount, 1000) <= low <= 1 <= high <= 2.0 ** min(amount, 1000)


def test_each_axis_alone_is_within_the_radius():
    budget, image = BUDGETS["all"], torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for group, axis in zip(budget.groups, budget.axes(0.4), strict=True):
        fields = group.fields(tuple(image.shape))
        for field in fields:
            assert budget.length(image, image * torch.exp2(axis.high * field)) <= 0.4 * (1 + 1e-6)


def test_the_search_is_on_the_edge():
    image = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for budget in BUDGETS.values():
        found = [
            budget.length(image, one) for one in budget.candidates(image, 0.4, 12, torch.Generator().manual_seed(0))
        ]
        assert len(found) == 12
        assert max(found) <= 0.4 * (1 + 1e-6)
        assert max(found) > 0.39 or budget is BUDGETS["all"]


def test_gradients_are_the_factors():
    images = torch.rand(2, 1, 2, 2, dtype=torch.float64).requires_grad_()
    fields = torch.cat([torch.ones(1, 1, 2, 2), torch.tensor([[[[1.0, -1.0], [0.0, 0.5]]]])]).double()
    amounts = torch.tensor([[1.0, 0.5], [0.0, -2.0]]).double()
    multiplied(images, fields, amounts).sum().backward()
    stops = torch.einsum("bm,mchw->bchw", amounts, fields)
    assert torch.allclose(images.grad, torch.exp2(stops))


def test_bright_changes_are_rounded_as_float32_rounds_them():
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    budget = BUDGETS["all"]
    amounts = 8 * budget.modes(image).tau
    assert budget.length(image, budget.change(image, amounts)) < 50
    assert budget.length(image, budget.change(image, amounts) + 1e-2) == math.inf
