"""Holm's test over claims: bounds that are false too often, that disagree with the verdicts, or that gain nothing."""

import itertools
import math

import attrs
import numpy as np
import pytest
import torch
from scipy.stats import binom

from lit_certattr.certificates import Claim, ClaimCertificate, load_results, save_results
from lit_certattr.errors import InputError
from lit_certattr.numbers import FunctionNumber
from lit_certattr.smoothing import GaussianNoise, MapBlock
from lit_certattr.statistics import betting_lower, clopper_pearson_lower, shift, step_down_bounds

NOISE, RADIUS = GaussianNoise(0.5), 0.1


def pixel(index):
    return FunctionNumber(f"{__name__}.pixel_{index}", f"pixel {index}")


def pixel_0(maps):
    return maps[:, 0, 0]


def pixel_1(maps):
    return maps[:, 0, 1]


def pixel_2(maps):
    return maps[:, 0, 2]


def claims(at_least=(0.5, 0.5, 0.5), **settings):
    return [Claim(str(index), pixel(index), at_least=low, **settings) for index, low in enumerate(at_least)]


def result_of(values, asked, alpha=0.05, **settings):
    accumulator = ClaimCertificate(asked, alpha, **settings).start(NOISE, (1, 4))
    accumulator.update(torch.cat([torch.as_tensor(values), torch.full((len(values), 1), 9.0)], 1)[:, None])
    return accumulator.compute()


# --- the theorem ------------------------------------------------------------------------------------------------------


def holm(p_values, weights, alpha):
    """The definition (Holm, 1979), one hypothesis after the other."""
    rest, passed = set(range(len(p_values))), set()
    while rest:
        first = min(rest, key=lambda index: p_values[index] / weights[index])
        if p_values[first] > alpha * weights[first] / sum(weights[index] for index in rest):
            break
        passed.add(first)
        rest.remove(first)
    return passed


def test_what_passes_is_what_holm_rejects():
    generator, n = np.random.default_rng(0), 40
    sizes = set()
    for _ in range(300):
        weights, tau = generator.uniform(0.2, 1, 4), generator.uniform(0.3, 0.6, 4)
        counts = generator.binomial(n, (tau + generator.uniform(0, 0.35)).clip(0, 1))
        levels = 0.05 * weights / weights.sum()
        lower = [lambda level, k=k: float(clopper_pearson_lower(k, n, level)) for k in counts]
        bounds = step_down_bounds(lower, tau, levels)
        passed = holm(binom.sf(counts - 1, n, tau), weights, 0.05)
        assert passed == {index for index in range(4) if bounds[index] >= tau[index]}
        sizes.add(len(passed))
    assert sizes == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("truth", list(itertools.product([0.55, 0.62, 0.68, 0.9], repeat=2)))
def test_the_error_of_all_bounds_together_is_at_most_alpha(truth):
    """Summed over all counts of two independent means, not simulated; the thresholds are .6 and .65."""
    n, alpha, tau, levels = 30, 0.1, (0.6, 0.65), (0.07, 0.03)
    lower = [[float(clopper_pearson_lower(k, n, one)) for k in range(n + 1)] for one in (0.03, 0.07, 0.1)]
    tables = dict(zip((0.03, 0.07, 0.1), lower, strict=True))
    error = 0.0
    for k in itertools.product(range(n + 1), repeat=2):
        bounds = step_down_bounds(
            [lambda level, k=one: tables[min(tables, key=lambda known: abs(known - level))][k] for one in k],
            tau,
            levels,
        )
        if any(bound > mean for bound, mean in zip(bounds, truth, strict=True)):
            error += binom.pmf(k[0], n, truth[0]) * binom.pmf(k[1], n, truth[1])
    assert error <= alpha


def test_the_control_hands_on_too_much():
    """Bounds of the claims that passed that are not cut back to their thresholds are false more often than alpha."""
    generator, alpha, repetitions, errors = np.random.default_rng(0), 0.05, 4000, np.zeros(2)
    n, truth, tau = 200, np.array([0.9] * 5 + [0.6] * 5), 0.6001
    for _ in range(repetitions):
        counts = generator.binomial(n, truth)
        lower = [lambda level, k=k: float(clopper_pearson_lower(k, n, level)) for k in counts]
        bounds = np.array(step_down_bounds(lower, [tau] * 10, [alpha / 10] * 10))
        rest = max(1, int((bounds < tau).sum()))
        uncut = np.array([max(bound, one(alpha / rest)) for bound, one in zip(bounds, lower, strict=True)])
        errors += [(bounds > truth).any(), (uncut > truth).any()]
    limit = repetitions * alpha + 3 * math.sqrt(repetitions * alpha)
    assert errors[0] <= limit < errors[1]


@pytest.mark.parametrize("kind", [pytest.param("continuous", marks=pytest.mark.slow), "tied"])
def test_no_more_than_alpha_of_the_results_hold_a_false_bound(kind):
    generator, alpha, repetitions, n = np.random.default_rng(1), 0.05, 2000, 60
    true = np.array([0.55, 0.6, 0.75])
    asked = [float(shift(mean, -RADIUS / NOISE.sigma)) for mean in (0.55 + 1e-3, 0.6 + 1e-3, 0.6)]
    blank = result_of(torch.rand(n, 3), claims(asked), alpha, holm_radius=RADIUS)
    if kind == "tied":
        blank = attrs.evolve(blank, bound=("clopper_pearson",) * 3)
    errors = passed = 0
    for _ in range(repetitions):
        values = generator.beta(4 * true, 4 * (1 - true), (n, 3))
        if kind == "tied":
            values = (generator.random((n, 3)) < true).astype(float)
        one = torch.from_numpy(values.T.copy())
        found = attrs.evolve(blank, below=one, above=one).bounds()
        errors += bool((found["lower"].numpy() > true).any() or (found["upper"].numpy() < true).any())
        passed += float(found["lower"][2]) >= 0.6
    assert errors <= repetitions * alpha + 3 * math.sqrt(repetitions * alpha * (1 - alpha))
    assert passed > repetitions / 10, "claims that never pass hand nothing on"


def test_with_stakes_of_one_level_a_bound_never_falls_as_the_level_grows():
    generator = np.random.default_rng(0)
    for shape in ((2, 5), (30, 20), (0.3, 0.3)):
        values = generator.beta(*shape, 80)
        bounds = [betting_lower(values, level, stakes_level=0.001) for level in np.geomspace(1e-5, 0.5, 60)]
        assert (np.diff(bounds) >= 0).all()
        assert betting_lower(values, 0.001, stakes_level=0.001) == betting_lower(values, 0.001)


# --- in a result ------------------------------------------------------------------------------------------------------


def drawn(means, n=120, seed=0):
    return (np.random.default_rng(seed).random((n, len(means))) < np.array(means)).astype(float)


@pytest.mark.parametrize("bound", ["betting", "clopper_pearson"])
def test_one_claim_that_holds_helps_another(bound):
    values = drawn([0.95, 0.95, 0.735])
    if bound == "betting":
        values = values * 0.98 + 0.01
    levels = torch.zeros(len(values))  # numbers of 0 and 1 stay what they are

    def made(**settings):
        accumulator = ClaimCertificate(claims(), 0.05, bound, **settings).start(NOISE, (1, 4))
        maps = torch.cat([torch.as_tensor(values), torch.full((len(values), 1), 9.0)], 1)[:, None]
        accumulator.update(MapBlock(maps, 0, levels))
        return accumulator.compute()

    alone, together = made(), made(holm_radius=RADIUS)
    assert [alone.holds(index, RADIUS) for index in range(3)] == [True, True, False]
    assert float(together.lower[2]) > float(alone.lower[2])
    assert torch.equal(together.upper, alone.upper), "the side that nobody asks about keeps its share"


def test_a_claim_that_holds_is_cut_back_unless_all_hold():
    some = result_of(drawn([0.95, 0.95, 0.5]), claims(), holm_radius=RADIUS)
    assert [some.holds(index, RADIUS) for index in range(3)] == [True, True, False]
    assert [some.radius(index) for index in (0, 1)] == pytest.approx([RADIUS, RADIUS], abs=1e-9)
    every, alone = (result_of(drawn([0.95, 0.95, 0.9]), claims(), **one) for one in ({"holm_radius": RADIUS}, {}))
    assert [every.radius(index) for index in range(3)] == pytest.approx([alone.radius(index) for index in range(3)])
    assert min(every.radius(index) for index in range(3)) > RADIUS


@pytest.mark.parametrize("radius", [0.0123, 0.1, 0.37, 1.9])
def test_a_claim_that_passes_holds_at_the_radius_itself_for_both_sides(radius):
    asked = [
        Claim("0", pixel(0), at_least=0.05, at_most=0.999),
        Claim("1", pixel(1), at_most=0.97),
        Claim("2", FunctionNumber(pixel_2, "pixel 2", -3.0, 5.0), at_least=-2.9),
        Claim("free", FunctionNumber(pixel_1, "pixel 1")),
    ]
    result = result_of(drawn([0.5, 0.02, 0.9], n=400), asked, holm_radius=radius)
    for index in range(3):
        if result.lower[index] > 0 and result.holds(index, radius * 0.999):
            assert result.holds(index, radius)
    assert any(result.holds(index, radius) for index in range(3)) == (radius < 1)
    assert not result.has_bounds(3)


def test_the_setting_is_recorded_shown_and_audited(tmp_path):
    result = result_of(drawn([0.95, 0.95, 0.735]), claims(), holm_radius=RADIUS)
    save_results(tmp_path / "file", {"one": result})
    again = load_results(tmp_path / "file")["one"]
    assert again.holm_radius == RADIUS
    assert torch.equal(again.rederive().lower, result.lower)
    assert not torch.equal(attrs.evolve(again, holm_radius=math.inf).rederive().lower, result.lower)
    assert any("radius 0.1" in note for note in result.notes())
    assert result_of(drawn([0.9, 0.9, 0.9]), claims()).notes() == []


@pytest.mark.parametrize("radius", [0.0, -1.0, math.inf, math.nan])
def test_a_radius_that_is_none_is_refused(radius):
    with pytest.raises(InputError, match="holm_radius must be a positive number"):
        ClaimCertificate(claims(), holm_radius=radius)
