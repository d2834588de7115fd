"""Claims that would be certified although they are false, or that hide what they could not measure."""

import math

import attrs
import numpy as np
import pytest
import torch
from scipy.stats import beta, norm

from lit_certattr import Certifier
from lit_certattr.attribution import Gradient, RegionMap
from lit_certattr.certificates import Claim, ClaimCertificate, load_results, quantities_of, save_results
from lit_certattr.certificates.claim import shares_of
from lit_certattr.certificates.claim_quantity import MeanNumber
from lit_certattr.certificates.claim_result import mean_lower
from lit_certattr.errors import InputError
from lit_certattr.numbers import Box, CentreOfMass, EnergyInside, FunctionNumber, Gini, PointingGame
from lit_certattr.regions import Grid
from lit_certattr.settings.revived import UnknownClass, revived
from lit_certattr.smoothing import GaussianNoise, MapBlock, uniform_levels
from lit_certattr.statistics import clopper_pearson_lower, clopper_pearson_upper, shift

LEFT = Box(0, 0, 1, 0.5)
NOISE = GaussianNoise(0.5)


def two_pixels(left):
    """Maps of two pixels, the left of which holds these shares of the energy."""
    left = torch.as_tensor(left, dtype=torch.float64)
    return torch.stack([left, 1 - left], 1)[:, None]


def certified(maps, certificate, levels=None, share=1.0):
    accumulator = certificate.start(NOISE, tuple(maps.shape[1:]), share=share)
    accumulator.update(MapBlock(maps, 0, levels))
    return accumulator.result(share)


def first(maps):
    return maps[:, 0, 0]


# --- the theorem ------------------------------------------------------------------------------------------------------


def test_bounds_equal_the_definition_on_dithered_numbers():
    values, alpha = np.random.default_rng(1).beta(2, 5, 300), 0.1
    levels = uniform_levels(0, "image", 0, 300)
    claims = [Claim("energy", EnergyInside(LEFT))]
    result = certified(two_pixels(values), ClaimCertificate(claims, alpha, bound="clopper_pearson"), levels)
    k, n = int((values > levels.numpy()).sum()), 300
    assert float(result.lower[0]) == pytest.approx(beta.ppf(alpha / 2, k, n - k + 1), abs=1e-12)
    assert float(result.upper[0]) == pytest.approx(beta.isf(alpha / 2, k + 1, n - k), abs=1e-12)
    low, high = result.interval(0, 0.2)
    assert low == pytest.approx(norm.cdf(norm.ppf(float(result.lower[0])) - 0.2 / 0.5), abs=1e-12)
    assert high == pytest.approx(norm.cdf(norm.ppf(float(result.upper[0])) + 0.2 / 0.5), abs=1e-12)


@pytest.mark.parametrize("kind", ["continuous", "tied", "dithered"])
def test_no_more_than_alpha_of_the_intervals_miss_the_mean(kind):
    generator, alpha, repetitions, n = np.random.default_rng(2), 0.05, 2000, 100
    draws, mean = {
        "continuous": (lambda shape: generator.beta(2, 5, shape), 2 / 7),
        "tied": (lambda shape: generator.binomial(4, 0.3, shape) / 4, 0.3),
        "dithered": (lambda shape: generator.beta(2, 5, shape), 2 / 7),
    }[kind]
    values = draws((repetitions, n))
    if kind == "dithered":
        counts = (values > generator.random((repetitions, n))).sum(1)
        low, high = (bound(counts, n, alpha / 2) for bound in (clopper_pearson_lower, clopper_pearson_upper))
    else:
        one = torch.from_numpy(values)
        low = np.array([mean_lower(row, alpha / 2, "betting") for row in one])
        high = 1 - np.array([mean_lower(1 - row, alpha / 2, "betting") for row in one])
    misses = int(((low > mean) | (high < mean)).sum())
    assert misses <= 2000 * alpha + 3 * math.sqrt(2000 * alpha * (1 - alpha))
    assert float((high - low).mean()) < 0.6, "bounds that say nothing never err"


@pytest.mark.parametrize("start", [0.3, 0.0, -0.2])
def test_a_half_space_attains_the_interval(start):
    """The map of an image z in R^2 is z itself; the left pixel is the larger one on a half-space."""
    true = float(norm.cdf(math.sqrt(2) * start / 2 / NOISE.sigma))
    result = certified(two_pixels(torch.rand(50)), ClaimCertificate([Claim("left", PointingGame(LEFT))]))
    exact = torch.tensor([true], dtype=torch.float64)
    result = attrs.evolve(result, lower=exact, upper=exact)

    def mean_at(length):  # moving both pixels towards each other is the worst direction
        return float(norm.cdf((math.sqrt(2) * start / 2 - length) / NOISE.sigma))

    for radius in (0.1, 0.4, 1.0):
        low, high = result.interval(0, radius)
        assert low == pytest.approx(mean_at(radius), abs=1e-12)
        assert high == pytest.approx(mean_at(-radius), abs=1e-12)
    wanted = true / 2
    held = attrs.evolve(result, at_least=(wanted,))
    radius = held.radius(0)
    assert mean_at(0.999 * radius) >= wanted > mean_at(1.01 * radius)
    assert held.holds(0, radius)
    assert not held.holds(0, 1.01 * radius)


def test_samples_of_a_half_space_never_certify_more_than_is_true():
    generator = torch.Generator().manual_seed(0)
    certificate = ClaimCertificate([Claim("left", PointingGame(LEFT), at_least=0.5)], alpha=0.001)
    for n in (50, 400, 3000):
        noisy = torch.tensor([[0.6, 0.0]]) + NOISE.sigma * torch.randn(n, 2, generator=generator)
        result = certified(noisy[:, None], certificate)
        true = math.sqrt(2) * 0.3
        assert 0 < result.radius(0) < true
    assert result.radius(0) > 0.9 * true


def test_ten_samples_show_more_than_one_half():
    certificate = ClaimCertificate([Claim("left", PointingGame(LEFT))], alpha=0.002)
    assert certificate.smallest_num_samples(50176) == 10
    maps = two_pixels(torch.full((10,), 0.8))
    assert certified(maps, certificate).interval(0).low > 0.5
    assert certified(maps[:9], certificate).interval(0).low < 0.5


def test_betting_is_tighter_where_numbers_vary_little():
    values, levels = np.random.default_rng(0).beta(30, 20, 200), uniform_levels(0, "image", 0, 200)
    widths = []
    for bound in ("betting", "clopper_pearson"):
        certificate = ClaimCertificate([Claim("energy", EnergyInside(LEFT))], bound=bound)
        low, high = certified(two_pixels(values), certificate, levels).interval(0)
        widths.append(high - low)
    assert widths[0] < widths[1] / 2


# --- many claims ------------------------------------------------------------------------------------------------------


def test_alpha_is_shared_by_the_weights():
    maps = two_pixels(torch.rand(200, generator=torch.Generator().manual_seed(0)))
    alone = certified(maps, ClaimCertificate([Claim("a", EnergyInside(LEFT))], alpha=0.01))
    both = [Claim("a", EnergyInside(LEFT)), Claim("b", Gini(), weight=3)]
    together = certified(maps, ClaimCertificate(both, alpha=0.04))
    assert float(together.lower[0]) == float(alone.lower[0])
    assert float(together.upper[0]) == float(alone.upper[0])


@pytest.mark.parametrize("weights", [(1, 1, 1), (0.1,) * 10, (1e-9, 3.7, 0.3), (1 / 3, 1 / 7, 1e300)])
def test_shares_never_exceed_alpha(weights):
    shares = shares_of([Claim(str(index), Gini(), weight=weight) for index, weight in enumerate(weights)])
    assert math.fsum(shares) <= 1
    assert math.fsum(shares) == pytest.approx(1)


def test_a_claim_holds_is_not_shown_or_is_refuted():
    maps = two_pixels(torch.rand(300, generator=torch.Generator().manual_seed(0)).mul(0.1).add(0.7))
    claims = [
        Claim("true", EnergyInside(LEFT), at_least=0.6),
        Claim("too close", EnergyInside(LEFT), at_least=0.7499),
        Claim("false", EnergyInside(LEFT), at_least=0.9),
        Claim("not above", EnergyInside(LEFT), at_most=0.8),
        Claim("false from above", EnergyInside(LEFT), at_most=0.5),
        Claim("between", EnergyInside(LEFT), at_least=0.5, at_most=0.9),
        Claim("no bounds", EnergyInside(LEFT)),
    ]
    result = certified(maps, ClaimCertificate(claims))
    refuted = "refuted at the clean image"
    assert [result.verdict(index) for index in range(7)] == [
        "holds", "not shown", refuted, "holds", refuted, "holds", ""
    ]  # fmt: skip
    assert [result.radius(index) > 0 for index in range(7)] == [True, False, False, True, False, True, False]
    for index in (0, 3, 5):
        radius = result.radius(index)
        assert result.holds(index, radius)
        assert not result.holds(index, radius + 1e-6)
    assert result.certified_count(0.0) == (4, 7)
    text = result.statement()
    assert "the mean of the share" in text
    assert "that it is at least 0.9 is refuted at the clean image" in text
    assert "'true'" in text
    assert "over the noise" in text
    assert "is not shown" in result.statement(5.0)


# --- maps without a number --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoiled", [0.0, 1.0, torch.nan, torch.inf])
def test_maps_without_a_number_count_against_every_claim(spoiled):
    maps = two_pixels(torch.full((200,), 0.8))
    maps[:50] = spoiled
    result = certified(maps, ClaimCertificate([Claim("energy", EnergyInside(LEFT)), Claim("gini", Gini())]))
    for values, there in ((result.below, 0.0), (result.above, 1.0)):
        assert values[:, :50].eq(there).all()
    assert result.num_missing == (50, 50)
    low, high = result.interval(0)
    assert low < 0.6 + 1e-9
    assert high > 0.85 - 1e-9
    assert sum("50 of 200 noisy maps are constant or have no number" in flag for flag in result.flags) == 2
    assert result.num_invalid == (0 if math.isfinite(spoiled) else 50)
    assert result.rederive().flags == result.flags


def test_only_maps_without_a_number_certify_nothing():
    result = certified(torch.zeros(500, 1, 2), ClaimCertificate([Claim("left", PointingGame(LEFT), at_least=0.5)]))
    assert result.interval(0) == (0.0, 1.0)
    assert result.verdict(0) == "not shown"
    assert "Nothing is shown of it: no noisy map has this number" in result.statement()
    some = torch.zeros(500, 1, 2)
    some[0, 0, 0] = 1.0
    other = certified(some, ClaimCertificate([Claim("left", PointingGame(LEFT), at_least=0.5)]))
    assert "no noisy map has this number" not in other.statement()


# --- settings, files, attacks -----------------------------------------------------------------------------------------


def too_large(maps):
    return maps.amax((1, 2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ClaimCertificate([]), "at least one"),
        (lambda: ClaimCertificate([Claim("a", Gini()), Claim("a", Gini())]), "a name of its own"),
        (lambda: ClaimCertificate([Gini()]), "a claim must be a Claim"),
        (lambda: ClaimCertificate(Claim("a", Gini())), "claims must be a list"),
        (lambda: ClaimCertificate([Claim("a", CentreOfMass("row"))]), "has no range"),
        (lambda: ClaimCertificate([Claim("a", Gini(), at_least=1.0)]), "strictly between 0 and 1"),
        (lambda: ClaimCertificate(bound="hoeffding"), "bound must be one of"),
        (lambda: Claim("", Gini()), "a name of one line"),
        (lambda: Claim("a", "Gini"), "must be a Number"),
        (lambda: Claim("a", Gini(), at_least=0.5, at_most=0.4), "must not be above at_most"),
        (lambda: Claim("a", Gini(), weight=0), "weight must be a positive number"),
        (lambda: certified(torch.rand(50, 1, 1), ClaimCertificate()), "one value only"),
        (
            lambda: certified(two_pixels([0.1]), ClaimCertificate([Claim("a", PointingGame(Box(0, 0, 1, 0.1)))])),
            "holds no pixel",
        ),
        (
            lambda: certified(
                two_pixels([3.0]), ClaimCertificate([Claim("a", FunctionNumber(too_large, "the largest value"))])
            ),
            "outside its range of 0 to 1",
        ),
        (
            lambda: certified(two_pixels([0.3]), ClaimCertificate(bound="clopper_pearson")),
            "needs random levels",
        ),
    ],
)
def test_what_cannot_be_certified_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_another_range_scales_the_interval():
    maps = two_pixels(torch.rand(300, generator=torch.Generator().manual_seed(0)))
    one, two = (
        certified(maps, ClaimCertificate([Claim("a", FunctionNumber(first, "the left pixel", low, high))]))
        for low, high in ((0.0, 1.0), (-1.0, 3.0))
    )
    assert (one.interval(0, 0.1).low, one.interval(0, 0.1).high) == (
        float(shift(float(one.lower[0]), -0.2 * (1 + 1e-15))),
        float(shift(float(one.upper[0]), 0.2 * (1 + 1e-15))),
    )
    assert two.interval(0).low < 0.5 < two.interval(0).high
    assert -1 < two.interval(0, 2.0).low < -0.99


def test_the_order_and_size_of_blocks_change_nothing_and_a_file_gives_every_bit_back(tmp_path):
    maps = two_pixels(torch.rand(90, generator=torch.Generator().manual_seed(0)))
    maps[3] = 0
    certificate = ClaimCertificate([Claim("a", EnergyInside(LEFT), at_least=0.4), Claim("b", PointingGame(LEFT))])
    whole, parts = certified(maps, certificate), certificate.start(NOISE, (1, 2))
    for block in maps.split(7):
        parts.update(block)
    found = parts.compute()
    save_results(tmp_path / "file", {"claims": found})
    again = load_results(tmp_path / "file")["claims"]
    for one in (found, again, again.rederive()):
        for field in ("below", "above", "lower", "upper"):
            assert torch.equal(getattr(one, field), getattr(whole, field))
        assert one.statement() == whole.statement()


def test_an_altered_result_is_found():
    result = certified(two_pixels(torch.rand(90)), ClaimCertificate([Claim("a", EnergyInside(LEFT))]))
    raised = attrs.evolve(result, lower=result.lower + 0.1)
    assert not torch.equal(raised.rederive().lower, raised.lower)
    for change in ({"below": result.below + 2}, {"below": result.below * torch.nan}, {"num_invalid": 3}):
        with pytest.raises(InputError):
            attrs.evolve(result, **change).rederive()


def test_plain_settings_give_the_certificate_back_and_nothing_else():
    certificate = ClaimCertificate([Claim("a", EnergyInside(LEFT), at_least=0.4), Claim("b", Gini(), weight=2)])
    assert ClaimCertificate(**revived(certificate.settings())) == certificate
    with pytest.raises(UnknownClass, match="import the package"):
        revived({"class_path": "no.such.Thing", "init_args": {}})
    for path in ("subprocess.Popen", "builtins.eval", "lit_certattr.errors.InputError"):
        with pytest.raises(InputError, match="is no class of settings"):
            revived({"class_path": path, "init_args": {"args": "true"}})


def test_the_number_itself_is_attacked_in_both_directions():
    certificate = ClaimCertificate([Claim("a", EnergyInside(LEFT), at_least=0.4)])
    result = certified(two_pixels(torch.rand(200)), certificate)
    assert list(quantities_of(result, "claims")) == [], "of what numbers, a result without its settings does not say"
    result = attrs.evolve(result, sampling=certificate.conditions())
    below, above = quantities_of(result, "claims")
    assert below.certified(0.1) == pytest.approx(result.interval(0, 0.1).low)
    assert above.certified(0.1) == pytest.approx(1 - result.interval(0, 0.1).high)
    assert below.certified(below.reach()) == pytest.approx(below.certified(0) / 2)
    maps = torch.tensor([[[[3.0, 1.0]]], [[[0.0, 0.0]]]])
    assert below.objective(torch.device("cpu")).value(maps).item() == pytest.approx(-0.375)
    assert above.objective(torch.device("cpu")).value(maps).item() == pytest.approx(0.875)
    assert MeanNumber(Gini(), 1).surrogate(maps).isfinite()


@pytest.mark.parametrize("number", [EnergyInside(LEFT), PointingGame(LEFT), Gini()], ids=repr)
def test_a_box_means_nothing_where_pixels_are_regions(number):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2))
    method, certificate = RegionMap(Gradient(), Grid(2)), ClaimCertificate([Claim("mine", number)])
    certifier = Certifier(method, NOISE, [certificate], num_samples=50)
    if isinstance(number, Gini):
        assert certifier(network.eval(), torch.rand(1, 1, 4, 4))[0]["claims"].map_shape == (1, 4)
        return
    with pytest.raises(InputError, match=r"'mine'.*is about places in the image"):
        certifier(network.eval(), torch.rand(1, 1, 4, 4))


def test_shares_that_rounding_adds_up_to_more_than_one_are_made_smaller():
    generator, above = np.random.default_rng(0), 0
    for _ in range(500):
        weights = generator.uniform(0.1, 5, 6)
        above += math.fsum((weights / math.fsum(weights)).tolist()) > 1
        assert math.fsum(shares_of([Claim(str(n), Gini(), weight=w) for n, w in enumerate(weights.tolist())])) <= 1
    assert above > 0


@pytest.mark.parametrize("radius", [-1.0, math.nan, math.inf])
def test_no_interval_is_given_for_a_radius_that_is_none(radius):
    accumulator = ClaimCertificate([Claim("gini", Gini())], alpha=0.05).start(GaussianNoise(0.5), (2, 2))
    accumulator.update(torch.rand(64, 2, 2, generator=torch.Generator().manual_seed(0)))
    result = accumulator.compute()
    for ask in (result.interval, result.holds, result.says_something):
        with pytest.raises(InputError, match="radius must be a finite number of at least 0"):
            ask(0, radius)
