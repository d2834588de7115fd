"""Pairs of pixels that are tested jointly, against brute force over sets and over maps, and as a setting."""

import itertools

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import overlap
from scipy.stats import beta, norm

from lit_certattr.certificates import TopKOverlapCertificate, TopKOverlapResult, displacement_radii
from lit_certattr.certificates.pair_bounds import (
    ALPHA_OF_PAIRS,
    check_joint,
    choose_band,
    count_pairs,
    displacement_radii_with_pairs,
    pair_bounds,
    pair_radii,
)
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, MapBlock, top_k_mask, uniform_levels

UNIT = st.integers(0, 20).map(lambda k: k / 20)


def fewest_kept(table, radius, size):
    """Smallest overlap over all sets of K pixels in which no pair with a larger radius is the wrong way round."""
    insiders, outsiders = table.shape
    for missing in range(min(insiders, outsiders), 0, -1):
        for out in itertools.combinations(range(insiders), missing):
            for new in itertools.combinations(range(outsiders), missing):
                if (table[np.ix_(out, new)] <= radius).all():
                    return size - missing
    return size


def full_table(lower, upper, inside, band, pairs):
    table = pair_radii(lower[inside][:, None], upper[~inside][None], 1.0)
    rows = np.searchsorted(np.flatnonzero(inside), band[0])
    columns = np.searchsorted(np.flatnonzero(~inside), band[1])
    table[np.ix_(rows, columns)] = np.maximum(table[np.ix_(rows, columns)], pairs)
    return table


@st.composite
def problems(draw, largest=8):
    n = draw(st.integers(2, largest))
    size = draw(st.integers(1, n - 1))
    h = np.array(draw(st.lists(UNIT, min_size=n, max_size=n)))
    inside = overlap.top_set(h, size)
    lower = np.clip(h - np.array(draw(st.lists(UNIT, min_size=n, max_size=n))) / 4, 0, 1)
    upper = np.clip(h + np.array(draw(st.lists(UNIT, min_size=n, max_size=n))) / 4, 0, 1)
    first = np.sort(draw(st.permutations(np.flatnonzero(inside).tolist()))[: draw(st.integers(1, size))])
    second = np.sort(draw(st.permutations(np.flatnonzero(~inside).tolist()))[: draw(st.integers(1, n - size))])
    cell = st.sampled_from([-np.inf, 0.02, 0.1, 0.3, 0.6, 1.1])
    count = len(first) * len(second)
    pairs = np.array(draw(st.lists(cell, min_size=count, max_size=count))).reshape(len(first), len(second))
    return lower, upper, inside, (first, second), pairs


@given(problems(), st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]))
@settings(max_examples=400, deadline=None)
def test_no_feasible_set_keeps_less(problem, radius):
    lower, upper, inside, band, pairs = problem
    radii = displacement_radii_with_pairs(lower, upper, inside, 1.0, band, pairs)
    plain = displacement_radii(lower, upper, inside, 1.0)
    assert (radii >= plain).all()
    assert (radii[1:] >= radii[:-1]).all()
    size = int(inside.sum())
    assert int((radii > radius).sum()) <= fewest_kept(full_table(lower, upper, inside, band, pairs), radius, size)


@given(problems(), st.sampled_from([0.05, 0.2, 0.5]))
@settings(max_examples=200, deadline=None)
def test_without_certified_pairs_it_is_the_rule_of_single_pixels(problem, radius):
    lower, upper, inside, band, pairs = problem
    radii = displacement_radii_with_pairs(lower, upper, inside, 1.0, band, np.full_like(pairs, -np.inf))
    np.testing.assert_array_equal(radii, displacement_radii(lower, upper, inside, 1.0))


@given(problems(6), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_no_map_within_the_constraints_keeps_less(problem, seed):
    """Random maps in the boxes, each pixel moved to an end or in between, kept where all certified pairs hold."""
    lower, upper, inside, band, pairs = problem
    rng, size = np.random.default_rng(seed), int(inside.sum())
    radii = displacement_radii_with_pairs(lower, upper, inside, 1.0, band, pairs)
    for radius in (0.05, 0.3):
        low, high = overlap.shift(lower, -radius), overlap.shift(upper, radius)
        for _ in range(40):
            place = rng.choice([0.0, 1.0, rng.random()], size=inside.size)
            h = low + place * (high - low)
            # By more than the 1e-9 that lets outsiders win ties below.
            ordered = h[band[0]][:, None] > h[band[1]][None] + 1e-8
            if (ordered | (pairs <= radius)).all():
                kept = int((overlap.top_set(h + 1e-9 * ~inside, size) & inside).sum())
                assert kept >= int((radii > radius).sum())


def test_certified_pairs_are_worth_something():
    """Boxes that all overlap, all pairs certified: nothing can be displaced below their radius."""
    lower, upper, inside = np.full(6, 0.2), np.full(6, 0.8), np.arange(6) < 3
    band = np.arange(3), np.arange(3, 6)
    pairs = np.full((3, 3), 0.4)
    assert (displacement_radii(lower, upper, inside, 1.0) == -np.inf).all()
    assert displacement_radii_with_pairs(lower, upper, inside, 1.0, band, pairs).tolist() == [0.4] * 3
    pairs[0, 0] = -np.inf  # one pixel may be swapped, no more
    assert displacement_radii_with_pairs(lower, upper, inside, 1.0, band, pairs).tolist() == [-np.inf, 0.4, 0.4]


def test_a_small_band_in_a_large_map_is_the_full_computation():
    rng = np.random.default_rng(0)
    for _ in range(20):
        n, size, width = 60, 25, 4
        h = rng.beta(0.8, 1.5, n)
        inside = overlap.top_set(h, size)
        lower, upper = np.clip(h - 0.05 * rng.random(n), 0, 1), np.clip(h + 0.05 * rng.random(n), 0, 1)
        order = np.argsort(-h)
        band = order[size - width : size], order[size : size + width]
        pairs = pair_radii(lower[band[0]][:, None], upper[band[1]][None], 1.0) + rng.random((width, width))
        table = full_table(lower, upper, inside, (np.sort(band[0]), np.sort(band[1])), np.full((width, width), -np.inf))
        rows = np.searchsorted(np.flatnonzero(inside), band[0])
        columns = np.searchsorted(np.flatnonzero(~inside), band[1])
        table[np.ix_(rows, columns)] = np.maximum(table[np.ix_(rows, columns)], pairs)
        got = displacement_radii_with_pairs(lower, upper, inside, 1.0, band, pairs)
        for m in range(1, 2 * width + 1):
            by_row, by_column = np.sort(table, 1)[:, m - 1], np.sort(table, 0)[m - 1]
            expected = max(np.sort(by_row)[m - 1], np.sort(by_column)[m - 1])
            assert got[m - 1] == max(expected, got[m - 2] if m > 1 else -np.inf)


def test_vectors():
    """A pair that single means do not certify at half a sigma, and its joint counts do."""
    assert overlap.shift(0.20, -0.5) > overlap.shift(0.01, 0.5)
    assert overlap.shift(0.25, -0.5) < overlap.shift(0.06, 0.5)
    assert float(pair_radii(0.20, 0.01, 1.0)) > 0.5 > float(pair_radii(0.25, 0.06, 1.0))


def test_bounds_of_pairs_are_exact_binomial():
    joint = np.array([[30, 5], [0, 12]])
    lower, upper = pair_bounds(joint, np.array([80, 40]), np.array([35, 12]), 100, 0.05)
    level = 0.05 / 8
    for i, j in itertools.product(range(2), repeat=2):
        first, second = [80, 40][i] - joint[i, j], [35, 12][j] - joint[i, j]
        assert lower[i, j] == pytest.approx(beta.ppf(level, first, 101 - first), rel=1e-9)
        expected = beta.isf(level, second + 1, 100 - second)
        assert upper[i, j] == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(0, 5), min_size=3, max_size=12), st.data())
@settings(max_examples=100, deadline=None)
def test_the_band_surrounds_the_threshold(counts, data):
    selection, size = torch.tensor(counts), data.draw(st.integers(1, len(counts) - 1))
    width = data.draw(st.integers(1, len(counts)))
    first, second = choose_band(selection, size, width)
    inside = top_k_mask(selection.view(1, -1).float(), size)[0]
    assert inside[first].all()
    assert not inside[second].any()
    assert (len(first), len(second)) == (min(width, size), min(width, len(counts) - size))
    assert selection[first].max() <= selection[inside].max()
    others = [k for k in range(len(counts)) if inside[k] and k not in first.tolist()]
    assert all(selection[k] >= selection[first].max() for k in others)


def test_joint_counts_are_exact_whatever_the_precision():
    masks = torch.rand(3000, 7, generator=torch.Generator().manual_seed(0)) < 0.7
    expected = (masks[:, :3, None] & masks[:, None, 3:]).sum(0)
    assert torch.equal(count_pairs(masks[:, :3], masks[:, 3:]), expected.int())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(count_pairs(masks[:, :3], masks[:, 3:]), expected.int())


# The setting --------------------------------------------------------------------------------------------------------


def some_maps(num_samples=600, seed=0):
    generator = torch.Generator().manual_seed(seed)
    common = 0.5 * torch.randn(num_samples, 1, 1, generator=generator)
    noise = 0.25 * torch.randn(num_samples, 5, 6, generator=generator)
    return torch.linspace(0, 1, 30).view(5, 6) + common * torch.linspace(-1, 1, 5)[:, None] + noise


def certified(maps=None, batch=None, **settings):
    maps = some_maps() if maps is None else maps
    certificate = TopKOverlapCertificate(**({"top_k": 10, "alpha": 0.05, "num_selection": 100, "pairs": 6} | settings))
    accumulator = certificate.start(GaussianNoise(0.25), maps.shape[1:])
    batch = batch or len(maps)
    for start in range(0, len(maps), batch):
        block = maps[start : start + batch]
        accumulator.update(MapBlock(block, start, uniform_levels(0, "image", start, len(block))))
    return accumulator.compute()


@pytest.mark.parametrize("kind", ["sparsified", "scaled"])
def test_blocks_of_any_size_give_the_same_result(kind):
    whole = certified(map_kind=kind)
    for batch in (1, 7, 64, 100):
        part = certified(batch=batch, map_kind=kind)
        assert torch.equal(part.joint, whole.joint)
        assert torch.equal(part.displacement, whole.displacement)


def test_the_pairs_are_counted_on_the_samples_that_did_not_choose_them():
    maps = some_maps()
    result = certified(maps)
    masks = top_k_mask(maps, 10).flatten(1)
    first, second = choose_band(masks[:100].sum(0), 10, 6)
    assert torch.equal(result.joint, (masks[100:, first].double().T @ masks[100:, second].double()).int())
    assert result.joint.shape == (6, 6)


def test_radii_are_those_of_the_theorem_with_half_of_alpha_for_the_pairs():
    result = certified(uncovered=[0])
    votes, inside = result.votes.flatten().numpy(), result.inside.flatten().numpy()
    lower, upper = overlap.exact_bounds(votes, 500, 0.025 / 30)
    first, second = (side.numpy() for side in result.band())
    joint = result.joint.numpy()
    low, _ = overlap.exact_bounds(votes[first][:, None] - joint, 500, 0.025 / 72)
    _, high = overlap.exact_bounds(votes[second][None] - joint, 500, 0.025 / 72)
    with np.errstate(invalid="ignore"):
        pairs = np.where(low > high, 0.125 * (norm.ppf(low) - norm.ppf(high)), -np.inf)
    expected = displacement_radii_with_pairs(lower, upper, inside, 0.25, (first, second), pairs)
    np.testing.assert_allclose(result.displacement, expected, rtol=1e-6)


def test_pairs_enlarge_radii_where_pixels_are_chosen_together():
    maps = some_maps(4000)
    with_pairs, without = certified(maps, pairs=10), certified(maps, pairs=0)
    seen = (without.displacement > 0) & without.displacement.isfinite()
    gain = with_pairs.displacement[seen] / without.displacement[seen]
    assert gain.min() >= 1  # although half of alpha went to the pairs
    assert gain.max() > 1.15


def test_failing_pixels_cost_as_much_as_without_pairs():
    result, plain = certified(uncovered=[0.2]), certified(uncovered=[0])
    assert (result.displacement[:2] == -np.inf).all()
    assert plain.overlap(0.0) > 0
    assert result.uncovered == (2,)


@pytest.mark.parametrize("kind", ["sparsified", "scaled"])
def test_results_are_saved_and_re_derived(kind, tmp_path):
    result = certified(map_kind=kind)
    result.save(tmp_path / "one")
    loaded = TopKOverlapResult.load(tmp_path / "one")
    for one in (loaded, loaded.rederive()):
        assert torch.equal(one.displacement, result.displacement)
        assert torch.equal(one.joint, result.joint)


def test_altered_joint_counts_are_refused_or_seen():
    result = certified()
    for change in (result.joint + 500, result.joint - 500, result.joint[:-1]):
        with pytest.raises(InputError, match="joint count"):
            attrs.evolve(result, joint=change).rederive()
    lowered = attrs.evolve(result, joint=torch.where(result.joint > 5, result.joint - 5, result.joint))
    assert not torch.equal(lowered.rederive().displacement, result.displacement)


def test_fresh_noise_tests_the_pairs_that_it_has_in_common():
    result, fresh = certified(some_maps(4000)), certified(some_maps(4000, seed=1))
    claims, allowed = result.claims(), result.upper_bounds(fresh, 1e-3)
    assert claims.keys() == allowed.keys()
    alone = [name for name in claims if "alone" in name]
    assert len(alone) == 2
    common = np.prod(
        [np.isin(*(side.numpy() for side in sides)).sum() for sides in zip(result.band(), fresh.band(), strict=True)]
    )
    for name in alone:
        assert (claims[name] <= allowed[name]).all()
        assert int((allowed[name] < 1).sum()) == common > 0
    invented = attrs.evolve(result, joint=torch.zeros_like(result.joint))  # the outsiders are never chosen alone
    name = next(name for name in alone if "insider" in name)
    assert (invented.claims()[name] > allowed[name]).any()


def test_the_smallest_sample_size_is_where_it_begins_to_work():
    settings = {"top_k": 1, "alpha": 0.01, "num_selection": 5, "pairs": 2}
    n = TopKOverlapCertificate(**settings).smallest_num_samples(6)
    pattern = torch.arange(6.0).view(1, 2, 3)
    assert certified(pattern.expand(n, 2, 3), **settings).overlap(0.0) == 1
    assert certified(pattern.expand(n - 1, 2, 3), **settings).overlap(0.0) == 0


def test_a_second_image_has_pairs_of_its_own():
    certificate = TopKOverlapCertificate(10, 0.05, num_selection=100, pairs=6)
    accumulator = certificate.start(GaussianNoise(0.25), (5, 6))
    accumulator.update(some_maps())
    accumulator.reset()
    accumulator.update(some_maps().flip(2))
    assert torch.equal(accumulator.compute().joint, certified(some_maps().flip(2)).joint)


@pytest.mark.parametrize(
    "settings",
    [
        {"pairs": 5},
        {"pairs": -1, "num_selection": 9},
        {"pairs": 5, "num_selection": 9, "bound": "one_number"},
        {"pairs": 5, "num_selection": 9, "sync_on_compute": True},
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings):
    with pytest.raises(InputError, match="pairs must not be negative, and needs bound"):
        TopKOverlapCertificate(**settings)


def test_certificates_with_pairs_are_not_merged():
    certificate = TopKOverlapCertificate(num_selection=9, pairs=5)
    one, other = (certificate.start(GaussianNoise(0.25), (5, 6)) for _ in range(2))
    with pytest.raises(InputError, match="cannot merge: each certificate selected"):
        one.merge_state(other)


def test_the_bounds_of_pixels_and_of_pairs_share_alpha():
    """Each must err with its own part only; together they are all of it, and without pairs the pixels have it."""
    maps = torch.rand(300, 8, 8)
    parts = {}
    for pairs in (0, 4):
        accumulator = TopKOverlapCertificate(10, 0.05, num_selection=100, pairs=pairs).start(
            GaussianNoise(0.25), (8, 8)
        )
        accumulator.update(MapBlock(maps))
        parts[pairs] = accumulator.compute()
    assert parts[0].pixel_alpha == parts[0].spent_alpha
    assert parts[4].pixel_alpha + parts[4].spent_alpha * ALPHA_OF_PAIRS == pytest.approx(parts[4].spent_alpha)
    assert 0 < parts[4].pixel_alpha < parts[4].spent_alpha


def test_joint_counts_that_no_masks_can_give_are_refused():
    insiders, outsiders = torch.tensor([7]), torch.tensor([6])
    for possible in (3, 6):  # of 10 masks, at least 7 + 6 - 10 hold both pixels, and at most 6
        check_joint(torch.tensor([[possible]]), insiders, outsiders, 10)
    for impossible in (2, 7):
        with pytest.raises(InputError, match="larger than the count of a pixel, or too small"):
            check_joint(torch.tensor([[impossible]]), insiders, outsiders, 10)
