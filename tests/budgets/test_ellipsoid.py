"""The length of a change that mixes nuisances with an l2 rest: the number of theory, and never too small."""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from lit_certattr.budgets import EllipsoidBudget, LpBudget
from lit_certattr.budgets.modes import Group, each_channel, low_frequencies, stack, uniform, vignette
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GeneralisedNormalNoise, NuisanceNoise, UniformBallNoise

SHAPE = (2, 4, 5)


def dense_length(delta, sigma, modes, tau):
    """sqrt(delta^T Sigma^-1 delta) times sigma, with the matrix itself."""
    covariance = sigma**2 * np.eye(delta.size) + modes.T @ np.diag(tau**2) @ modes
    return sigma * math.sqrt(delta @ np.linalg.solve(covariance, delta))


@given(
    st.integers(0, 2**32 - 1), st.floats(0.05, 2), st.floats(0.01, 2), st.floats(0.01, 2), st.sampled_from([1, 2, 3])
)
def test_the_length_is_that_of_the_covariance(seed, sigma, brightness, illumination, order):
    groups = (
        Group("brightness", brightness, uniform),
        Group("illumination", illumination, partial(low_frequencies, order=order)),
    )
    modes = stack(groups, SHAPE)
    delta = np.random.default_rng(seed).normal(size=math.prod(SHAPE))
    image = torch.rand(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed % 1000))
    found = EllipsoidBudget(sigma, groups).length(image, image + torch.from_numpy(delta).view(SHAPE))
    exact = dense_length(delta, sigma, modes.fields.flatten(1).numpy(), modes.tau.numpy())
    assert exact * (1 - 1e-9) <= found <= exact * (1 + 1e-9)
    assert found <= LpBudget(sigma).length(image, image + torch.from_numpy(delta).view(SHAPE)) * (1 + 1e-9)


def solved(matrix, right):
    """Gauss's elimination with fractions: no rounding."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for index, pivot in enumerate(rows):
        for other, row in enumerate(rows):
            if other != index:
                rows[other] = [a - row[index] / pivot[index] * b for a, b in zip(row, pivot, strict=True)]
    return [row[-1] / row[index] for index, row in enumerate(rows)]


def test_no_length_is_too_small_in_its_last_bits():
    """Squares of the exact lengths are fractions, and so are those of the ones found."""
    rng, shape = np.random.default_rng(0), (1, 2, 3)
    groups = (Group("brightness", 0.3, uniform), Group("channels", 0.7, each_channel), Group("corner", 0.2, vignette))
    modes = stack(groups, shape)
    fields = [[Fraction(value) for value in mode] for mode in modes.fields.flatten(1).tolist()]
    taus = [Fraction(tau) for tau in modes.tau.tolist()]
    for sigma in rng.uniform(0.05, 1, 20).tolist():
        delta = [Fraction(value) for value in rng.normal(size=6).tolist()]
        image = torch.zeros(shape, dtype=torch.float64)
        changed = torch.tensor([float(one) for one in delta], dtype=torch.float64).view(shape)
        covariance = [
            [
                Fraction(sigma) ** 2 * (row == column)
                + sum(tau**2 * mode[row] * mode[column] for tau, mode in zip(taus, fields, strict=True))
                for column in range(6)
            ]
            for row in range(6)
        ]
        exact = Fraction(sigma) ** 2 * sum(a * b for a, b in zip(delta, solved(covariance, delta), strict=True))
        for square, found in (
            (exact, EllipsoidBudget(sigma, groups).length(image, changed)),
            (sum(one**2 for one in delta), LpBudget(sigma).length(image, changed)),
        ):
            assert square <= Fraction(found) ** 2 <= square * (1 + Fraction(1, 10**11))


def test_brightness_of_a_photograph_is_short():
    budget = NuisanceNoise(sigma=0.25, brightness=0.2).budget
    grey = torch.full((3, 224, 224), 0.5)
    assert LpBudget(0.25).length(grey, grey + 0.1) == pytest.approx(38.8, rel=1e-3)
    # The reference's .4999 in units of sigma.
    assert budget.length(grey, grey + 0.1) == pytest.approx(0.25 * 0.5, rel=1e-4)
    assert budget.split(grey, grey + 0.1)["brightness"] == pytest.approx(0.1, rel=1e-3)


def test_the_bound_is_attained_by_a_half_space():
    sigma, modes, tau = 0.25, stack((Group("brightness", 0.3, uniform),), SHAPE), np.array([0.3])
    fields = modes.fields.flatten(1).numpy()
    covariance = sigma**2 * np.eye(math.prod(SHAPE)) + fields.T @ np.diag(tau**2) @ fields
    delta = np.random.default_rng(3).normal(size=math.prod(SHAPE))
    budget = EllipsoidBudget(sigma, (Group("brightness", 0.3, uniform),))
    length = budget.length(torch.zeros(SHAPE), torch.from_numpy(delta).float().view(SHAPE))
    direction = np.linalg.solve(covariance, delta)
    spread = math.sqrt(direction @ covariance @ direction)
    moved = norm.cdf(norm.ppf(0.9) - direction @ delta / spread)
    assert float(budget.votes.lower(0.9, length)) == pytest.approx(moved, rel=1e-5)


def test_a_darker_image_has_a_negative_amount_of_brightness_and_several_modes_have_a_length():
    budget = NuisanceNoise(sigma=0.25, brightness=0.2, illumination=0.3).budget
    image = torch.full((1, 8, 8), 0.5, dtype=torch.float64)
    found = budget.split(image, image - 0.1)
    assert found["brightness"] == pytest.approx(-0.1, rel=0.05)
    ramps = low_frequencies((1, 8, 8), order=1)
    assert budget.split(image, image - 0.3 * ramps[0] + 0.4 * ramps[1])["illumination"] == pytest.approx(0.5, rel=0.05)


def test_each_axis_alone_lies_within_the_radius():
    noise = NuisanceNoise(sigma=0.25, brightness=0.2, colour_cast=0.1, illumination=0.3)
    image = torch.full((3, 8, 8), 0.5, dtype=torch.float64)
    assert noise.budget.axes(0.2)[0][:3] == LpBudget(0.25).axes(0.2)[0][:3] == ("l2", 0.0, 0.2)
    for axis in noise.budget.axes(0.2)[1:]:
        tau = next(one.tau for one in noise.budget.groups if one.name == axis.name)
        assert -axis.low == axis.high == pytest.approx(0.2 * tau / 0.25)
        grey = float(axis.words.split("(")[1].split()[0])
        assert 0.99 * 255 * axis.high < grey <= 255 * axis.high
        group = next(one for one in noise.budget.groups if one.name == axis.name)
        field = group.fields((3, 8, 8))[-1]
        assert noise.budget.length(image, image + axis.high * field) <= 0.2 * (1 + 1e-9)
        shown = float(axis.words.split("+-")[1].split()[0])
        assert 0.99 * axis.high < shown <= axis.high


@pytest.mark.parametrize("fields", [uniform, each_channel, vignette, partial(low_frequencies, order=3)])
def test_modes_have_the_shape_of_the_image(fields):
    found = fields(SHAPE)
    assert found.shape[1:] == SHAPE
    assert found.dtype == torch.float64
    assert float(found.abs().max()) <= 1


def test_low_frequencies_of_a_narrow_image_are_no_zeros():
    found = low_frequencies((1, 1, 6), order=3)
    assert len(found) == 3
    assert bool((found.abs().amax((1, 2, 3)) > 0.5).all())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (torch.zeros(2, 4, 4), "shape"),
        (torch.full(SHAPE, torch.nan), "NaN"),
        (torch.zeros(SHAPE, dtype=torch.uint8), "floating-point"),
        (torch.zeros(1, *SHAPE), "C, H, W"),
    ],
)
def test_a_changed_image_that_cannot_be_compared_is_refused(changed, reason):
    for budget in (NuisanceNoise(0.25, brightness=0.1).budget, LpBudget(0.25)):
        with pytest.raises(InputError, match=reason):
            budget.length(torch.zeros(SHAPE), changed)


def test_noise_on_a_grid_covers_images_of_the_grid_alone():
    budget = LpBudget(0.25, levels=255)
    grey = torch.full(SHAPE, 100 / 255)
    assert math.isfinite(budget.length(grey, grey + 1 / 255))
    assert budget.length(grey, grey + 0.5 / 255) == math.inf


def test_an_image_a_little_off_the_grid_is_as_far_as_the_grey_level_that_the_noise_makes_of_it():
    budget, image = LpBudget(0.25, levels=255), torch.full(SHAPE, 100 / 255, dtype=torch.float64)
    for off in (0.9e-3, -0.9e-3):
        length = budget.length(image, image + (3 + off) / 255)
        assert length == pytest.approx(3 / 255 * math.prod(SHAPE) ** 0.5, rel=1e-9)
        assert budget.length(image + off / 255, image) == 0
    assert budget.length(image, image + 3.1e-3 / 255) == math.inf


def test_a_radius_in_another_norm_is_compared_with_lengths_in_that_norm():
    grey, changed = torch.zeros(SHAPE), torch.full(SHAPE, 0.1)
    assert LpBudget(0.25, "l1").length(grey, changed) == pytest.approx(4.0)
    assert LpBudget(0.25, "linf").length(grey, changed) == pytest.approx(0.1)
    with pytest.raises(InputError, match="no length of a change is known for radii in wasserstein"):
        LpBudget(0.25, "wasserstein").length(grey, changed)


@pytest.mark.parametrize("noise", [UniformBallNoise(0.25), GeneralisedNormalNoise(0.25, 4)])
def test_no_bound_of_votes_is_given_for_laws_that_are_not_gaussian(noise):
    with pytest.raises(InputError, match="Gaussian noise alone"):
        _ = noise.budget.votes
