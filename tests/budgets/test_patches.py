"""Patches: the bound of theory (a linear programme, for few patches), lengths, and words."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from lit_certattr.budgets import LpBudget, PatchBudget, PatchVotes
from lit_certattr.budgets.masks import filled
from lit_certattr.budgets.patches import cells_of
from lit_certattr.errors import InputError


def least_vote(low, keep, number, changed):
    """Brute force: a linear programme over all functions of what is seen of ``number`` patches."""
    masks = list(itertools.product((0, 1), repeat=number))
    views = sorted(set(masks) | {tuple(2 * k if i < changed else k for i, k in enumerate(m)) for m in masks})
    place = {view: index for index, view in enumerate(views)}
    clean, new = np.zeros(len(views)), np.zeros(len(views))
    for mask in masks:
        probability = math.prod(keep if k else 1 - keep for k in mask)
        clean[place[mask]] += probability
        new[place[tuple(2 * k if i < changed else k for i, k in enumerate(mask))]] += probability
    return linprog(new, A_ub=-clean[None], b_ub=[-low], bounds=(0, 1), method="highs").fun


@pytest.mark.parametrize("keep", [0.25, 0.5])
@pytest.mark.parametrize("changed", [0, 1, 2])
@pytest.mark.parametrize("low", [0.6, 0.97])
def test_the_bound_is_the_linear_programme(keep, changed, low):
    found = float(PatchVotes(keep).lower(low, changed))
    exact = least_vote(low, keep, 4, changed)
    assert exact - 1e-7 <= found <= exact + 1e-7


def test_figures_of_the_specification():
    votes = PatchVotes(0.25)
    assert float(votes.radius(0.985)) == 2.5
    assert float(votes.lower(0.985, 2)) == pytest.approx(0.75**2 - 0.015, rel=1e-11)


@given(
    keep=st.one_of(st.floats(1e-6, 0.999999), st.sampled_from([1e-300, 1e-17, 1e-9, 1 - 1e-16])),
    vote=st.floats(0, 1),
    radius=st.floats(0, 300),
)
def test_votes_are_safe_and_monotone(keep, vote, radius):
    votes = PatchVotes(keep)
    number = math.floor(radius)
    exact = max(0.0, math.exp(number * math.log1p(-keep)) - (1 - vote))
    assert exact - 1e-11 <= float(votes.lower(vote, radius)) <= min(vote, exact + 1e-16)
    assert float(votes.lower(vote, number)) == float(votes.lower(vote, number + 0.5))
    assert float(votes.lower(vote, radius + 1)) <= float(votes.lower(vote, radius))
    assert float(votes.lower(min(1.0, vote + 0.01), radius)) >= float(votes.lower(vote, radius))
    assert float(votes.upper(vote, radius)) == 1 - float(votes.lower(1 - vote, radius))


@given(keep=st.one_of(st.floats(1e-6, 0.999), st.sampled_from([1e-300, 1e-17, 1e-9])), vote=st.floats(0, 1))
def test_a_radius_is_the_largest_number_of_patches_and_one_half(keep, vote):
    votes = PatchVotes(keep)
    radius = float(votes.radius(vote))
    if vote <= 0.5:
        assert radius == 0
        return
    number = radius - 0.5
    assert number == int(number) or number > 2**50
    assert float(votes.lower(vote, radius)) > 0.5
    following = (1 - keep) ** (number + 1) - (1 - vote) if keep > 1e-9 else 0.0
    assert following < 0.5 + 1e-9


def test_votes_at_the_ends():
    votes = PatchVotes(0.25)
    assert votes.radius([0.0, 0.5, math.nan]).tolist() == [0.0, 0.0, 0.0]
    assert float(votes.radius(1.0)) == 2.5  # .75^2 > 1/2 > .75^3
    assert votes.reach(0.3, 0.5) < 0
    assert float(votes.lower(1.0, math.inf)) == 0
    assert votes.reach(1.0, 0.0) == math.inf


def test_many_votes_and_tiny_rates_take_no_time():
    # A loop over the patches would take minutes here, and never end where 1 - keep is 1.
    radii = PatchVotes(1e-6).radius(np.linspace(0, 1, 1001))
    assert radii[-1] == math.floor(math.log(2) * 1e6) + 0.5 or radii[-1] == pytest.approx(math.log(2) * 1e6, rel=1e-5)
    assert PatchVotes(1e-17).radius(0.9) > 1e15


@pytest.mark.parametrize(("height", "width", "cells"), [(8, 8, 4), (7, 10, 3), (5, 9, 5), (4, 4, 1), (1, 1, 1)])
def test_cells_are_rectangles_that_cover_the_image(height, width, cells):
    number = cells_of(height, width, cells)
    assert number.shape == (height, width)
    assert number.unique().tolist() == list(range(cells**2))
    for cell in range(cells**2):
        rows, columns = (number == cell).nonzero(as_tuple=True)
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert area == len(rows)


def test_a_grid_larger_than_the_image_is_refused():
    with pytest.raises(
        InputError, match="a grid of 6 x 6 patches does not fit an image of 5 x 9 pixels: set cells to at most 5"
    ):
        cells_of(5, 9, 6)


@given(seed=st.integers(0, 2**31), count=st.integers(0, 9), double=st.booleans())
def test_the_length_is_the_number_of_patches_that_differ(seed, count, double):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(3, 7, 10, generator=generator, dtype=torch.float64 if double else torch.float32)
    cell = cells_of(7, 10, 3)
    changed = image.clone()
    for chosen in torch.randperm(9, generator=generator)[:count].tolist():
        rows, columns = (cell == chosen).nonzero(as_tuple=True)
        changed[1, rows[0], columns[0]] += 1e-6  # one value of one channel
    assert PatchBudget(0.25, 3).length(image, changed) == count


def test_rounding_to_grey_levels_touches_all_patches():
    image = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    assert PatchBudget(0.25, 3).length(image, (image * 255).round() / 255) == 9
    assert PatchBudget(0.25, 3).length(image, image) == 0


def test_words_count_whole_patches_and_no_more_than_there_are():
    budget = PatchBudget(0.25, 3)
    for radius, number in ((0.0, 0), (0.5, 0), (1.0, 1), (2.5, 2), (1.999, 1), (1e9, 9), (math.inf, 9)):
        axis = budget.axes(radius)[0]
        assert axis.words == f"any new content of up to {number} of the 9 patches"
        assert axis.high == number


def test_tables_and_attacks_ask_for_whole_numbers_of_patches():
    budget = PatchBudget(0.25, 3)
    assert budget.usual_radii((0.1, 0.2)) == (1, 2, 3, 4)
    assert [budget.sensible(length) for length in (0.1, 1.9, 2.5, 10.0)] == [1, 1, 2, 10]
    assert LpBudget(0.25).usual_radii((0.1, 0.2)) == (0.1, 0.2)
    assert LpBudget(0.25).sensible(0.1234) == 0.12


def test_candidates_change_as_many_patches_as_the_radius_allows():
    budget, image = PatchBudget(0.25, 3), torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    for radius, number in ((0.5, 0), (1.0, 1), (2.5, 2), (50.0, 9)):
        found = [
            budget.length(image, one) for one in budget.candidates(image, radius, 8, torch.Generator().manual_seed(0))
        ]
        assert max(found, default=0.0) == number


def test_filled_images_keep_type_and_gradients():
    images = torch.rand(2, 1, 4, 4, dtype=torch.bfloat16).requires_grad_()
    kept = torch.tensor([[True, False, False, True], [False, True, True, True]])
    out = filled(images, kept, cells_of(4, 4, 2), 0.5)
    assert out.dtype == torch.bfloat16
    assert bool((out[0, 0, :2, 2:] == 0.5).all())
    assert torch.equal(out[1, 0, 2:], images[1, 0, 2:])
    out.sum().backward()
    assert images.grad[0, 0].float().unique().tolist() == [0.0, 1.0]


def test_hidden_patches_are_for_majorities_alone():
    budget = PatchBudget(0.25, 14)
    assert budget.in_words(1.5) == "any new content of up to 1 of the 196 patches"
    assert budget.in_words(1.5, majorities=True).endswith("; up to 2 patches filled with the grey of the noise (0.5)")
    assert budget.below(1.5) == "at most 1 changed patch"
    assert budget.below(2.5) == "at most 2 changed patches"
    # Why: of a vote of .6, one repainted patch leaves .35, and two hidden ones may leave less.
    assert float(budget.votes.lower(0.6, 1)) > 1 - 0.4 / 0.75**2
