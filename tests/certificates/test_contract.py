"""What every certificate owes its user, whatever its theorem."""

import copy
import inspect
import pickle
import warnings
from functools import partial

import attrs
import pytest
import torch
from torchmetrics import MetricCollection

from lit_certattr.certificates import VoteCertificate
from lit_certattr.errors import InputError
from lit_certattr.settings.discovery import is_own, subclasses
from lit_certattr.smoothing import GaussianNoise, MapBlock, UniformBallNoise


def counting(kind):
    """A kind with the settings under which it counts masks, so that ties matter to it."""
    masks = {"scores": "uniform"}
    return partial(kind, **{name: masks[name] for name in masks.keys() & inspect.signature(kind).parameters.keys()})


KINDS = [kind for kind in subclasses(VoteCertificate) if is_own(kind)]
pytestmark = pytest.mark.parametrize("make", list(map(counting, KINDS)), ids=[kind.__name__ for kind in KINDS])


def some_maps(num_samples=300, seed=0):
    """Noisy maps with ties, so that every counter has something to count."""
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.linspace(-1, 1, 30).view(5, 6)
    maps = (pattern + 0.3 * torch.randn(num_samples, 5, 6, generator=generator)).round(decimals=1)
    maps[::50] = 1.0
    return maps


def started(make, **settings):
    return make(alpha=0.05, **settings).start(GaussianNoise(0.25), (5, 6))


def states(accumulator):
    return {name: getattr(accumulator, name).clone() for name in accumulator._defaults}


def assert_same_states(first, second):
    first, second = states(first), states(second)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def assert_equal(first, second):
    assert torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def updated(make, *blocks, **settings):
    accumulator = started(make, **settings)
    for block in blocks:
        accumulator.update(block)
    return accumulator


def test_blocks_of_any_size_give_the_same_counts(make):
    maps = some_maps()
    whole = updated(make, maps)
    assert int(whole.num_samples) == 300
    assert int(whole.num_constant) == 6
    assert int(whole.tied.sum()) > 0
    for size in (1, 7, 64):
        assert_same_states(updated(make, *maps.split(size)), whole)


def test_counts_are_integers(make):
    assert not any(state.is_floating_point() for state in states(started(make)).values())


def test_a_shared_block_equals_a_block_of_its_own(make):
    maps = some_maps()
    shared = MapBlock(maps)
    assert_same_states(updated(make, shared), updated(make, maps))


def test_the_tie_rule_reaches_the_masks(make):
    maps = torch.relu(some_maps(50))
    index, positive = updated(make, maps, ties="index"), updated(make, maps, ties="positive")
    assert int(positive.votes.sum()) <= int(index.votes.sum())
    assert_same_states(positive, updated(make, MapBlock(maps), ties="positive"))


def test_compute_without_samples_is_refused(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns as well
        with pytest.raises(InputError, match="no samples"):
            started(make).compute()
        with pytest.raises(InputError, match="no samples"):
            started(make).result(0.5)


def test_maps_of_another_shape_are_refused(make):
    with pytest.raises(InputError, match=r"maps of shape \(6, 5\), but started for \(5, 6\)"):
        started(make).update(some_maps().mT)


def test_what_is_no_map_and_what_is_no_share_is_refused_in_one_line(make):
    with pytest.raises(InputError, match=r"maps must be a Tensor, e\.g\. a tensor \[b, H, W\], got \[\[1\.0\]\]"):
        started(make).update([[1.0]])
    with pytest.raises(InputError, match="share must be a number, got 'half'"):
        started(make).result("half")


def test_a_noise_law_without_theorem_is_refused(make):
    with pytest.raises(InputError, match=r"is proved for GaussianNoise or DiscreteGaussianNoise( or \w+)*, not for U"):
        make().start(UniformBallNoise(0.25), (5, 6))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_maps_that_are_not_finite_never_vote_and_are_flagged(make, value):
    """They count as samples, so they lower every bound: exactly what a constant map in their place gives."""
    maps = some_maps()
    constant = maps.clone()
    maps[3, 2, 1] = value
    constant[3] = 0.5
    found, expected = updated(make, maps).compute(), updated(make, constant).compute()
    assert found.num_invalid == 1
    assert found.flags[0] == "1 of 300 noisy samples gave NaN or infinity; they vote for nothing"
    assert "6 of 300 noisy maps are constant; they vote for nothing" in found.flags
    for field in attrs.fields(type(found)):
        if field.name not in ("num_invalid", "flags"):
            assert_equal(getattr(found, field.name), getattr(expected, field.name))
    assert found.rederive().flags == found.flags


def test_when_no_map_is_finite_nothing_is_certified(make):
    result = updated(make, torch.full_like(some_maps(), torch.nan)).compute()
    assert result.num_invalid == 300
    assert result.certified_count()[0] == 0


def test_reset_forgets_and_every_start_is_a_new_one(make):
    accumulator = updated(make, some_maps())
    accumulator.reset()
    assert_same_states(accumulator, started(make))
    accumulator.update(some_maps(40, seed=1))
    again = accumulator.certificate.start(GaussianNoise(0.5), (5, 6))
    assert_same_states(again, started(make))
    assert int(accumulator.num_samples) == 40


def test_a_second_image_does_not_see_the_first(make):
    accumulator = updated(make, some_maps())
    first = accumulator.compute()
    votes = first.votes.clone()
    accumulator.reset()
    accumulator.update(some_maps(200, seed=1))
    second = accumulator.compute()
    assert torch.equal(first.votes, votes)
    assert torch.equal(second.votes, updated(make, some_maps(200, seed=1)).compute().votes)
    assert (first.num_samples, second.num_samples) == (300, 200)


def test_counts_that_were_summed_over_processes_give_the_same_result(make):
    """torchmetrics adds states with torch.sum, which turns int32 into int64."""
    accumulator = updated(make, some_maps())
    expected = accumulator.compute()
    accumulator.votes = torch.stack([accumulator.votes, torch.zeros_like(accumulator.votes)]).sum(0)
    accumulator._computed = None
    result = accumulator.compute()
    assert result.votes.dtype == expected.votes.dtype == torch.int32
    assert torch.equal(result.votes, expected.votes)


def test_a_result_does_not_change_with_later_samples(make):
    accumulator = updated(make, some_maps())
    result = accumulator.compute()
    votes = result.votes.clone()
    accumulator.update(some_maps(100, seed=1))
    assert torch.equal(result.votes, votes)


def test_two_half_streams_merge_into_one(make):
    maps = some_maps()
    whole, half, rest = updated(make, maps), updated(make, maps[:130]), updated(make, maps[130:])
    half.merge_state(rest)
    assert_same_states(half, whole)
    assert half.compute().statement(0.05) == whole.compute().statement(0.05)


def test_states_are_summed_over_processes_only_if_asked(make):
    accumulator = started(make)
    assert {reduction.__name__ for reduction in accumulator._reductions.values()} == {"dim_zero_sum"}
    assert not accumulator.sync_on_compute
    assert started(make, sync_on_compute=True).sync_on_compute


def test_accumulators_can_be_copied_and_pickled(make):
    accumulator = updated(make, some_maps())
    for twin in (copy.deepcopy(accumulator), pickle.loads(pickle.dumps(accumulator)), accumulator.clone()):
        assert_same_states(twin, accumulator)
        assert twin.compute().statement() == accumulator.compute().statement()


def test_alpha_and_sigma_and_law_are_recorded(make):
    result = updated(make, some_maps()).compute()
    assert (result.alpha, result.sigma, result.noise, result.num_samples) == (0.05, 0.25, "GaussianNoise", 300)


def test_members_of_a_collection_do_not_merge(make):
    """Two accumulators whose counts agree on the first batch may not become one."""
    maps = some_maps()
    together = MetricCollection({"a": started(make), "b": started(make)}, compute_groups=False)
    together.update(maps[:50])
    together["b"].update(maps[50:100])
    assert int(together["a"].num_samples) == 50
    assert int(together["b"].num_samples) == 100
