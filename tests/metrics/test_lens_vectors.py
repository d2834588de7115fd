"""LENS on maps that one can check by hand, and where published code goes wrong on them."""

import pytest
import torch
from oracles import lens as slow

from lit_certattr.metrics.functional import (
    diverse_top_k,
    kendall,
    lens_chance,
    lens_curves,
    lens_dissimilarity,
    lens_kendall,
    lens_precision,
    lens_recall,
    lens_scores,
    lens_spearman,
    mean_lens_dissimilarity,
    mean_set_difference,
    smoothed_maps,
    spearman,
    top_k_intersection,
    worst_lens_precision,
    worst_lens_recall,
)

RAMP = torch.arange(16.0).view(4, 4)
CORNERS = torch.tensor(
    [[9, 8, 1, 1, 5], [7, 6, 1, 1, 4], [0, 0, 0, 0, 0], [3, 1, 0, 2, 1], [1, 1, 0, 1, 1]], dtype=torch.float64
)


def spikes(height, width, pixels):
    """Map whose best pixels are these, in this order."""
    out = torch.zeros(height, width, dtype=torch.float64)
    for place, pixel in enumerate(pixels):
        out[pixel] = len(pixels) - place
    return out


def picks(maps, k, window):
    """The diverse set in the order of its picks."""
    mask = diverse_top_k(maps, k, window)
    return sorted(map(tuple, mask.nonzero().tolist()), key=lambda p: (-maps[p].item(), p))


def test_a_ramp_and_its_transpose():
    pair = RAMP, RAMP.T
    assert top_k_intersection(*pair, 4) == 0.25
    assert lens_precision(*pair, 4, 1) == lens_recall(*pair, 4, 1) == 0.5


def test_a_shift_by_one_pixel_is_forgiven():
    pair = spikes(4, 4, [(1, 1)]), spikes(4, 4, [(1, 2)])
    assert top_k_intersection(*pair, 1) == lens_precision(*pair, 1, 0) == 0
    assert lens_precision(*pair, 1, 1) == lens_recall(*pair, 1, 1) == 1


def test_precision_is_not_recall():
    pair = spikes(4, 4, [(0, 0), (0, 2)]), spikes(4, 4, [(0, 1), (3, 3)])
    assert lens_precision(*pair, 2, 1) == 1
    assert lens_recall(*pair, 2, 1) == 0.5
    assert lens_dissimilarity(*pair, 2, 1) == 0.25
    assert lens_precision(*reversed(pair), 2, 1) == 0.5


def test_rows_do_not_wrap():
    pair = spikes(4, 4, [(1, 0)]), spikes(4, 4, [(0, 3)])
    assert lens_precision(*pair, 1, 1) == lens_recall(*pair, 1, 1) == 0
    assert slow.published_precision(*(m.numpy() for m in pair), 1, 1) == 1


def test_pixel_0_counts():
    corner = spikes(4, 4, [(0, 0)])
    assert lens_precision(corner, corner, 1, 1) == lens_recall(corner, corner, 1, 1) == 1
    assert slow.published_precision(corner.numpy(), corner.numpy(), 1, 1) == 0


@pytest.mark.parametrize("window", [1, 2])
def test_greedy_picks(window):
    assert picks(CORNERS, 4, window) == [(0, 0), (0, 4), (3, 0), (3, 3)]


def test_no_pick_is_lost():
    four = spikes(7, 7, [(1, 1), (1, 5), (5, 1), (5, 5)])
    assert sorted(7 * i + j for i, j in picks(four, 3, 1)) == [8, 12, 36]
    assert sorted(slow.published_diverse(four.numpy(), 3, 1)) == [8, 36, 40]


def test_an_exhausted_set_ends():
    assert picks(CORNERS, 4, 4) == [(0, 0)]
    scores = lens_scores(CORNERS, CORNERS, 4, [4], diverse=True)
    assert scores.picks_clean == scores.picks_perturbed == 1
    assert scores.intersection == scores.precision == scores.recall == 1


def test_diverse_numbers():
    scores = lens_scores(CORNERS, CORNERS.flip(0, 1), 4, [1], diverse=True)
    assert (scores.intersection, scores.precision, scores.recall) == (0, 1, 1)


def test_the_dissimilarity_is_no_metric():
    a, b, c = (spikes(1, 5, [(0, column)]) for column in (0, 1, 2))
    assert lens_dissimilarity(a, b, 1, 1) + lens_dissimilarity(b, c, 1, 1) == 0
    assert lens_dissimilarity(a, c, 1, 1) == 1


def test_smoothing_at_the_border():
    ones = torch.ones(3, 3)
    zeros_outside = smoothed_maps(ones, 1, "paper")
    assert torch.allclose(zeros_outside[[0, 0, 1], [0, 1, 1]] * 9, torch.tensor([4.0, 6.0, 9.0]).double())
    assert torch.equal(smoothed_maps(ones, 1), ones.double())


def test_correlations_with_ties():
    pair = torch.tensor([[1.0, 2], [2, 3]]), torch.tensor([[1.0, 3], [2, 2]])
    assert float(kendall(*pair)) == pytest.approx(0.4)
    assert float(spearman(*pair)) == pytest.approx(0.5)


def test_a_shifted_spike():
    pair = spikes(5, 5, [(2, 1)]), spikes(5, 5, [(2, 2)])
    assert float(spearman(*pair)) == pytest.approx(-1 / 24)
    assert float(lens_spearman(*pair, 1, "paper")) == pytest.approx(69 / 144)
    assert float(lens_kendall(*pair, 1, "paper")) == pytest.approx(69 / 144)
    assert float(lens_spearman(*pair, 1)) == pytest.approx(69 / 144)  # no window sees a spike twice
    edge = spikes(5, 5, [(2, 0)]), spikes(5, 5, [(2, 1)])
    symmetric, zeros = (float(lens_spearman(*edge, 1, padding)) for padding in ("symmetric", "paper"))
    assert symmetric == pytest.approx(slow.spearman(*(slow.smooth(m.numpy(), 1, "symmetric") for m in edge)))
    assert abs(symmetric - zeros) > 1e-3


def test_all_k_at_once():
    clean = torch.tensor([[5.0, 1, 4, 0], [0, 9, 0, 2], [3, 0, 8, 0], [0, 7, 0, 6]])
    perturbed = torch.tensor([[9.0, 0, 0, 1], [8, 7, 0, 0], [0, 0, 2, 3], [6, 0, 5, 4]])
    ks = torch.tensor([1, 2, 3, 4, 5, 6, 8])
    curves = lens_curves(clean, perturbed, 1, ks.tolist())
    assert (curves.precision * ks).round().tolist() == [1, 1, 2, 3, 5, 6, 8]
    assert (curves.recall * ks).round().tolist() == [1, 2, 3, 4, 5, 6, 8]


def test_all_windows_at_once():
    pair = spikes(1, 8, [(0, 0), (0, 1)]), spikes(1, 8, [(0, 3), (0, 5)])
    assert lens_scores(*pair, 2, range(6)).precision.tolist() == [0, 0, 0.5, 1, 1, 1]


def test_the_difference_of_sets_is_twice_the_dissimilarity_without_windows():
    at_4 = torch.zeros(16)
    at_4[3] = 1
    assert mean_set_difference(RAMP, RAMP.T, at_4) == 1.5
    assert lens_dissimilarity(RAMP, RAMP.T, 4, 0) == mean_lens_dissimilarity(RAMP, RAMP.T, 0, at_4) == 0.75


def test_chance_levels():
    assert lens_chance((3, 3), 1, 0) == pytest.approx(1 / 9)
    assert lens_chance((3, 3), 1, 1) == pytest.approx(49 / 81)
    pair = spikes(4, 4, [(1, 1)]), spikes(4, 4, [(1, 2)])
    assert lens_precision(*pair, 1, 1, part="chance") == 9 / 16
    assert lens_precision(*pair, 1, 1, part="adjusted") == 1


@pytest.mark.parametrize(("window", "precision", "recall"), [(0, 1 / 3, 2 / 3), (1, 1, 2 / 3)])
def test_certified_worst_cases(window, precision, recall):
    reference = torch.tensor([[True, True, True, False, False, False]])
    kept = torch.tensor([[False, True, False, False, False, False]])
    possible = torch.tensor([[True, True, True, False, False, True]])
    assert worst_lens_precision(reference, kept, window) == pytest.approx(precision)
    assert worst_lens_recall(reference, kept, possible, window, size=3) == pytest.approx(recall)
