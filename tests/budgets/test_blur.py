"""Blur: heat is a semigroup in any arithmetic, its bound is that of theory, and other images are not covered."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter

from lit_certattr.budgets import BlurBudget, BlurVotes
from lit_certattr.budgets.blur import after, each_after, spectrum

BUDGET = BlurBudget(rate=1.5)


def image_of(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def heat(image, time):
    """The reference: DCT-II by SciPy."""
    rows, columns = (np.pi * np.arange(length) / length for length in image.shape)
    decay = rows[:, None] ** 2 + columns[None] ** 2
    return idctn(dctn(image, norm="ortho") * np.exp(-time * decay), norm="ortho")


def blurred(image, pixels):
    return BUDGET.change(image, torch.tensor([pixels], dtype=torch.float64))


def flow(image, time):
    return after(spectrum(image[None]), torch.tensor([time], dtype=torch.float64))[0]


@pytest.mark.parametrize("shape", [(32, 32), (5, 9), (1, 1), (1, 7)])
def test_heat_is_that_of_the_reference_and_a_semigroup(shape):
    image = image_of(2, *shape)
    for time in (0.0, 0.3, 40.0):
        expected = np.stack([heat(channel, time) for channel in image.numpy()])
        assert np.abs(flow(image, time).numpy() - expected).max() < 1e-12
    assert torch.allclose(flow(flow(image, 0.3), 0.4), flow(image, 0.7), atol=1e-13)
    assert torch.allclose(flow(image.float(), 0.7), flow(image, 0.7).float(), atol=2e-6)


def test_sampled_gaussian_kernels_are_no_semigroup():
    image = image_of(64, 64).numpy()
    twice = gaussian_filter(gaussian_filter(image, 0.5), 0.5)
    once = gaussian_filter(image, math.sqrt(0.5))
    assert np.linalg.norm(twice - once) > 0.3


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_autocast_and_short_products_leave_heat_a_semigroup(precision):
    image = image_of(3, 16, 16, dtype=torch.float32)
    exact = flow(image, 0.7)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert torch.allclose(flow(image, 0.7), exact, atol=2e-6)
    finally:
        torch.set_float32_matmul_precision(before)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = flow(image, 0.7)
        several = each_after(spectrum(image), torch.tensor([0.7, 0.7]))
    assert found.dtype == torch.float32
    assert torch.allclose(found, exact, atol=1e-6)
    assert torch.allclose(several, exact.expand(2, -1, -1, -1), atol=2e-6)


@given(vote=st.floats(0, 1), radius=st.floats(0, 40))
def test_votes_are_those_of_the_reference(vote, radius):
    exact = max(0.0, 1 - math.exp(min(1.5 * radius**2 / 2, 700)) * (1 - vote))
    votes = BlurVotes(1.5)
    assert exact - 1e-11 <= float(votes.lower(vote, radius)) <= exact + 1e-16
    most = min(1.0, math.exp(min(1.5 * radius**2 / 2, 700)) * vote)
    assert most <= float(votes.upper(vote, radius)) <= most + 1e-11


@given(vote=st.floats(0.5, 1, exclude_min=True, exclude_max=True), level=st.floats(0.01, 0.5))
def test_reach_inverts_the_bound(vote, level):
    votes = BlurVotes(1.5)
    length = votes.reach(vote, level)
    assert length >= 0
    assert float(votes.lower(vote, length * (1 - 1e-9))) >= level - 1e-9
    assert float(votes.lower(vote, length * (1 + 1e-6) + 1e-9)) <= level
    assert float(votes.lower(vote, votes.radius(vote))) > 0.5 or votes.radius(vote) == 0


def test_votes_at_the_ends():
    votes = BlurVotes(1.5)
    assert votes.radius([0.0, 0.3, 0.5, math.nan]).tolist() == [0.0] * 4
    assert votes.radius(1.0) == math.inf  # every noisy copy votes: so do those of all blurred images
    assert votes.reach(0.3, 0.5) < 0
    assert votes.lower([0.0, 1.0], math.inf).tolist() == [0.0, 1.0]
    assert not float(votes.lower(math.nan, 0.1)) > 0


def test_the_bound_is_attained_by_a_threshold_on_the_time():
    shift, vote, rate = 0.4, 0.97, 1.5
    times = np.random.default_rng(0).exponential(1 / rate, 400_000)
    worst = np.mean(times + shift <= np.quantile(times, vote))
    assert float(BlurVotes(rate).lower(vote, math.sqrt(2 * shift))) == pytest.approx(worst, abs=3e-3)


@given(
    seed=st.integers(0, 2**31),
    pixels=st.floats(0.1, 3),
    double=st.booleans(),
    shape=st.sampled_from([(3, 16, 16), (1, 9, 12)]),
)
def test_a_blur_has_its_length(seed, pixels, double, shape):
    image = image_of(*shape, seed=seed)
    image = image if double else image.float()
    length = BUDGET.length(image, blurred(image, pixels))
    assert pixels * (1 - (1e-6 if double else 1e-4)) <= length <= pixels * (1 + 1e-3)


def test_a_little_blur_of_a_photograph_is_no_rounding():
    image = image_of(3, 224, 224, dtype=torch.float32)
    for pixels in (1e-3, 0.05, 10.0):
        assert BUDGET.length(image, blurred(image, pixels)) == pytest.approx(pixels, rel=0.05)


def test_what_is_no_blur_is_not_covered():
    image = image_of(3, 16, 16, dtype=torch.float32)
    soft = blurred(image, 0.8)
    spot = soft.clone()
    spot[0, 3, 4] += 1 / 255
    kernel = torch.from_numpy(gaussian_filter(image.numpy(), (0, 0.8, 0.8)))
    others = [spot, (soft * 255).round() / 255, soft.half().float(), kernel, image + 0.05, image.flip(2)]
    assert [BUDGET.length(image, other) for other in others] == [math.inf] * len(others)
    assert BUDGET.length(soft, image) == math.inf  # sharper


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 5)])
def test_constant_images_do_not_change(shape):
    for value in (0.0, 0.3):
        grey = torch.full(shape, value)
        assert torch.allclose(blurred(grey, 2.0), grey, atol=1e-6)
        assert BUDGET.length(grey, grey) == 0
        assert BUDGET.length(grey, grey + 0.1) == math.inf


def test_words_and_search():
    (axis,) = BUDGET.axes(0.123456)
    assert axis.words == "blur of at most 0.1234 pixels"
    image = image_of(1, 8, 8)
    amounts = BUDGET.search(image, 0.5, 5)[:, 0]
    assert amounts[0] == pytest.approx(0.5, rel=1e-5)
    assert float(amounts.max()) < 0.5
    assert len(list(BUDGET.candidates(image, 0.5, 5))) == 5
