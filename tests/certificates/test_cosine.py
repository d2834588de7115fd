"""The cosine certificate: order of the samples, what is refused, what is recorded, and that it can be read back."""

import copy
import math
import pickle
import warnings

import attrs
import numpy as np
import processes
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest
from torch import nn

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient
from lit_certattr.certificates import CosineCertificate, CosineResult, load_results, save_results
from lit_certattr.certificates.cosine_bounds import cosine_bound, total_variation
from lit_certattr.certificates.cosine_result import bound_name, inner_product_upper_bound, norm_lower_bound
from lit_certattr.certificates.gaussian_cosine import gaussian_cosine_bound
from lit_certattr.certification import StoppingRule
from lit_certattr.errors import InputError
from lit_certattr.smoothing import GaussianNoise, MapBlock, UniformBallNoise, noisy_images
from lit_certattr.statistics import betting_lower, vector_margin

SHAPE, BALL = (4, 5), UniformBallNoise(0.25)


def some_maps(num_samples=300, noise=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.linspace(-1, 1, 20).view(SHAPE)
    return pattern + noise * torch.randn(num_samples, *SHAPE, generator=generator)


def started(noise=BALL, **options):
    return CosineCertificate(**{"alpha": 0.05, "num_selection": 32} | options).start(noise, SHAPE, 60)


def updated(*blocks, noise=BALL, **options):
    accumulator = started(noise, **options)
    for block in blocks:
        accumulator.update(block)
    return accumulator


def test_a_vector_from_samples_to_the_cosine():
    values = np.tile([0.9, 0.7, 0.95, 0.85], 64)
    norm = norm_lower_bound(values, 0.001, nonnegative=False)
    assert norm == pytest.approx(0.793023844, abs=1e-9)
    q = total_variation(BALL, 0.05, 3072)
    assert q == pytest.approx(0.0796363674, abs=1e-10)
    assert cosine_bound(norm, q, nonnegative=False) == pytest.approx(0.979623586, abs=1e-9)


def test_the_bound_follows_the_direction_rule_exactly():
    """The direction is the mean of the first 32 maps, then of the first 64, 128, 256: each sample is projected on
    one that it had no part in."""
    maps = some_maps()
    unit = maps.flatten(1).double()
    unit /= unit.norm(dim=1, keepdim=True)
    expected = []
    for index in range(32, 300):
        earlier = unit[: 32 * 2 ** int(math.log2(index // 32))].sum(0)
        expected.append(float(unit[index] @ earlier / earlier.norm()))
    result = updated(maps).compute()
    np.testing.assert_allclose(result.projections, expected, rtol=1e-12)
    np.testing.assert_allclose(result.mean.flatten(), unit.mean(0), rtol=1e-12)
    assert result.norm == norm_lower_bound(result.projections, 0.05, False)
    assert result.norm < float(result.mean.norm())


@pytest.mark.parametrize("size", [1, 7, 31, 32, 33, 200])
def test_blocks_may_straddle_the_selection(size):
    whole, parts = updated(some_maps()).compute(), updated(*some_maps().split(size)).compute()
    np.testing.assert_allclose(parts.projections, whole.projections, rtol=1e-12)
    assert parts.norm == pytest.approx(whole.norm, rel=1e-9)
    assert len(parts.projections) == 300 - 32
    np.testing.assert_allclose(parts.products, whole.products, rtol=1e-12)


@pytest.mark.parametrize("count", [33, 34])
def test_products_are_those_of_disjoint_pairs(count):
    maps = some_maps(count)
    unit = torch.nn.functional.normalize(maps.flatten(1).double(), dim=1)
    expected = [float(unit[i] @ unit[i + 1]) for i in range(0, count - 1, 2)]
    np.testing.assert_allclose(updated(maps).compute().products, expected, rtol=1e-12)


def test_the_length_of_a_map_does_not_matter():
    maps = some_maps()
    scale = torch.rand(300, 1, 1, generator=torch.Generator().manual_seed(1)) * 100 + 0.01
    np.testing.assert_allclose(updated(maps * scale).compute().projections, updated(maps).compute().projections, 1e-5)


def test_zero_maps_count_as_zero_and_are_flagged_and_constant_maps_are_maps():
    maps = some_maps()
    maps[40:50] = 0
    result = updated(maps).compute()
    assert (result.projections[8:18] == 0).all()
    assert result.num_zero == 10
    assert result.flags == ("10 of 300 noisy maps are zero; they count as zero",)
    assert updated(torch.ones(300, *SHAPE)).compute().norm > 0.9
    assert updated(torch.zeros(300, *SHAPE)).compute().norm == 0


def test_a_negative_value_is_refused_where_none_was_declared():
    maps = some_maps().abs()
    assert updated(maps, nonnegative=True).compute().bound == "nonnegative"
    maps[200, 3, 3] = -1e-6
    with pytest.raises(InputError, match="1 of 300 noisy maps have negative values; set nonnegative to false"):
        updated(maps, nonnegative=True).compute()
    assert updated(maps).compute().bound == "signed"


def test_a_method_with_negative_values_is_refused_before_sampling():
    drawn, network = [], nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.Tanh(), nn.Linear(2, 2)).eval()
    certifier = Certifier(Gradient("sum"), GaussianNoise(0.5), [CosineCertificate(nonnegative=True)], num_samples=2000)
    with pytest.raises(InputError, match="the map of image 0 has negative values; set nonnegative to false"):
        certifier(network, torch.rand(1, 1, 4, 4), on_block=drawn.append)
    assert drawn == []


def test_the_declaration_pays():
    maps = some_maps(noise=0.7).abs()
    signed, declared = updated(maps).compute(), updated(maps, nonnegative=True).compute()
    for radius in (0.01, 0.05, 0.1):
        assert declared.at(radius) > signed.at(radius)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_maps_that_are_not_finite_count_as_zero_and_are_flagged(value):
    maps, zero = some_maps(), some_maps()
    maps[100, 0, 0] = value
    zero[100] = 0
    found, expected = updated(maps).compute(), updated(zero).compute()
    assert (found.num_invalid, found.num_zero) == (1, 1)
    assert found.norm == expected.norm
    assert "1 of 300 noisy samples gave NaN or infinity; they vote for nothing" in found.flags
    assert found.rederive().flags == found.flags


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(InputError, match="num_selection must be at least 1, got 0"):
        CosineCertificate(num_selection=0)
    with pytest.raises(InputError, match="alpha must lie strictly between 0 and 1"):
        CosineCertificate(alpha=0)
    with pytest.raises(InputError, match=r"ball noise needs start\(noise, map_shape, dimension\)"):
        CosineCertificate().start(UniformBallNoise(0.25), SHAPE)
    with pytest.raises(InputError, match=r"maps of shape \(5, 4\), but started for \(4, 5\)"):
        started().update(some_maps().mT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics warns as well
        with pytest.raises(InputError, match="no samples"):
            started().compute()
    with pytest.raises(InputError, match="20 samples, but num_selection=32 of them only choose a direction"):
        updated(some_maps(20)).compute()


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_smallest_number_of_samples_is_exact(alpha, nonnegative):
    options = {"alpha": alpha, "nonnegative": nonnegative}
    least = CosineCertificate(num_selection=32, **options).smallest_num_samples(20)
    assert updated(torch.ones(least, *SHAPE), **options).compute().norm > 0
    assert updated(torch.ones(least - 1, *SHAPE), **options).compute().norm == 0


def test_reset_forgets_and_every_start_is_a_new_one():
    accumulator = updated(some_maps(seed=1))
    accumulator.reset()
    accumulator.update(some_maps())
    first = accumulator.compute()
    accumulator = accumulator.certificate.start(GaussianNoise(0.5), SHAPE)
    accumulator.update(some_maps())
    second = accumulator.compute()
    assert torch.equal(first.projections, updated(some_maps()).compute().projections)
    assert torch.equal(first.projections, second.projections)
    assert (first.noise, second.noise) == ("UniformBallNoise", "GaussianNoise")


def test_accumulators_can_be_copied_and_pickled_in_the_middle():
    accumulator = updated(some_maps()[:100])
    for twin in (copy.deepcopy(accumulator), pickle.loads(pickle.dumps(accumulator))):
        twin.update(some_maps()[100:])
        np.testing.assert_allclose(twin.compute().projections, updated(some_maps()).compute().projections, rtol=1e-12)


def test_streams_merge_with_a_direction_each():
    halves = some_maps()[:130], some_maps()[130:]
    alone = [updated(half).compute().projections for half in halves]
    first, second = (updated(half) for half in halves)
    first.merge_state(second)
    result = first.compute()
    assert result.num_samples == 300
    assert torch.equal(result.projections.sort().values, torch.cat(alone).sort().values)


PROGRAM = """
import sys, torch
from torch import distributed
from lit_certattr.certificates import CosineCertificate, save_results
from lit_certattr.smoothing import UniformBallNoise

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
maps = torch.load(f"{folder}/maps", weights_only=True)
certificate = CosineCertificate(alpha=0.05, num_selection=32, sync_on_compute=True)
accumulator = certificate.start(UniformBallNoise(0.25), (4, 5), 60)
for block in (maps[:130] if rank == 0 else maps[130:]).split(20):
    accumulator.update(block)
save_results(f"{folder}/rank{rank}", {"cosine": accumulator.compute()})
distributed.destroy_process_group()
"""


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_two_processes_have_a_direction_each(tmp_path):
    maps = some_maps()
    torch.save(maps, tmp_path / "maps")
    ended = processes.run(tmp_path, PROGRAM, (0, tmp_path), (1, tmp_path))
    assert [one.status for one in ended] == [0, 0], ended
    alone = [updated(*part.split(20)).compute().projections for part in (maps[:130], maps[130:])]
    for rank in (0, 1):
        result = load_results(tmp_path / f"rank{rank}")["cosine"]
        assert torch.equal(result.projections, torch.cat(alone))
        assert result.num_samples == 300
        assert result.norm == norm_lower_bound(result.projections, 0.05, False)


# The result.


@settings(max_examples=150, deadline=None)
@given(st.floats(0, 1), st.floats(0.01, 1), st.booleans(), st.sampled_from(["UniformBallNoise", "GaussianNoise"]))
def test_the_largest_radius_keeps_the_cosine(norm, cosine, nonnegative, noise):
    result = attrs.evolve(EXAMPLE, norm=norm, bound=bound_name(noise, nonnegative), noise=noise)
    radius = result.max_radius(cosine)
    assert radius == 0 or result.at(radius) >= cosine
    assert result.at(1.001 * radius + 1e-5) < cosine
    assert result.at(radius) >= result.at(radius + 0.01)


def test_gaussian_noise_has_a_bound_of_its_own_and_old_results_keep_theirs(tmp_path):
    for nonnegative, name in ((False, "gaussian_signed"), (True, "gaussian_nonnegative")):
        maps = some_maps().abs() if nonnegative else some_maps()
        new = updated(maps, noise=GaussianNoise(0.25), nonnegative=nonnegative).compute()
        assert (new.bound, new.nonnegative) == (name, nonnegative)
        assert new.at(0.1) == gaussian_cosine_bound(new.norm, 0.1 / 0.25 * (1 + 1e-15), nonnegative)
        old = attrs.evolve(new, bound=name.removeprefix("gaussian_"))  # as such results were written before
        q = total_variation(GaussianNoise(0.25), 0.1, 60)
        assert old.at(0.1) == cosine_bound(old.norm, q, nonnegative) <= new.at(0.1)
        assert old.max_radius(0.9) < new.max_radius(0.9)
        save_results(tmp_path / "old", {"cosine": old})
        again = load_results(tmp_path / "old")["cosine"].rederive()
        assert (again.bound, again.norm, again.max_radius(0.9)) == (old.bound, old.norm, old.max_radius(0.9))


def test_a_bound_is_refused_for_noise_that_it_is_not_proved_for(tmp_path):
    with pytest.raises(ValueError, match="bound gaussian_signed is not proved for UniformBallNoise"):
        attrs.evolve(EXAMPLE, bound="gaussian_signed")
    with pytest.raises(ValueError, match="bound must be one of"):
        attrs.evolve(EXAMPLE, bound="gaussian")
    save_results(tmp_path / "file", {"cosine": EXAMPLE})
    data = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(data.replace(b"signed", b"gaussian_signed", 1))
    with pytest.raises(InputError, match="not a file of certified results, or damaged"):
        load_results(tmp_path / "file")


EXAMPLE = updated(some_maps()).compute()


def test_the_smallest_sigma_is_the_fixed_point():
    """With the norm held fixed: at that sigma the cosine is certified at the radius, just below it is not."""
    sigma = EXAMPLE.min_sigma(0.9, 0.5)
    assert attrs.evolve(EXAMPLE, sigma=1.0001 * sigma).at(0.5) >= 0.9
    assert attrs.evolve(EXAMPLE, sigma=0.9999 * sigma).at(0.5) < 0.9
    assert attrs.evolve(EXAMPLE, norm=0.0).min_sigma(0.9, 0.5) == math.inf
    with pytest.raises(InputError, match="radius must be positive"):
        EXAMPLE.min_sigma(0.9, 0)


def test_the_displayed_maps():
    """A vector: ||mean|| = .85, q = .05, D = 2, e = e' = .1."""
    from lit_certattr.certificates.cosine_bounds import diameter_bound

    assert diameter_bound(0.85, 0.05 * 2 + 0.1 + 0.1, 1.0) == pytest.approx(0.935645513, abs=1e-9)
    many = updated(some_maps(4000)).compute()
    assert -1 < many.displayed(0.02) < many.at(0.02)
    assert many.displayed(0.02, num_samples=100_000) > many.displayed(0.02)
    assert many.displayed(0.3) == -1
    assert attrs.evolve(many, bound="nonnegative").displayed(3.0) == 0
    with pytest.raises(InputError, match="num_samples must be at least 1"):
        many.displayed(0.1, num_samples=0)


def test_a_result_is_read_back_bit_by_bit_and_rederived(tmp_path):
    save_results(tmp_path / "file", {"cosine": EXAMPLE})
    again = load_results(tmp_path / "file")["cosine"]
    assert isinstance(again, CosineResult)
    for field in attrs.fields(CosineResult):
        first, second = getattr(EXAMPLE, field.name), getattr(again, field.name)
        assert torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second
    assert again.rederive().norm == EXAMPLE.norm
    zeros = attrs.evolve(EXAMPLE, num_zero=3)
    assert zeros.rederive().flags == ("3 of 300 noisy maps are zero; they count as zero",)
    altered = attrs.evolve(EXAMPLE, norm=0.999)
    assert altered.rederive().norm == EXAMPLE.norm
    with pytest.raises(InputError, match="more projections than samples"):
        attrs.evolve(EXAMPLE, projections=torch.ones(1000, dtype=torch.float64)).rederive()
    with pytest.raises(InputError, match=r"projections must lie in \[-1, 1\]"):
        attrs.evolve(EXAMPLE, projections=EXAMPLE.projections + 1).rederive()


def test_the_statement_claims_no_more_than_is_proven():
    text = EXAMPLE.statement(0.1)
    assert f"at least {math.floor(EXAMPLE.at(0.1) * 1e4) / 1e4:g}" in text
    assert "at most 0.1," in text
    assert "With probability at least 0.95" in text
    assert "of any sign" in text
    shown = float(EXAMPLE.statement().split("norm at most ")[1].split(",")[0])
    assert EXAMPLE.max_radius(0.9) - 1e-4 < shown <= EXAMPLE.max_radius(0.9)
    assert "never negative" in attrs.evolve(EXAMPLE, bound="nonnegative").statement()


def test_the_figure_shows_the_curve():
    (axes,) = EXAMPLE.plot().axes
    radii, values = axes.lines[0].get_data()
    np.testing.assert_allclose(values, EXAMPLE.curve(radii.tolist()).clamp(min=0))
    assert values[0] == 1
    assert values[-1] == 0


# Samples.


def test_the_norm_is_covered():
    """Random unit maps around a pattern with a known mean; a bound without the betting argument fails at once."""
    rng, misses, naive, above, naive_above = np.random.default_rng(0), 0, 0, 0, 0
    for _ in range(200):
        side = rng.standard_normal((160, 19))
        side *= math.sqrt(1 - 0.4**2) / np.linalg.norm(side, axis=1, keepdims=True)
        maps = np.concatenate([np.full((160, 1), 0.4), side], 1).reshape(160, *SHAPE)
        maps *= 1 - 2 * (rng.random((160, 1, 1)) < 0.1)  # mean 0.8 * 0.4
        result = updated(torch.from_numpy(maps), num_selection=16).compute()
        misses += result.norm > 0.32
        naive += float(result.mean.norm()) > 0.32
        above += inner_product_upper_bound(result.products, 0.05, False) < 0.32**2
        naive_above += float(result.products.mean()) < 0.32**2
    assert above <= binom.ppf(0.999, 200, 0.05)
    assert naive_above > binom.ppf(0.999, 200, 0.05)  # the control: the mean of the products without its error
    assert misses <= binom.ppf(0.999, 200, 0.05)
    assert naive > 100  # the control: the norm of the sample mean is biased upwards


def test_the_ball_at_the_size_of_imagenet():
    """The share (rho / r)^d of the ball's volume within a sample's distance is uniform on [0, 1]."""
    noise, d = UniformBallNoise(0.25), 150528
    blocks = noisy_images(
        torch.full((3, 224, 224), 0.5, dtype=torch.float64), noise, image_id="a", num_samples=96, batch_size=32
    )
    volumes, variances = [], []
    for block in blocks:
        eta = block.flatten(1) - 0.5
        volumes.append((eta.norm(dim=1) / noise.ball_radius(d)) ** d)
        variances.append(eta.var(dim=1))
        assert eta.mean(1).abs().max() < 5 * 0.25 / math.sqrt(d)
    volume = torch.cat(volumes).numpy()
    assert volume.max() <= 1
    assert kstest(volume, "uniform").pvalue > 1e-4
    assert (volume * (1 + 1e-5) ** d).max() > 1  # the check would see a radius that is off by 1e-5
    np.testing.assert_allclose(torch.cat(variances).sqrt(), 0.25, rtol=0.02)


def test_the_whole_way_at_the_size_of_imagenet():
    class Curved(nn.Module):
        def forward(self, images):
            score = (images + 0.5 * images.square()).mean((1, 2, 3))
            return torch.stack([score, -score], 1)

    certificate = CosineCertificate(nonnegative=True, num_selection=8)
    certifier = Certifier(Gradient(), UniformBallNoise(0.25), [certificate], num_samples=40, batch_size=16)
    (results,) = certifier(Curved(), torch.full((1, 3, 224, 224), 0.5))
    result = results["cosine"]
    assert result.dimension == 150528
    assert result.mean.shape == (224, 224)
    assert result.sampling["num_selection"] == 8
    assert 0.3 < result.norm < 1
    assert 0.5 < result.at(0.05) < 1


def test_sampling_may_stop_early():
    """At every look the bound spends its share of alpha, so it is lower than that of a fixed number of samples."""
    accumulator = updated(some_maps())
    first, second = accumulator.compute(), accumulator.result(0.25)
    assert second.norm == norm_lower_bound(second.projections, 0.05 / 4, False) < first.norm
    assert second.rederive().norm == second.norm
    assert (second.alpha, second.spent_alpha) == (0.05, 0.0125)


class Enough(StoppingRule):
    def stop(self, looks):
        return looks[-1].results["cosine"].at(0.05) > 0.9


def test_a_stopping_rule_may_look_at_the_cosine():
    class Quadratic(nn.Module):
        def forward(self, images):
            score = (images.flatten(1) + 1).square().sum(1)
            return torch.stack([score, -score], 1)

    certificates = [CosineCertificate(nonnegative=True, num_selection=16)]
    certifier = Certifier(Gradient(), BALL, certificates, num_samples=4000, batch_size=64, stopping=[Enough()])
    (results,) = certifier(Quadratic(), torch.full((1, 1, 4, 4), 0.5))
    assert results["cosine"].num_samples < 4000
    assert results["cosine"].at(0.05) > 0.9
    assert results["cosine"].alpha_share < 1


def test_maps_are_not_ranked_for_a_cosine():
    block = MapBlock(some_maps(20))
    accumulator = started()
    accumulator.update(block)
    assert "_ranked" not in vars(block)
    invalid = some_maps(20)
    invalid[3, 0, 0], invalid[4, 1, 1], invalid[4, 1, 2] = float("nan"), float("inf"), -float("inf")
    unranked, ranked = MapBlock(invalid), MapBlock(invalid)
    ranked.votes(3)
    assert int(unranked.num_invalid) == int(ranked.num_invalid) == 2


def test_rounding_beyond_the_range_of_projections_and_products_is_cut_off():
    beyond, within = [1 + 1e-6, 0.9] * 100, [1.0, 0.9] * 100
    assert (
        norm_lower_bound(beyond, 0.01, True)
        == norm_lower_bound(within, 0.01, True)
        < norm_lower_bound([1] * 200, 0.01, True)
    )
    assert inner_product_upper_bound(beyond, 0.01, True) == inner_product_upper_bound(within, 0.01, True)
    assert norm_lower_bound([-1e-6, 0.9] * 100, 0.01, True) == norm_lower_bound([0.0, 0.9] * 100, 0.01, True)
    for function in (norm_lower_bound, inner_product_upper_bound):
        assert function(beyond, 0.01, False) == function(within, 0.01, False)
        negative = [-x for x in beyond] + within, [-x for x in within] + within
        assert function(negative[0], 0.01, False) == function(negative[1], 0.01, False)


def test_the_bounds_of_products_and_projections_are_one_bound_with_two_signs():
    for values in ([-0.9, -0.7] * 200, [-1.0] * 300):
        upper = inner_product_upper_bound(values, 0.01, False)
        assert upper == pytest.approx(-norm_lower_bound(np.negative(values), 0.01, False), abs=1e-12)
        assert upper == pytest.approx(1 - 2 * betting_lower((1 - np.array(values)) / 2, 0.01), abs=1e-12)
        assert np.mean(values) < upper < 0
    assert inner_product_upper_bound([0.3] * 400, 0.01, False) > inner_product_upper_bound([0.3] * 400, 0.01, True)


@pytest.mark.parametrize(("nonnegative", "diameter"), [(False, 2.0), (True, math.sqrt(2))])
def test_the_displayed_maps_add_the_errors_of_both_means(nonnegative, diameter):
    """Each mean errs by the margin of its samples, and the shift moves the expectation by q times the diameter."""
    result = attrs.evolve(updated(some_maps(4000)).compute(), bound="nonnegative" if nonnegative else "signed")
    moved = diameter * total_variation(result.law, 0.02, result.dimension)
    moved += vector_margin(4000, 0.05, diameter) + vector_margin(2500, 0.05, diameter)
    expected = math.sqrt(1 - (moved / float(result.mean.norm())) ** 2)
    assert result.displayed(0.02, num_samples=2500) == pytest.approx(expected, rel=1e-12)
