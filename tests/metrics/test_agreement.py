"""Agreement of two maps, against loops and against SciPy and torchmetrics where these are right."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metrics.accelerator import values_cost_a_wait
from metrics.test_lens import pairs
from oracles import lens as slow
from scipy import ndimage, stats
from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef

from lit_certattr.errors import InputError
from lit_certattr.metrics.functional import (
    centre_shift,
    cosine_similarity,
    kendall,
    l2_distance,
    lens_kendall,
    lens_spearman,
    pearson,
    smoothed_maps,
    spearman,
    ssim,
)
from lit_certattr.metrics.functional.kendall_tau import inversions, tau_b

ALL = [centre_shift, cosine_similarity, kendall, l2_distance, lens_kendall, lens_spearman, pearson, spearman, ssim]


def same(value, expected):
    assert float(value) == pytest.approx(expected, abs=2e-6, nan_ok=True)


@given(pairs(side=6))
def test_correlations_equal_loops(case):
    a, b, _, window = case
    pair = torch.tensor(a), torch.tensor(b)
    same(spearman(*pair), slow.spearman(a, b))
    same(kendall(*pair), slow.kendall(a, b))
    same(pearson(*pair), slow.pearson(a, b))
    same(cosine_similarity(*pair), slow.cosine(a, b))
    for padding, mode in (("symmetric", "symmetric"), ("paper", "zero")):
        smooth = slow.smooth(a, window, mode), slow.smooth(b, window, mode)
        for mine, loop in zip((smoothed_maps(m, window, padding) for m in pair), smooth, strict=True):
            assert np.allclose(mine, loop, atol=1e-12)


@given(pairs(side=5))
def test_lens_correlations_equal_loops_where_sums_are_whole_numbers(case):
    a, b, _, window = case
    pair, area = (torch.tensor(a), torch.tensor(b)), (2 * window + 1) ** 2
    for padding, mode in (("symmetric", "symmetric"), ("paper", "zero")):
        sums = [(slow.smooth(m, window, mode) * area).round() for m in (a, b)]
        same(lens_spearman(*pair, window, padding), slow.spearman(*sums))
        same(lens_kendall(*pair, window, padding), slow.kendall(*sums))


@given(pairs(side=6))
def test_the_path_of_accelerators_gives_the_same(case):
    a, b, *_ = case
    pair = torch.tensor(a), torch.tensor(b)
    with values_cost_a_wait():
        same(kendall(*pair), slow.kendall(a, b))
        same(spearman(*pair), slow.spearman(a, b))


@given(st.permutations(range(11)), st.integers(0, 11))
def test_inversions(numbers, length):
    row = [n for n in numbers if n < length]
    expected = sum(x > y for x, y in itertools.combinations(row, 2))
    assert inversions(torch.tensor([row, row[::-1]], dtype=torch.int64)).tolist() == [
        expected,
        length * (length - 1) // 2 - expected,
    ]


def test_large_maps_equal_scipy():
    clean = torch.randn(2, 64, 64).abs()
    perturbed = clean + torch.randn(2, 64, 64)
    perturbed[1] = perturbed[1].round()
    found = [f(clean, perturbed) for f in (spearman, kendall, pearson)]
    found.append(tau_b(clean.flatten(1), perturbed.flatten(1)))
    for i in range(2):
        a, b = clean[i].flatten().numpy(), perturbed[i].flatten().numpy()
        reference = [f(a, b).statistic for f in (stats.spearmanr, stats.kendalltau, stats.pearsonr, stats.kendalltau)]
        assert [float(value[i]) for value in found] == pytest.approx(reference, abs=1e-6)
    columns = perturbed.flatten(1).T.double(), clean.flatten(1).T.double()
    assert torch.allclose(pearson(clean, perturbed), pearson_corrcoef(*columns).float())
    assert torch.allclose(spearman(clean, perturbed), spearman_corrcoef(*columns).float(), atol=1e-6)


def test_ties_whose_ranks_exceed_int32():
    """70,000 zeros in the middle: the sum of their ranks is above 2^31."""
    clean = torch.zeros(1, 70_600)
    clean[0, :300], clean[0, 300:600] = -1 - torch.rand(300), 1 + torch.rand(300)
    perturbed = clean + torch.randn_like(clean)
    expected = stats.spearmanr(clean[0], perturbed[0]).statistic
    assert float(spearman(clean, perturbed)) == pytest.approx(expected, abs=1e-6)
    assert abs(float(spearman_corrcoef(perturbed[0], clean[0])) - expected) > 0.01  # why it is our own


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_scale_does_not_matter(scale):
    clean, perturbed = torch.rand(2, 8, 8)
    for function in ALL:
        assert torch.allclose(function(clean * scale, perturbed), function(clean, perturbed), atol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.0])
def test_constant_maps(constant):
    maps = torch.rand(2, 11, 13, dtype=torch.float64)
    maps[0] = constant  # rounded, the mean of 143 times 0.1 is not 0.1
    other = torch.rand(2, 11, 13)
    for function in (spearman, kendall, pearson, lens_spearman, lens_kendall):
        assert function(maps, other).isnan().tolist() == [True, False]
        assert function(other, maps).isnan().tolist() == [True, False]
    for function in (cosine_similarity, centre_shift, l2_distance):
        assert function(maps, other).isnan().tolist() == [constant == 0, False]
    assert not ssim(maps, other).isnan().any()
    assert ssim(maps, maps).tolist() == pytest.approx([1, 1])


def test_windows_of_zeros_still_tie_after_smoothing():
    """A running sum would leave 1e-17 behind a bright pixel, and ranks would follow it."""
    clean = torch.zeros(24, 24)
    clean[2, :3] = torch.tensor([0.1, 0.7, 1e-9])
    smooth = smoothed_maps(clean, 2)
    assert (smooth == 0).sum() == 24 * 24 - 25
    running = ndimage.uniform_filter(clean.double().numpy(), 5, mode="reflect")
    assert (running == 0).sum() < (smooth == 0).sum()  # the trap is real
    assert np.allclose(smooth, running, atol=1e-15)


@pytest.mark.parametrize(("shape", "window"), [((1, 3), 1), ((4, 5), 2), ((6, 6), 3), ((2, 3), 7)])
def test_smoothing_contracts_but_not_with_means_over_the_inside(shape, window):
    basis = torch.eye(shape[0] * shape[1]).view(-1, *shape).double()
    norms = [torch.linalg.matrix_norm(smoothed_maps(basis, window, p).flatten(1), 2) for p in ("symmetric", "paper")]
    assert float(norms[0]) == pytest.approx(1)
    assert float(norms[1]) < 1
    if shape == (1, 3):
        inside = np.stack([slow.smooth(m, window, "inside").ravel() for m in basis.numpy()])
        assert np.linalg.norm(inside, 2) > 1.02


def test_zeros_outside_make_independent_maps_correlate():
    clean, perturbed = torch.randn(2, 40, 28, 28, generator=torch.Generator().manual_seed(0)).abs()
    assert lens_spearman(clean, perturbed, 2).mean().abs() < 0.05
    assert lens_spearman(clean, perturbed, 2, "paper").mean() > 0.3


def test_chance_levels_are_means_over_all_orders_of_the_pixels():
    clean, perturbed = torch.rand(2, 2, 3, dtype=torch.float64)
    shuffled = torch.stack([perturbed.flatten()[list(p)] for p in itertools.permutations(range(6))]).view(-1, 2, 3)
    many = clean.expand(shuffled.shape)
    for function in (spearman, kendall, pearson):
        assert float(function(many, shuffled).mean()) == pytest.approx(0, abs=1e-6)
    found = float(cosine_similarity(many, shuffled).mean())
    assert float(cosine_similarity(clean, perturbed, "chance")) == pytest.approx(found)
    score, chance, adjusted = (float(cosine_similarity(clean, perturbed, p)) for p in ("score", "chance", "adjusted"))
    assert adjusted == pytest.approx((score - chance) / (1 - chance), rel=1e-5)


@pytest.mark.parametrize("shape", [(6, 7), (14, 11)])
def test_ssim_equals_loops(shape):
    clean, perturbed = torch.randn(2, 3, *shape)
    perturbed = clean + 0.3 * perturbed
    expected = [slow.ssim(a, b) for a, b in zip(clean.double().numpy(), perturbed.double().numpy(), strict=True)]
    assert ssim(clean, perturbed).tolist() == pytest.approx(expected, abs=1e-5)
    with values_cost_a_wait():
        assert ssim(clean, perturbed).tolist() == pytest.approx(expected, abs=1e-6)
    assert ssim(clean[:1], perturbed[:1]).tolist() == pytest.approx(expected[:1], abs=1e-5)  # whatever else is there
    with pytest.raises(InputError, match="at least 6 x 6"):
        ssim(clean[:, :5], perturbed[:, :5])


@given(pairs(side=6))
def test_centre_and_distance(case):
    a, b, *_ = case
    pair = torch.tensor(a), torch.tensor(b)
    same(centre_shift(*pair), np.linalg.norm(slow.centre(a) - slow.centre(b)))
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        for scaling, order in (("sum", 1), ("norm", 2)):
            unit = [m / np.linalg.norm(m.ravel(), order) for m in (a, b)]
            same(l2_distance(*pair, scaling), np.linalg.norm(unit[0] - unit[1]))
    cosine = cosine_similarity(*pair)
    same(l2_distance(*pair) ** 2 if not cosine.isnan() else cosine, float(2 - 2 * cosine))


@pytest.mark.parametrize("function", ALL)
def test_shapes_types_and_refusals(function):
    clean, perturbed = torch.rand(2, 2, 3, 8, 7)
    values = function(clean, perturbed)
    assert values.shape == (2, 3)
    assert values.dtype == torch.float32
    assert torch.allclose(function(clean[1, 2], perturbed[1, 2]), values[1, 2], atol=1e-6)
    half = function(clean.half(), perturbed.bfloat16())
    assert torch.allclose(half, function(clean.half().double(), perturbed.bfloat16().double()), atol=1e-5)
    assert function(clean[:0], perturbed[:0]).shape == (0, 3)
    with pytest.raises(InputError, match="same shape"):
        function(clean, perturbed[..., :-1])
    with pytest.raises(InputError, match="NaN or infinite"):
        function(clean, perturbed * torch.inf)


def test_settings_that_do_not_exist():
    maps = torch.rand(4, 4)
    with pytest.raises(InputError, match="padding must be one of symmetric, paper, got 'zero'"):
        lens_spearman(maps, maps, 1, "zero")
    with pytest.raises(InputError, match="window must be"):
        lens_kendall(maps, maps, -1)
    with pytest.raises(InputError, match="scaling must be one of sum, norm"):
        l2_distance(maps, maps, "max")
    with pytest.raises(InputError, match="part must be one of score, chance, adjusted"):
        cosine_similarity(maps, maps, "null")
