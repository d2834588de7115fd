"""Contrast and brightness: lengths of changes, the ends of the axes, and the edge between them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from lit_certattr.budgets import AffineBudget
from lit_certattr.budgets.affine import contrast_range
from lit_certattr.budgets.affine_votes import Change, Law, needed_vote

LAW = Law(0.2, 0.3)
BUDGET = AffineBudget(LAW)


def changed(image, log_contrast, brightness):
    return BUDGET.change(image, torch.tensor([log_contrast, brightness], dtype=torch.float64))


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**31),
    k=st.floats(-0.5, 0.5).filter(lambda k: abs(k) > 0.01),
    b=st.floats(-0.5, 0.5),
    double=st.booleans(),
    shape=st.sampled_from([(3, 8, 8), (1, 5, 9), (1, 1, 2)]),
)
def test_a_change_has_the_length_of_its_amounts(seed, k, b, double, shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    image.view(-1)[:2] = torch.tensor([0.0, 1.0])
    image = image if double else image.float()
    length = BUDGET.length(image, changed(image, k, b))
    assert length == pytest.approx(0.3 * -_quantile(1 - needed_vote(LAW, Change(k, b))), rel=1e-3, abs=3e-4)


def _quantile(share):
    return float(torch.special.ndtri(torch.tensor(share, dtype=torch.float64)))


@pytest.mark.parametrize("brightness", [0.1, -0.25, 0.0])
def test_brightness_alone_is_its_own_length(brightness):
    image = torch.rand(3, 6, 7, generator=torch.Generator().manual_seed(0))
    for one in (image, image.double(), torch.full((1, 4, 4), 0.3), torch.zeros(1, 1, 1)):
        length = BUDGET.length(one, one + brightness)
        assert abs(brightness) - 1e-6 <= length <= abs(brightness) + 1e-4


def test_what_is_no_change_of_contrast_and_brightness_is_not_covered():
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    grey = changed(image, 0.1, 0.05)
    spot = grey.clone()
    spot[0, 3, 4] += 1 / 255
    others = {
        "one grey level": spot,
        "rounded": (grey * 255).round() / 255,
        "clipped": changed(image, 0.1, 0.3).clamp(0, 1),
    }
    others |= {"negative": 1 - image, "constant": torch.full_like(image, 0.5), "half": grey.half().float()}
    for name, other in others.items():
        assert BUDGET.length(image, other) == math.inf, name


@pytest.mark.parametrize(("law", "deviations"), [(LAW, 2.0), (Law(0.05, 0.3), 0.3), (Law(1.0, 0.1), 1.0)], ids=str)
def test_every_contrast_of_the_axis_is_below_the_radius(law, deviations):
    low, high = contrast_range(law, deviations * law.brightness)
    assert low < 0 < high
    # The enclosure of the vote that a change needs is a little above it; near the ends it may reach the radius.
    enough = float(ndtr(deviations))
    needed = [needed_vote(law, Change(k, 0.0)) for k in np.linspace(low, high, 25) if k]
    assert max(needed) < enough + 2e-4
    assert max(needed[3:-3]) < enough
    # The range is no less than nine tenths of what it could be.
    assert needed_vote(law, Change(1.1 * low, 0.0)) > enough
    assert needed_vote(law, Change(1.1 * high, 0.0)) > enough


@pytest.mark.parametrize(("law", "radius"), [(LAW, 0.0), (LAW, 1e3), (Law(1e-4, 0.3), 0.5), (Law(10.0, 1e3), 1e3)])
def test_the_axis_of_contrast_ends_for_extreme_settings(law, radius):
    low, high = contrast_range(law, radius)
    assert low <= 0 <= high
    assert (low < 0) == (radius > 0)


def test_words_name_grey_levels_and_factors_on_the_safe_side():
    brightness, contrast = BUDGET.axes(0.123456)
    low, high = (math.exp(end) for end in contrast_range(LAW, 0.123456))
    assert brightness.words == "brightness within +-0.1234 (31.4 of 255 grey levels)"
    shown = [float(word) for word in contrast.words.split() if word[0].isdigit()]
    assert low <= shown[0] <= low + 1e-3
    assert high - 1e-3 <= shown[1] <= high


def test_the_edge_beside_a_contrast_is_inside_and_close():
    for k in (0.1, -0.15):
        edge = BUDGET.brightness_beside(0.4, k)
        assert 0 < edge < 0.5
        assert all(needed_vote(LAW, Change(k, sign * edge)) < ndtr(0.4 / 0.3) for sign in (-1, 1))
        assert any(needed_vote(LAW, Change(k, sign * edge * 1.01)) > ndtr(0.4 / 0.3) for sign in (-1, 1))
    assert BUDGET.brightness_beside(0.1, 2.0) == 0


def test_the_search_stays_below_the_radius():
    image = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = list(BUDGET.candidates(image, 0.3, 9))
    assert len(found) == 9
    lengths = [BUDGET.length(image, one) for one in found]
    assert max(lengths) < 0.3 * (1 + 1e-3)
    assert sum(length > 0.29 for length in lengths) > 5
