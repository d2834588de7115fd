"""The bounds behind the overlap certificate, against brute force, and the settings that choose among them."""

import math

import attrs
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracles import overlap
from scipy.special import ndtri
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Attribution, Gradient, MaxLogitGradient, input_gradient
from lit_certattr.certificates import TopKOverlapCertificate, TopKOverlapResult
from lit_certattr.certificates.overlap_bounds import (
    displacement_radii_from_mass,
    overlap_radii,
    uncovered_sizes,
)
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, MapBlock, uniform_levels
from lit_certattr.statistics import shift

SHIFTS = st.sampled_from([0.0, 0.05, 0.2, 0.7])


def some_maps(num_samples=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.linspace(0, 1, 30).view(5, 6) + 0.2 * torch.randn(num_samples, 5, 6, generator=generator)


def certified(maps=None, batch=None, seed=0, **settings):
    maps = some_maps() if maps is None else maps
    certificate = TopKOverlapCertificate(**({"top_k": 10, "alpha": 0.05} | settings))
    accumulator = certificate.start(GaussianNoise(0.25), maps.shape[1:])
    batch = batch or len(maps)
    for start in range(0, len(maps), batch):
        block = maps[start : start + batch]
        accumulator.update(MapBlock(block, start, uniform_levels(seed, "image", start, len(block))))
    return accumulator.compute()


# One number ---------------------------------------------------------------------------------------------------------


def test_one_number_vector():
    assert float(shift(0.85, -0.2)) == pytest.approx(0.798544432394, abs=1e-12)
    assert int((displacement_radii_from_mass(0.85, 20, 1.0) > 0.2).sum()) == 12


@given(st.floats(0.01, 1), st.integers(1, 50), SHIFTS)
@settings(max_examples=200, deadline=None)
def test_one_number_is_the_rule(share, size, r):
    c = float(shift(share, -r))
    radii = displacement_radii_from_mass(share, size, 2.0)
    assert (np.diff(radii[np.isfinite(radii)]) >= 0).all()
    lost = 2 * size * (1 - c)
    assume(abs(lost - round(lost)) > 1e-6)
    assert int((radii > 2 * r).sum()) == max(0, size - math.floor(lost))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_one_number_holds_for_every_map_of_that_mass(data):
    """Mean masks with c K of their mass in S, worst ties: at least K - 2K(1-c) of S stay in the top K."""
    n = data.draw(st.integers(2, 9))
    size = data.draw(st.integers(1, n - 1))
    h = np.array(data.draw(st.lists(st.integers(0, 20), min_size=n, max_size=n))) / 20
    h *= min(1.0, size / max(h.sum(), 1e-9))
    inside = np.arange(n) < size
    c = h[inside].sum() / size
    kept = int((overlap.top_set(h + 1e-9 * ~inside, size) & inside).sum())
    assert kept >= size - math.floor(2 * size * (1 - c) + 1e-6)


def test_one_number_can_lose_what_it_says():
    """m outsiders level with m insiders at t: the bound is attained."""
    size, m = 4, 2
    h = np.r_[np.ones(2), np.full(2, 0.5), np.full(2, 0.5), np.zeros(2)]  # K - m ones, then m and m at t = 1/2
    c = h[:size].sum() / size
    assert size - math.floor(2 * size * (1 - c)) == size - m


# Bounds that may fail -----------------------------------------------------------------------------------------------


@given(st.integers(3, 9), st.integers(1, 3), st.data())
@settings(max_examples=300, deadline=None)
def test_changing_v_pixels_costs_at_most_v(n, v, data):
    value = st.integers(0, 8).map(lambda k: k / 8)
    size = data.draw(st.integers(1, n - 1))
    here, there = (np.array(data.draw(st.lists(value, min_size=n, max_size=n))) for _ in range(2))
    changed = np.array(data.draw(st.permutations(range(n)))[: min(v, n)])
    before = int((overlap.top_set(here, size) & overlap.top_set(there, size)).sum())
    for values in (here, there):
        values[changed] = data.draw(st.lists(value, min_size=len(changed), max_size=len(changed)))
    after = int((overlap.top_set(here, size) & overlap.top_set(there, size)).sum())
    assert after >= before - v


@given(st.integers(10, 200), st.booleans(), st.data())
@settings(max_examples=150, deadline=None)
def test_a_family_of_statements_is_the_best_of_its_members(n, fixed, data):
    """Against bounds through SciPy's beta and overlaps of all feasible top-K sets."""
    pixels = data.draw(st.integers(3, 8))
    size = data.draw(st.integers(1, pixels - 1))
    votes = np.array(data.draw(st.lists(st.integers(0, n), min_size=pixels, max_size=pixels)))
    inside = overlap.top_set(votes, size)
    family = data.draw(st.sampled_from([(0,), (0, 1), (1,)]).filter(lambda f: f[-1] < size))
    radii = overlap_radii(votes, inside, n, 0.5, 0.05, "clopper_pearson", fixed, family)
    for r in (0.0, 0.1, 0.4):
        best = max(0, 2 * size - pixels)
        for v in family:
            level = 0.05 * (v + 1) / (len(family) * (1 if fixed else 2) * pixels)
            lower, upper = overlap.exact_bounds(votes, n, level)
            boxes = overlap.shift(lower, -r), overlap.shift(upper, r)
            best = max(best, overlap.smallest_overlap(*boxes, inside) - v)
        assert np.isclose(radii, 0.5 * r, atol=1e-9).any() or int((radii > 0.5 * r).sum()) == best


def test_members_that_cannot_pay_are_left_out():
    assert uncovered_sizes((0, 0.01), 99) == (0,)
    assert uncovered_sizes((0, 0.01), 150) == (0,)  # one failure at half the level buys nothing
    assert uncovered_sizes((0, 0.01), 30105) == (0, 301)
    assert uncovered_sizes((0.01,), 30105) == (301,)


def test_large_maps_gain_from_failures():
    rng = np.random.default_rng(0)
    votes = rng.binomial(400, rng.beta(0.6, 1.4, 50_176))
    inside = overlap.top_set(votes, 10_000)
    plain, family = (overlap_radii(votes, inside, 400, 1.0, 0.001, uncovered=u) for u in ((0,), (0, 100)))
    at = [(int((plain > r).sum()), int((family > r).sum())) for r in (0.0, 0.1, 0.2)]
    assert all(more > some for some, more in at)


@pytest.mark.parametrize("kind", ["sparsified", "relaxed", "scaled", "quadratic"])
@pytest.mark.parametrize("num_selection", [0, 45])
def test_blocks_of_any_size_give_the_same_result(kind, num_selection):
    settings = {"map_kind": kind, "num_selection": num_selection}
    whole = certified(**settings)
    for batch in (1, 7, 64):
        parts = certified(batch=batch, **settings)
        assert torch.equal(parts.votes, whole.votes)
        assert torch.equal(parts.selection, whole.selection)
        assert torch.equal(parts.displacement, whole.displacement)
    assert whole.num_selection == num_selection
    assert int(whole.votes.max()) <= 300 - num_selection


def test_the_set_comes_from_the_selection_and_the_bounds_from_the_rest():
    maps = some_maps()
    result = certified(num_selection=100)
    first, rest = MapBlock(maps[:100]).votes(10), MapBlock(maps[100:]).votes(10)
    assert torch.equal(result.selection, first.int())
    assert torch.equal(result.votes, rest.int())
    inside = overlap.top_set(first.flatten().numpy(), 10)
    assert (result.inside.flatten().numpy() == inside).all()
    expected = overlap_radii(rest.numpy().ravel(), inside, 200, 0.25, 0.05, fixed_set=True)
    np.testing.assert_allclose(result.displacement, expected, rtol=1e-6)


def test_samples_fed_by_hand_are_counted_from_the_first():
    certificate = TopKOverlapCertificate(top_k=10, alpha=0.05, num_selection=100)
    accumulator = certificate.start(GaussianNoise(0.25), (5, 6))
    for block in some_maps().split(64):
        accumulator.update(block)
    assert torch.equal(accumulator.compute().displacement, certified(num_selection=100).displacement)


def test_one_number_uses_the_share_of_s():
    result = certified(bound="one_number", num_selection=50)
    assert 0 < result.overlap(0.0) < 10
    mean = float(result.votes[result.inside].sum()) / (10 * 250)
    assert result.displacement.max() < 0.25 * (ndtri(mean) - ndtri(0.5))


@pytest.mark.parametrize("kind", ["relaxed", "scaled", "quadratic"])
def test_votes_of_dithered_maps_estimate_the_smoothed_map(kind):
    maps = some_maps(5_000)
    block = MapBlock(maps)
    grid = (torch.arange(200) + 0.5) / 200
    exact = sum(MapBlock(maps, levels=u.expand(5_000)).level_masks(kind, 10, 1).float().mean(0) for u in grid[::4]) / 50
    share = certified(maps, map_kind=kind, saturation=1).votes / len(block)
    assert float((share - exact).abs().max()) < 0.04


@pytest.mark.parametrize(
    "settings",
    [
        {"map_kind": "relaxed"},
        {"map_kind": "quadratic", "num_selection": 20},
        {"num_selection": 20},
        {"bound": "one_number", "num_selection": 20},
        {"bound": "published_hoeffding"},
        {"uncovered": [0.2]},
    ],
)
def test_results_are_saved_and_re_derived(settings, tmp_path):
    result = certified(**settings)
    result.save(tmp_path / "one")
    loaded = TopKOverlapResult.load(tmp_path / "one")
    for one in (loaded, loaded.rederive()):
        assert torch.equal(one.displacement, result.displacement)
        assert torch.equal(one.inside, result.inside)
        assert one.statement() == result.statement()
    assert result.claims().keys() == result.upper_bounds(result, 0.01).keys()
    for name, upper in result.upper_bounds(result, 0.01).items():
        assert (result.claims()[name] < upper).all()  # its own samples do not contradict it


def test_altered_counts_are_refused():
    result = certified(num_selection=20)
    with pytest.raises(InputError, match="votes"):
        attrs.evolve(result, selection=result.votes).rederive()
    with pytest.raises(InputError, match="uncovered"):
        attrs.evolve(result, uncovered=(0, 10)).rederive()


@pytest.mark.parametrize("bound", ["clopper_pearson", "one_number"])
def test_the_smallest_sample_size_is_where_it_begins_to_work(bound):
    settings = {"top_k": 1, "alpha": 0.01, "bound": bound, "num_selection": 5}
    n = TopKOverlapCertificate(**settings).smallest_num_samples(6)
    pattern = torch.arange(6.0).view(1, 2, 3)
    assert certified(pattern.expand(n, 2, 3), **settings).overlap(0.0) == 1
    assert certified(pattern.expand(n - 1, 2, 3), **settings).overlap(0.0) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"map_kind": "cubic"}, "map_kind must be one of sparsified"),
        ({"num_selection": -1}, "num_selection"),
        ({"uncovered": []}, "uncovered"),
        ({"uncovered": [1.0]}, "uncovered"),
        ({"bound": "one_number"}, "set num_selection to at least 1"),
        ({"bound": "one_number", "num_selection": 9, "sparsity": 0.5}, "sparsified maps that keep K"),
        ({"bound": "one_number", "num_selection": 9, "map_kind": "scaled"}, "sparsified maps that keep K"),
        ({"bound": "published_hoeffding", "num_selection": 9}, "set num_selection to 0"),
        ({"bound": "published_hoeffding", "uncovered": [0.01]}, "uncovered has no meaning"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TopKOverlapCertificate(**settings)


def test_too_few_samples_and_too_much_saturation_are_named():
    with pytest.raises(InputError, match="leaves no samples of 300"):
        certified(num_selection=300)
    with pytest.raises(InputError, match="saturation=11"):
        certified(map_kind="relaxed", saturation=11)


# The whole pipeline -------------------------------------------------------------------------------------------------


class Unmerged(Attribution):
    """Scores of all channels side by side, as published: a map of C * H rows."""

    def __init__(self):
        super().__init__("sum_abs")

    def __call__(self, model, images, targets, create_graph=False):
        return input_gradient(model, images, targets, create_graph)[1].abs().flatten(1, 2)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Softplus(), nn.Linear(16, 3))


def run(attribution, image, **settings):
    certificate = TopKOverlapCertificate(top_k=0.25, alpha=0.05, **settings)
    certifier = Certifier(attribution, GaussianNoise(0.25), [certificate], 200, batch_size=64)
    return certifier(network(), image[None], ids=["image"])[0]["topk_overlap"]


def test_channels_can_stay_apart():
    result = run(Unmerged(), torch.rand(3, 4, 4), map_kind="quadratic")
    assert result.votes.shape == (12, 4)
    assert result.size == 12
    assert result.sampling["levels"].startswith("philox")


def test_a_dithered_run_does_not_depend_on_the_batch():
    image = torch.rand(3, 4, 4)
    certifiers = [
        Certifier(
            Gradient(), GaussianNoise(0.25), [TopKOverlapCertificate(0.25, 0.05, map_kind="scaled")], 200, batch_size=b
        )
        for b in (200, 23)
    ]
    one, other = (run(network(), image[None], ids=["x"])[0]["topk_overlap"] for run in certifiers)
    assert (one.votes - other.votes).abs().sum() <= 2  # rounding inside the network


def test_the_class_of_each_draw():
    model, image = network(), torch.rand(3, 4, 4)
    noisy = image + torch.randn(64, 3, 4, 4)
    classes = model(noisy).argmax(1)
    assert len(classes.unique()) > 1
    torch.testing.assert_close(MaxLogitGradient()(model, noisy, 0 * classes), Gradient()(model, noisy, classes))
    assert "predicted at each draw" in run(MaxLogitGradient(), image).statement()
    assert "predicted at each draw" not in run(Gradient(), image).statement()
