"""LENS on random maps, against sets and loops."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from metrics.accelerator import values_cost_a_wait
from oracles import lens as slow

from lit_certattr.errors import InputError
from lit_certattr.metrics.functional import (
    diverse_top_k,
    diverse_top_k_intersection,
    lens_chance,
    lens_curves,
    lens_dissimilarity,
    lens_precision,
    lens_recall,
    lens_scores,
    mean_lens_dissimilarity,
    mean_set_difference,
    neighbourhood,
    top_k_intersection,
)
from lit_certattr.metrics.functional.diverse import peel
from lit_certattr.metrics.functional.ranking import order, ordinal_ranks, ties
from lit_certattr.metrics.functional.windows import window_minimum


def maps(shape):
    """Maps of few or many values: constant ones, and ties in all places, included."""
    levels = st.sampled_from([1, 2, 4, 1000])
    return levels.flatmap(lambda top: hnp.arrays(np.float64, shape, elements=st.integers(-top, top - 1)))


@st.composite
def pairs(draw, side=7):
    """Two maps, k from 1 to all pixels, and a window that may be larger than the map."""
    shape = draw(st.tuples(st.integers(1, side), st.integers(1, side)))
    a, b = draw(maps(shape)), draw(maps(shape))
    if draw(st.booleans()):  # maps that agree in part
        b = np.where(draw(hnp.arrays(bool, shape)), a, b)
    return a, b, draw(st.integers(1, a.size)), draw(st.integers(0, 8))


@given(pairs(), st.booleans())
def test_scores_equal_sets_and_loops(case, div):
    a, b, k, window = case
    scores = lens_scores(torch.tensor(a), torch.tensor(b), k, [window], div)
    s, t = slow.sets(a, b, k, window, div)
    assert (scores.picks_clean, scores.picks_perturbed) == (len(s), len(t))
    assert float(scores.intersection) == pytest.approx(slow.intersection(a, b, k, window, div))
    assert float(scores.precision) == pytest.approx(slow.precision(a, b, k, window, div))
    assert float(scores.recall) == pytest.approx(slow.recall(a, b, k, window, div))
    assert float(scores.intersection_chance) == pytest.approx(min(len(s), len(t)) / a.size)
    assert float(scores.precision_chance) == pytest.approx(slow.chance(b, k, window, div))
    assert float(scores.recall_chance) == pytest.approx(slow.chance(a, k, window, div))


@given(pairs(), st.booleans())
def test_the_path_of_accelerators_gives_the_same_bits(case, div):
    a, b, k, window = case
    pair = torch.tensor(a), torch.tensor(b)
    here = lens_scores(*pair, k, [window], div), lens_curves(*pair, window)
    with values_cost_a_wait():
        there = lens_scores(*pair, k, [window], div), lens_curves(*pair, window)
    for mine, theirs in zip(itertools.chain(*here), itertools.chain(*there), strict=True):
        assert torch.equal(mine, theirs)


@given(pairs())
def test_one_number_functions_are_columns_of_the_pass(case):
    a, b, k, window = case
    pair = torch.tensor(a), torch.tensor(b)
    for div in (False, True):
        scores = lens_scores(*pair, k, [window], div)
        for part in ("score", "chance", "adjusted"):
            same = torch.stack([lens_precision(*pair, k, window, div, part), lens_recall(*pair, k, window, div, part)])
            both = torch.cat([scores.part("precision", part), scores.part("recall", part)])
            assert torch.equal(same.nan_to_num(7), both.nan_to_num(7))
    assert torch.equal(diverse_top_k_intersection(*pair, k, window), scores.intersection[0])
    assert float(top_k_intersection(*pair, k)) == pytest.approx(slow.intersection(a, b, k))


@given(pairs(side=5))
def test_curves_equal_every_k_alone(case):
    a, b, _, window = case
    pair, ks = (torch.tensor(a), torch.tensor(b)), range(1, a.size + 1)
    curves = lens_curves(*pair, window)
    assert curves.precision.tolist() == pytest.approx([slow.precision(a, b, k, window) for k in ks])
    assert curves.recall.tolist() == pytest.approx([slow.recall(a, b, k, window) for k in ks])
    assert curves.precision_chance.tolist() == pytest.approx([slow.chance(b, k, window) for k in ks])
    assert curves.recall_chance.tolist() == pytest.approx([slow.chance(a, k, window) for k in ks])
    some = lens_curves(*pair, window, ks=[a.size, 1])
    assert torch.equal(some.precision, curves.precision[[-1, 0]])


@given(pairs(side=5), st.data())
def test_dissimilarities(case, data):
    a, b, k, window = case
    pair, ks = (torch.tensor(a), torch.tensor(b)), range(1, a.size + 1)
    weights = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=a.size, max_size=a.size)))
    weights /= weights.sum()
    alpha = torch.tensor(weights)
    d, u = mean_lens_dissimilarity(*pair, window, alpha), mean_set_difference(*pair, alpha)
    assert float(lens_dissimilarity(*pair, k, window)) == pytest.approx(slow.dissimilarity(a, b, k, window), abs=1e-6)
    expected = sum(w * slow.dissimilarity(a, b, k, window) for w, k in zip(weights, ks, strict=True))
    assert float(d) == pytest.approx(expected, abs=1e-6)
    expected = sum(w * slow.set_difference(a, b, k) for w, k in zip(weights, ks, strict=True))
    assert float(u) == pytest.approx(expected, abs=1e-6)
    assert float(d) <= float(u) / 2 + 1e-6
    uniform = torch.full((a.size,), 1 / a.size)
    assert float(mean_lens_dissimilarity(*pair, window)) == pytest.approx(
        float(mean_lens_dissimilarity(*pair, window, uniform)), abs=1e-6
    )
    chance = mean_lens_dissimilarity(*pair, window, alpha, part="chance")
    expected = sum(
        w * (1 - (slow.chance(a, k, window) + slow.chance(b, k, window)) / 2) for w, k in zip(weights, ks, strict=True)
    )
    assert float(chance) == pytest.approx(expected, abs=1e-6)
    ratio = float(mean_lens_dissimilarity(*pair, window, alpha, part="adjusted"))
    assert np.isnan(ratio) if chance == 0 else ratio == pytest.approx(float(d / chance), rel=1e-5)


@given(pairs())
def test_precision_is_the_recall_of_the_swapped_pair_and_grows_with_the_window(case):
    a, b, k, _ = (torch.tensor(x) if isinstance(x, np.ndarray) else x for x in case)
    scores, swapped = lens_scores(a, b, k, range(5)), lens_scores(b, a, k, range(5))
    assert torch.equal(scores.precision, swapped.recall)
    assert torch.equal(scores.recall_chance, swapped.precision_chance)
    assert torch.equal(scores.precision[0], scores.intersection[0])
    for value in (scores.precision, scores.recall, scores.precision_chance):
        assert (value.diff() >= 0).all()


@given(pairs())
def test_diverse_sets_keep_their_distance_and_are_maximal(case):
    a, _, k, window = case
    height, width = a.shape
    mask = diverse_top_k(torch.tensor(a), k, window)
    assert torch.equal(mask, peel(torch.tensor(a)[None], k, window)[0])
    assert {tuple(p) for p in mask.nonzero().tolist()} == set(slow.diverse(a, k, window))
    everything = int(diverse_top_k(torch.tensor(a), a.size, window).sum())
    assert mask.sum() == min(k, everything)
    side, double = window + 1, 2 * window + 1
    assert -(-height // double) * -(-width // double) <= everything <= -(-height // side) * -(-width // side)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 14), st.data())
def test_windows_grow_without_losing_the_border(height, width, window, data):
    mask = torch.tensor(data.draw(hnp.arrays(bool, (height, width))))
    expected = slow.near([tuple(p) for p in mask.nonzero().tolist()], window, (height, width))
    assert {tuple(p) for p in neighbourhood(mask, window).nonzero().tolist()} == expected
    values = data.draw(hnp.arrays(np.int32, (height, width), elements=st.integers(0, 9)))
    found = window_minimum(torch.tensor(values), window)
    for p in itertools.product(range(height), range(width)):
        assert found[p] == min(values[q] for q in slow.near([p], window, (height, width)))


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0, -3.5]), min_size=1, max_size=30))
def test_ranks_and_ties(values):
    row = torch.tensor(values)
    best_first = sorted(range(len(values)), key=lambda i: (-values[i], i))
    smaller, equal = ([sum(f(v, w) for v in values) for w in values] for f in (float.__lt__, float.__eq__))
    rows = torch.stack([row, row.flip(0)])
    here = order(rows), ordinal_ranks(rows), *ties(rows)
    assert here[0][0].tolist() == best_first
    assert here[1][0].tolist() == [best_first.index(i) + 1 for i in range(len(values))]
    assert here[2][0].tolist() == smaller
    assert here[3][0].tolist() == [s + e - 1 for s, e in zip(smaller, equal, strict=True)]
    with values_cost_a_wait():
        there = order(rows), ordinal_ranks(rows), *ties(rows)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(here, there, strict=True))


def test_the_chance_level_is_the_mean_over_all_sets():
    """Of fixed T over all 560 sets S, and of both over all pairs."""
    pixels = list(itertools.product(range(4), range(4)))
    perturbed = torch.zeros(4, 4)
    perturbed[0, 0], perturbed[1, 2], perturbed[3, 3] = 3, 2, 1
    combinations = list(itertools.combinations(range(len(pixels)), 3))
    clean = torch.zeros(len(combinations), 16)
    clean.scatter_(1, torch.tensor(combinations), 1)
    clean = clean.view(-1, 4, 4)
    scores = lens_scores(clean, perturbed.expand(clean.shape), 3, [0, 1, 2])
    assert torch.allclose(scores.precision.mean(0), scores.precision_chance[0])
    assert torch.allclose(scores.intersection.mean(0), scores.intersection_chance[0])
    for column, window in enumerate((0, 1, 2)):
        both = lens_scores(perturbed.expand(clean.shape), clean, 3, [window]).precision_chance.mean()
        assert float(both) == pytest.approx(lens_chance((4, 4), 3, window))
        assert float(scores.recall_chance[:, column].mean()) == pytest.approx(lens_chance((4, 4), 3, window))


@pytest.mark.parametrize(("shape", "k"), [((3, 5), 1), ((3, 5), 4), ((3, 5), 15), ((1, 7), 3), ((6, 2), 2)])
@pytest.mark.parametrize("window", [0, 1, 2, 9])
def test_chance_of_two_random_sets_in_closed_form(shape, k, window):
    assert lens_chance(shape, k, window) == pytest.approx(slow.chance_of_both(shape, k, window))


def test_random_maps_reach_the_chance_level():
    """Plain sets exactly in the mean; diverse ones nearly, as they lean towards the border."""
    clean, perturbed = torch.rand(2, 300, 28, 28, generator=torch.Generator().manual_seed(0))
    scores = lens_scores(clean, perturbed, 20, (1, 2, 3))
    assert torch.allclose(scores.precision.mean(0), scores.precision_chance.mean(0), atol=0.015)
    assert float(scores.precision_chance[:, 0].mean()) == pytest.approx(lens_chance((28, 28), 20, 1), abs=2e-3)
    assert scores.part("precision", "adjusted").mean(0).abs().max() < 0.03
    scores = lens_scores(clean, perturbed, 20, (1, 2, 3), diverse=True)
    assert torch.allclose(scores.precision.mean(0), scores.precision_chance.mean(0), atol=0.03)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_any_type_and_any_leading_shape(dtype):
    clean, perturbed = (9 * torch.rand(2, 2, 3, 6, 5)).to(dtype)
    scores = lens_scores(clean, perturbed, 0.2, (0, 2), diverse=True)
    assert scores.precision.shape == (2, 3, 2)
    assert scores.precision.dtype == torch.float32
    curves = lens_curves(clean, perturbed, 1, ks=[0.2, 4])
    assert curves.recall.shape == (2, 3, 2)
    for i, j in itertools.product(range(2), range(3)):
        pair = clean[i, j].double(), perturbed[i, j].double()
        assert torch.equal(lens_scores(*pair, 6, (0, 2), diverse=True).precision, scores.precision[i, j])
        assert torch.equal(lens_curves(*pair, 1, ks=[6, 4]).recall, curves.recall[i, j])
    assert diverse_top_k(clean, 3, 1).shape == clean.shape
    mixed = lens_precision(clean, perturbed.double(), 6)
    assert torch.equal(mixed, lens_precision(clean, perturbed, 6))


def test_no_map_is_no_problem():
    none = torch.rand(0, 4, 4)
    assert lens_precision(none, none, 3).shape == (0,)
    assert lens_scores(none, none, 3, (1, 2), diverse=True).recall.shape == (0, 2)
    assert lens_curves(none, none).precision.shape == (0, 16)
    assert diverse_top_k(none, 3, 1).shape == (0, 4, 4)
    assert peel(none, 3, 1).shape == (0, 4, 4)


def test_constant_maps_rank_by_index():
    constant = torch.full((4, 4), 0.1)
    scores = lens_scores(constant, constant, 3, (0, 1))
    assert scores.precision.tolist() == [1, 1]
    first = torch.zeros(4, 4)
    first[0, :3] = 1
    assert top_k_intersection(constant, first, 3) == 1
    assert diverse_top_k(constant, 16, 1).nonzero().tolist() == [[0, 0], [0, 2], [2, 0], [2, 2]]


def test_gradients_and_inputs_are_left_alone():
    clean = torch.rand(4, 4, requires_grad=True)
    before = clean.detach().clone()
    assert not lens_precision(clean, clean * 2, 3).requires_grad
    assert torch.equal(clean, before)


@pytest.mark.parametrize("function", [lens_precision, lens_recall, top_k_intersection, diverse_top_k_intersection])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k must be a share in .* got 0"),
        ({"k": 1.0}, "k must be"),
        ({"k": 2.5}, "k must be"),
        ({"k": True}, "k must be"),
        ({"k": float("nan")}, "k must be"),
        ({"k": 17}, "k=17 selects 17 pixels of 16"),
        ({"k": 0.01}, "k=0.01 selects 0 pixels of 16"),
        ({"part": "luck"}, "part must be one of score, chance, adjusted, got 'luck'"),
        ({"perturbed": torch.rand(2, 4, 5)}, r"clean \[2, 4, 4\] and perturbed \[2, 4, 5\] must have the same shape"),
        ({"clean": torch.full((2, 4, 4), torch.nan)}, "clean: map 0 has a value that is NaN or infinite"),
        ({"perturbed": torch.tensor([1.0, -torch.inf]).view(2, 1, 1).expand(2, 4, 4)}, "perturbed: map 1 has"),
        ({"clean": torch.rand(4), "perturbed": torch.rand(4)}, "clean must be"),
        ({"clean": torch.rand(2, 0, 4), "perturbed": torch.rand(2, 0, 4)}, "at least one pixel"),
    ],
)
def test_bad_input_is_named(function, change, message):
    settings = {"clean": torch.rand(2, 4, 4), "perturbed": torch.rand(2, 4, 4), "k": 3, **change}
    with pytest.raises(InputError, match=message) as caught:
        function(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("windows", [[], [1, 1], [2, 1], [-1], [1.5], [True]])
def test_windows_out_of_order_are_refused(windows):
    with pytest.raises(InputError, match="window"):
        lens_scores(torch.rand(4, 4), torch.rand(4, 4), 3, windows)


@pytest.mark.parametrize("weights", [torch.ones(15) / 15, torch.ones(16), torch.tensor([2.0, -1.0] + 14 * [0.0])])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(InputError, match="weights must"):
        mean_lens_dissimilarity(torch.rand(4, 4), torch.rand(4, 4), 1, weights)


def test_large_finite_values_are_no_infinity():
    large = torch.full((4, 4), 3e38)
    assert lens_precision(large, large, 3) == 1
