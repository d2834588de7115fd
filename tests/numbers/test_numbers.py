"""Numbers of maps that would say something of a map that has none, look at other maps, or count the wrong pixels."""

import math

import numpy as np
import pytest
import torch

from lit_certattr.errors import InputError
from lit_certattr.numbers import (
    Box,
    CentreOfMass,
    EnergyInside,
    Entropy,
    FunctionNumber,
    Gini,
    GridShare,
    LENSTo,
    MoreThan,
    Number,
    OverlapWith,
    PointingGame,
    TopKInside,
    gini,
)
from lit_certattr.numbers.gini import gini_index
from lit_certattr.settings.discovery import is_own, subclasses
from lit_certattr.smoothing import MapBlock

LEFT, RIGHT = Box(0, 0, 1, 0.5), Box(0, 0.5, 1, 1)
REFERENCE = np.random.default_rng(0).random((6, 8)).tolist()


def mean_of(maps):
    return maps.mean((1, 2))


def flat(maps):
    return maps.flatten()


def imaginary(maps):
    return maps.mean((1, 2)) + 1j


NUMBERS = [
    EnergyInside(LEFT),
    EnergyInside(LEFT, sign="absolute"),
    PointingGame(LEFT),
    TopKInside(LEFT, top_k=0.25),
    MoreThan(LEFT, RIGHT),
    GridShare(cell=2),
    OverlapWith(REFERENCE, top_k=0.25),
    LENSTo(REFERENCE, top_k=5, window=1),
    Gini(),
    Entropy(),
    CentreOfMass("row"),
    CentreOfMass("column"),
    FunctionNumber(mean_of, "the mean of the map", None, None),
]
every = pytest.mark.parametrize("number", NUMBERS, ids=repr)


def maps(count=20):
    return torch.randn(count, 6, 8, generator=torch.Generator().manual_seed(0))


def test_every_number_of_the_package_is_tested():
    assert {type(number) for number in NUMBERS} == {kind for kind in subclasses(Number) if is_own(kind)}


@every
def test_a_map_is_measured_alone_and_within_the_range(number):
    number.check((6, 8))
    found = number(maps())
    assert found.shape == (20,)
    assert torch.equal(found, torch.cat([number(one[None]) for one in maps()]))
    if number.low is not None:
        assert number.low <= float(found.min()) <= float(found.max()) <= number.high
    if number.binary:
        assert set(found.tolist()) <= {0.0, 1.0}
    assert number.in_words()
    assert len(set(found.tolist())) > 1


@every
@pytest.mark.parametrize("value", [0.0, 2.0, torch.nan, torch.inf, -torch.inf])
def test_a_map_without_a_number_is_nan_and_spoils_no_other(number, value):
    mixed = maps(3)
    mixed[1] = value
    if value != value or value in (torch.inf, -torch.inf):
        mixed[1] = 1.0
        mixed[1, 2, 3] = value
    found = number(mixed)
    assert torch.isnan(found).tolist() == [False, True, False]
    assert torch.equal(found[[0, 2]], number(maps(3))[[0, 2]])


@every
def test_what_an_attack_follows_has_a_gradient_that_is_finite(number):
    point = maps(4).requires_grad_()
    (gradient,) = torch.autograd.grad(number.soft(point).sum(), point)
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient != 0).any())


def test_maps_without_positive_values_have_no_energy():
    negative = -maps(2).abs()
    assert torch.isnan(EnergyInside(LEFT)(negative)).all()
    assert torch.isfinite(EnergyInside(LEFT, sign="absolute")(negative)).all()


def test_values_that_can_be_counted_by_hand():
    one = torch.tensor([[[4.0, 1.0, -2.0, 1.0], [0.0, 0.0, 0.0, 0.0]]])
    assert EnergyInside(LEFT)(one).item() == pytest.approx(5 / 6)
    assert EnergyInside(LEFT, "absolute")(one).item() == pytest.approx(5 / 8)
    assert TopKInside(LEFT, 3)(one).item() == pytest.approx(2 / 3)
    assert MoreThan(RIGHT, LEFT)(one).item() == 0
    assert MoreThan(LEFT, RIGHT)(torch.ones(1, 1, 4)).isnan().item()
    assert MoreThan(LEFT, RIGHT)(torch.tensor([[[1.0, 2.0, 2.0, 1.0]]])).item() == 0
    assert CentreOfMass("column")(one).item() == pytest.approx((0 * 4 + 1 * 1 + 2 * 2 + 3 * 1) / 8)
    assert Gini()(torch.tensor([[[1.0, 3.0]]])).item() == pytest.approx(0.25)
    assert OverlapWith([[4, 3, 2, 1], [0, 0, 0, 0]], 2)(one).item() == 1


def test_pixels_belong_to_the_box_of_their_centre():
    assert Box(0.25, 0, 0.75, 1).mask((4, 1)).flatten().tolist() == [False, True, True, False]
    halves = [box.mask((5, 7)) for box in (LEFT, RIGHT)]
    assert bool((halves[0] ^ halves[1]).all()), "two halves are a partition, whatever the size"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Box(0.5, 0, 0.5, 1), "a box needs"),
        (lambda: Box(0, 0, 2, 1), "a box needs"),
        (lambda: Box(0, float("nan"), 1, 1), "a box needs"),
        (lambda: EnergyInside("left"), "mask must be a Box"),
        (lambda: EnergyInside(LEFT, sign="both"), "sign must be positive or absolute"),
        (lambda: EnergyInside(Box(0, 0, 0.01, 1)).check((6, 8)), "holds no pixel of a map of 6 x 8"),
        (lambda: TopKInside(Box(0, 0, 0.2, 0.2), 20).check((6, 8)), "K of 20 pixels, but the mask has"),
        (lambda: CentreOfMass("diagonal"), "axis must be row or column"),
        (lambda: OverlapWith([[1, 1], [1, 1]], 1), "not all equal"),
        (lambda: OverlapWith("nowhere.npy", 1), "no such file"),
        (lambda: OverlapWith([[1, 2], [3]], 1), "not a map of numbers"),
        (lambda: OverlapWith([[1, 2]], 1).check((6, 8)), "give a reference of their size"),
        (lambda: LENSTo(REFERENCE, 1, window=-1), "window must be at least 0"),
        (lambda: LENSTo(REFERENCE, 1, window=10**9).check((6, 8)), "reaches over the whole map of 6 x 8"),
        (lambda: LENSTo(REFERENCE, 40, window=3).check((6, 8)), "cover the whole map"),
        (lambda: EnergyInside(Box(0, 0, 1, 1)).check((6, 8)), "holds all pixels of a map of 6 x 8"),
        (lambda: PointingGame(Box(0, 0, 1, 1)).check((6, 8)), "holds all pixels of a map of 6 x 8"),
        (lambda: TopKInside(Box(0, 0, 1, 1), 2).check((6, 8)), "holds all pixels of a map of 6 x 8"),
        (lambda: MoreThan(LEFT, Box(0, 0, 1, 0.5)), "more and less are both Box"),
        (lambda: MoreThan(LEFT, Box(0, 0, 1, 0.51)).check((6, 8)), "the same pixels of a map of 6 x 8"),
        (lambda: FunctionNumber(imaginary, "mean").check((6, 8)), "gives complex numbers"),
        (lambda: FunctionNumber(mean_of, "mean", "0", 1), "range_low must be a number"),
        (lambda: FunctionNumber(mean_of, ""), "name must be one line"),
        (lambda: FunctionNumber(mean_of, "a\nb"), "name must be one line"),
        (lambda: FunctionNumber(mean_of, "mean", 1.0, 0.0), "range_low must be below range_high"),
        (lambda: FunctionNumber(mean_of, "mean", 1.0, None), "give both"),
        (lambda: FunctionNumber(mean_of, "mean", -1.5e308, 1.5e308), "too wide for a float"),
        (lambda: FunctionNumber("no.such", "mean"), "import your module that defines it first"),
        (lambda: FunctionNumber("os.remove", "mean"), "import your module that defines it first"),
        (lambda: FunctionNumber("torch.serialization.load", "mean"), "import your module that defines it first"),
        (lambda: FunctionNumber(lambda one: one, "mean"), "def at the top of a module"),
        (lambda: FunctionNumber(flat, "flat")(maps(2)), "one number for each map"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_a_reference_can_be_a_file_and_its_content_is_named(tmp_path):
    np.save(tmp_path / "reference.npy", np.asarray(REFERENCE))
    from_file, from_rows = (OverlapWith(one, 0.25) for one in (tmp_path / "reference.npy", REFERENCE))
    assert torch.equal(from_file(maps()), from_rows(maps()))
    assert from_file.in_words() == from_rows.in_words()
    np.save(tmp_path / "reference.npy", np.asarray(REFERENCE)[::-1])
    assert OverlapWith(tmp_path / "reference.npy", 0.25).in_words() != from_rows.in_words()


def test_a_function_comes_back_from_its_path_once_its_module_is_imported():
    number = FunctionNumber(mean_of, "the mean of the map", None, None)
    again = FunctionNumber(**number.settings())
    assert torch.equal(again(maps()), number(maps()))


@every
def test_a_map_without_a_number_changes_no_other(number):
    """Where all maps have a number a shorter way is taken."""
    spoiled = torch.cat([maps(5), torch.zeros(1, 6, 8)])
    torch.testing.assert_close(number(spoiled)[:5], number(maps(5)))
    assert number(spoiled)[5].isnan()


@pytest.mark.parametrize("number", [Gini(), Entropy(), EnergyInside(LEFT)], ids=repr)
def test_maps_of_few_bits_are_summed_with_more(number):
    coarse = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(number(coarse), number(coarse.float()))
    assert number(coarse).dtype == torch.float32


def test_the_gini_index_has_a_gradient_and_the_same_value_with_it():
    values = maps(4)
    with_graph = Gini()(values.clone().requires_grad_())
    assert with_graph.requires_grad
    torch.testing.assert_close(with_graph.detach(), Gini()(values))


LARGE_MAPS = {
    "normal": lambda: torch.randn(3, 100, 100),
    "heavy tails": lambda: torch.randn(3, 100, 100).exp(),
    "very heavy tails": lambda: torch.randn(3, 100, 100).exp() ** 3,
    "one pixel alone": lambda: torch.zeros(3, 100, 100).index_fill(2, torch.tensor(7), 1.0) * torch.eye(100),
    "few values": lambda: torch.randn(3, 100, 100).round(),
    "all alike": lambda: torch.ones(3, 100, 100),
    "nearly all alike": lambda: 1 + 1e-4 * torch.rand(3, 100, 100),
    "small beside one large": lambda: torch.rand(3, 100, 100).index_fill(2, torch.tensor(7), 1e6),
    "denormal": lambda: 1e-40 * torch.rand(3, 100, 100),
}


@pytest.mark.parametrize("name", LARGE_MAPS)
def test_the_gini_index_of_a_large_map_is_exact_whether_it_is_sorted_or_not(name, monkeypatch):
    torch.manual_seed(0)
    values = LARGE_MAPS[name]()
    rows = values.abs().flatten(1)
    exact = gini_index(rows.double())  # float64 is always sorted
    for row, expected in zip(rows, exact, strict=True):
        found, error = gini._by_bins(row.numpy())
        assert abs(found - expected) <= error + 1e-7
    sorts = []
    monkeypatch.setattr(gini, "rank", lambda flat: sorts.append(flat) or flat.sort(dim=1).values)
    torch.testing.assert_close(gini_index(rows), exact.float(), rtol=0, atol=1e-6)
    assert len(sorts) == (0 if name in ("normal", "heavy tails", "denormal") else 3)
    block = MapBlock(values)
    assert torch.equal(Gini().of_block(block)[block.varies], gini_index(rows)[block.varies])


def test_the_gini_index_of_a_large_map_without_a_number():
    values = torch.rand(3, 100, 100)
    values[0], values[1, 5, 5] = 0, math.nan
    assert torch.isnan(Gini()(values)).tolist() == [True, True, False]


def among_others(maps):
    return maps.flatten(1).sum(1) / maps.abs().sum()


def by_chance(maps):
    return torch.rand(len(maps))


def in_place(maps):
    return maps.abs_().flatten(1).mean(1)


def failing(maps):
    raise RuntimeError("two\nlines")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (among_others, "look at each map alone"),
        (by_chance, "without chance"),
        (in_place, "in place"),
        (failing, "failed on random maps: RuntimeError: two lines"),
    ],
)
def test_a_function_that_is_no_function_of_one_map_is_refused_before_sampling(function, said):
    with pytest.raises(InputError, match=said):
        FunctionNumber(function, "mine").check((3, 4))


class Weighted(Gini):
    """Somebody's subclass with values of its own."""

    def values(self, maps):
        return torch.full((len(maps),), 0.25)


@every
@pytest.mark.parametrize("shift", [0.0, 5.0], ids=["signed", "without a sign"])
def test_a_block_whose_sort_is_shared_gives_the_same_bits(number, shift):
    mixed = maps(6) + shift
    mixed[1], mixed[2, 3, 4] = 2.0, torch.inf
    block = MapBlock(mixed)
    block.votes(5)
    assert torch.equal(number.of_block(block).nan_to_num(-9), number(mixed).nan_to_num(-9))
    assert torch.isnan(number.of_block(block)).tolist() == [False, True, True, False, False, False]


def test_values_of_a_subclass_are_not_replaced_by_those_of_its_base():
    assert Weighted().of_block(MapBlock(maps(3))).tolist() == [0.25] * 3
